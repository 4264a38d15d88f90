/**
 * PAUSE [db]: servers are closed as they come free, and none is given out; answered when the last is closed. In the
 * mode `session` that is when their clients have left. Clients that ask meanwhile wait for RESUME, at most for
 * `query_wait_timeout`. A cancel request takes it back.
 */
import { Failure } from "../../base/errors.ts";
import { canceledByUser } from "../../session/replies.ts";
import { type Command, checkDatabase, consoleError, optionalDatabase } from "../command.ts";

export const pause: Command<string | undefined> = {
  name: "PAUSE",
  administrators: true,
  parse: optionalDatabase,
  async execute(context, database, caller) {
    if (context.paused) throw consoleError("already suspended/paused");
    if (database !== undefined) checkDatabase(context, database, "pause");
    context.logger.info({ database }, "PAUSE command issued");
    context.pause(database);
    try {
      await context.until(() => context.serverCount(database, false) === 0, caller.signal);
    } catch (error) {
      // Whoever just goes away leaves the pause as it is.
      if (error instanceof Failure && error.code === canceledByUser().code) context.resume(database);
      throw error;
    }
    return { tag: "PAUSE" };
  },
};
