/** SHOW STATS_TOTALS: what was counted since the start. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";
import { cellsOf, plainNames } from "../statistics.ts";

const columns = columnsOf(["text", "database"], ["numeric", ...plainNames]);

export const showStatsTotals: Command<undefined> = showCommand("STATS_TOTALS", columns, (context) =>
  context.statistics().map(({ database, totals }) => [database, ...cellsOf(totals)]),
);
