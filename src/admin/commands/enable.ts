/** ENABLE db: ends what DISABLE began. */
import { type Command, checkDatabase, requiredDatabase } from "../command.ts";

export const enable: Command<string> = {
  name: "ENABLE",
  administrators: true,
  parse: requiredDatabase,
  execute(context, database) {
    checkDatabase(context, database, "enable");
    context.logger.info({ database }, "ENABLE command issued");
    context.setDisabled(database, false);
    return { tag: "ENABLE" };
  },
};
