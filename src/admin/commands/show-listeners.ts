/** SHOW LISTENERS: for each pool of auto mode whose clients listen, the connection that listens for all of them. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(
  ["text", "database", "user", "state"],
  ["int4", "remote_pid", "clients", "channels", "reserved"],
  ["int8", "notifications"],
);

export const showListeners: Command<undefined> = showCommand("LISTENERS", columns, (context) =>
  context.pools().flatMap(({ pool, database, user }) => {
    const listeners = context.listenersOf(pool);
    if (listeners === undefined) return [];
    const { used, reservedCount } = listeners;
    if (used.length === 0 && reservedCount === 0) return [];
    // Clients that keep a server of their own are counted once.
    if (used.length === 0) return [[database, user, "none", 0, 0, 0, reservedCount, 0]];
    return used.map((listener, at) => {
      const { server, subscriberCount, channels, notificationCount } = listener;
      const state = server === undefined ? "login" : listener.over ? "retired" : "open";
      const reserved = at === 0 ? reservedCount : 0;
      const pid = server?.backendPid ?? 0;
      return [database, user, state, pid, subscriberCount, channels.length, reserved, notificationCount];
    });
  }),
);
