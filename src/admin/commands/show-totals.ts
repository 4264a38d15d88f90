/** SHOW TOTALS: the sums over all databases, one line each. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";
import { cellsOf, internalNames } from "../statistics.ts";

const columns = columnsOf(["text", "name"], ["numeric", "value"]);

export const showTotals: Command<undefined> = showCommand("TOTALS", columns, (context) => {
  const { totals, averages } = context.totalStatistics();
  const [sums, rates] = [cellsOf(totals), cellsOf(averages)];
  return [
    ...internalNames.map((name, index) => [`total_${name}`, sums[index] ?? 0]),
    ...internalNames.map((name, index) => [`avg_${name}`, rates[index] ?? 0]),
  ];
});
