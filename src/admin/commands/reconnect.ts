/** RECONNECT [db]: every server is closed when it comes free, and clients get new ones. Answered at once. */
import { type Command, checkDatabase, optionalDatabase } from "../command.ts";

export const reconnect: Command<string | undefined> = {
  name: "RECONNECT",
  administrators: true,
  parse: optionalDatabase,
  execute(context, database) {
    if (database !== undefined) checkDatabase(context, database, "reconnect");
    context.logger.info({ database }, "RECONNECT command issued");
    context.reconnect(database);
    return { tag: "RECONNECT" };
  },
};
