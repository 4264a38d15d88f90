/**
 * SHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS]: at once; when all servers are free, where clients that ask for
 * another one are sent away; or when the clients have left.
 */
import { type Command, invalidCommand } from "../command.ts";
import type { ShutdownWait } from "../context.ts";

const waits: ReadonlyMap<string, ShutdownWait> = new Map([
  ["", "none"],
  ["WAIT_FOR_SERVERS", "servers"],
  ["WAIT_FOR_CLIENTS", "clients"],
]);

export const shutdown: Command<ShutdownWait> = {
  name: "SHUTDOWN",
  administrators: true,
  parse({ argument, text }) {
    const wait = waits.get(argument.toUpperCase());
    if (wait === undefined) throw invalidCommand(text);
    return wait;
  },
  execute(context, wait) {
    context.logger.info({ wait }, "SHUTDOWN command issued");
    context.shutdown(wait);
    return { tag: "SHUTDOWN" };
  },
};
