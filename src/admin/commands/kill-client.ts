/** KILL_CLIENT id: sends one client away; the id is that of SHOW CLIENTS, or its `ptr`. */
import { type Command, consoleError } from "../command.ts";

export const killClient: Command<number> = {
  name: "KILL_CLIENT",
  administrators: true,
  parse({ argument }) {
    if (!/^(?:\d+|0x[\da-f]+)$/i.test(argument))
      throw consoleError("invalid client pointer supplied", "22023");
    return Number(argument);
  },
  execute(context, id) {
    if (!context.killClient(id)) throw consoleError("client not found", "42704");
    context.logger.info({ client: id }, "KILL_CLIENT command issued");
    return { tag: "KILL_CLIENT" };
  },
};
