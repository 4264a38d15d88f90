/** SHOW VERSION. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

export const showVersion: Command<undefined> = showCommand(
  "VERSION",
  columnsOf(["text", "version"]),
  (context) => [[`pgsluice ${context.version}`]],
);
