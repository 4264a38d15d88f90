/** SHOW USERS: everybody who has a secret or a table of settings here, is logged in, or whose servers are there. Sizes are text, empty if a user has none of his own. */
import { type Command, showCommand } from "../command.ts";
import type { AdminContext } from "../context.ts";
import { columnsOf } from "../result.ts";
import { countBy } from "./show-databases.ts";

const columns = columnsOf(
  ["text", "name", "pool_size", "reserve_pool_size", "pool_mode"],
  ["int4", "max_user_connections", "current_connections"],
  ["int4", "max_user_client_connections", "current_client_connections"],
);

export function allUsers(context: AdminContext): string[] {
  const active = [...context.sessions(), ...context.consoles()].map(({ identity }) => identity.user);
  // With several workers their servers may be at another one than they are.
  const served = context.pools().flatMap(({ user, pool }) => (pool.size > 0 ? [user] : []));
  const named = [...context.userNames(), ...Object.keys(context.config().users)];
  return [...new Set([...named, ...active, ...served])].sort();
}

export const showUsers: Command<undefined> = showCommand("USERS", columns, (context) => {
  const { users, pgsluice } = context.config();
  const servers = countBy(context.pools(), ({ user, pool }) => [user, pool.size]);
  const clients = countBy([...context.sessions(), ...context.consoles()], ({ identity }) => [
    identity.user,
    1,
  ]);
  return allUsers(context).map((name) => {
    const own = Object.hasOwn(users, name) ? users[name] : undefined;
    const connectionsMax = own?.max_user_connections ?? pgsluice.max_user_connections;
    const clientsMax = own?.max_user_client_connections ?? pgsluice.max_user_client_connections;
    return [
      ...[name, sizeText(own?.pool_size), sizeText(own?.reserve_pool_size), own?.pool_mode ?? null],
      ...[connectionsMax, servers.get(name) ?? 0, clientsMax, clients.get(name) ?? 0],
    ];
  });
});

function sizeText(size: number | undefined): string {
  return size === undefined ? "" : String(size);
}
