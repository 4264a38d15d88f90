/** SHOW STATE: whether everything is paused. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(["text", "key", "value"]);

export const showState: Command<undefined> = showCommand("STATE", columns, (context) => [
  ["active", context.paused ? "no" : "yes"],
  ["paused", context.paused ? "yes" : "no"],
  ["suspended", "no"],
]);
