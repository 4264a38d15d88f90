/** SHOW STATS: totals and averages of every database, side by side. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";
import { cellsOf, counterNames } from "../statistics.ts";

/** PgBouncer's one irregular name. */
const irregular: ReadonlyMap<string, string> = new Map([["avg_received", "avg_recv"]]);

const columns = columnsOf(
  ["text", "database"],
  ["numeric", ...counterNames.map((name) => `total_${name}`)],
  ["numeric", ...counterNames.map((name) => irregular.get(`avg_${name}`) ?? `avg_${name}`)],
);

export const showStats: Command<undefined> = showCommand("STATS", columns, (context) =>
  context
    .statistics()
    .map(({ database, totals, averages }) => [database, ...cellsOf(totals), ...cellsOf(averages)]),
);
