/** SHOW STATS_AVERAGES: the averages of the last period; only the last four columns say so in their names. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";
import { cellsOf, plainNames } from "../statistics.ts";

const marked = plainNames.map((name, index) => (index < plainNames.length - 4 ? name : `avg_${name}`));
const columns = columnsOf(["text", "database"], ["numeric", ...marked]);

export const showStatsAverages: Command<undefined> = showCommand("STATS_AVERAGES", columns, (context) =>
  context.statistics().map(({ database, averages }) => [database, ...cellsOf(averages)]),
);
