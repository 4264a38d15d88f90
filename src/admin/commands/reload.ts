/** RELOAD: reads the configuration again, as the signal HUP does. If it cannot be used the old one stays. */
import { OperationError } from "../../base/errors.ts";
import { type Command, invalidCommand } from "../command.ts";

export const reload: Command<undefined> = {
  name: "RELOAD",
  administrators: true,
  parse({ argument, text }) {
    if (argument !== "") throw invalidCommand(text);
    return undefined;
  },
  async execute(context) {
    context.logger.info({}, "RELOAD command issued");
    try {
      await context.reload();
    } catch (error) {
      // The reason may name files and users: it is for the log.
      context.logger.warn(
        { reason: error instanceof Error ? error.message : String(error) },
        "RELOAD failed",
      );
      throw new OperationError("RELOAD failed, see logs for additional details", {
        code: "console.reload_failed",
        sqlstate: "F0000",
        source: "internal",
      });
    }
    return { tag: "RELOAD" };
  },
};
