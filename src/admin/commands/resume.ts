/** RESUME [db]: ends what PAUSE or KILL began; without a database, for all of them. */
import { type Command, checkDatabase, consoleError, optionalDatabase } from "../command.ts";

export const resume: Command<string | undefined> = {
  name: "RESUME",
  administrators: true,
  parse: optionalDatabase,
  execute(context, database) {
    context.logger.info({ database }, "RESUME command issued");
    if (context.shuttingDown) throw consoleError("pooler is shutting down", "57P03");
    const pausedOnes = context.databases().filter(({ paused }) => paused);
    if (database === undefined) {
      if (!context.paused && pausedOnes.length === 0) throw consoleError("pooler is not paused/suspended");
    } else {
      checkDatabase(context, database, "resume");
      if (!pausedOnes.some(({ name }) => name === database)) {
        throw consoleError(`database ${database} is not paused`);
      }
    }
    context.resume(database);
    return { tag: "RESUME" };
  },
};
