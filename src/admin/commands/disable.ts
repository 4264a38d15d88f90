/** DISABLE db: whoever wants to log in to it is refused. Those who are there go on. */
import { type Command, checkDatabase, requiredDatabase } from "../command.ts";

export const disable: Command<string> = {
  name: "DISABLE",
  administrators: true,
  parse: requiredDatabase,
  execute(context, database) {
    checkDatabase(context, database, "disable");
    context.logger.info({ database }, "DISABLE command issued");
    context.setDisabled(database, true);
    return { tag: "DISABLE" };
  },
};
