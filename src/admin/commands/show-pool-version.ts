/** SHOW POOL_VERSION of pgpool-II: who we are, as SHOW VERSION has it. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

export const showPoolVersion: Command<undefined> = showCommand(
  "POOL_VERSION",
  columnsOf(["text", "pool_version"]),
  (context) => [[`pgsluice ${context.version}`]],
);
