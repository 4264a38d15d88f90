/** KILL [db]: sends its clients away at once, closes its servers, and leaves it paused until RESUME. */
import { type Command, checkDatabase, consoleError, optionalDatabase } from "../command.ts";

export const kill: Command<string | undefined> = {
  name: "KILL",
  administrators: true,
  parse: optionalDatabase,
  execute(context, database) {
    if (context.paused) throw consoleError("already suspended/paused");
    if (database !== undefined) checkDatabase(context, database, "kill");
    context.logger.info({ database }, "KILL command issued");
    context.kill(database);
    return { tag: "KILL" };
  },
};
