/** WAIT_CLOSE [db]: answered when every server that is to be closed, by RECONNECT or a reload, is closed. */
import { type Command, checkDatabase, optionalDatabase } from "../command.ts";

export const waitClose: Command<string | undefined> = {
  name: "WAIT_CLOSE",
  administrators: true,
  parse: optionalDatabase,
  async execute(context, database, caller) {
    if (database !== undefined) checkDatabase(context, database, "wait in");
    context.logger.info({ database }, "WAIT_CLOSE command issued");
    await context.until(() => context.serverCount(database, true) === 0, caller.signal);
    return { tag: "WAIT_CLOSE" };
  },
};
