/** SHOW DATABASES: those of the configuration, those that clients have used besides, and the console's own. */

import { consoleDatabase } from "../../config/reserved.ts";
import { type Command, showCommand } from "../command.ts";
import type { AdminContext, DatabaseView } from "../context.ts";
import { columnsOf, type Row } from "../result.ts";

const columns = columnsOf(
  ["text", "name", "host"],
  ["int4", "port"],
  ["text", "database", "force_user"],
  ["int4", "pool_size", "min_pool_size", "reserve_pool_size", "server_lifetime"],
  ["text", "pool_mode", "load_balance_hosts"],
  ["int4", "max_connections", "current_connections", "max_client_connections", "current_client_connections"],
  ["int4", "paused", "disabled"],
);

export const showDatabases: Command<undefined> = showCommand("DATABASES", columns, (context) => {
  const servers = countBy(context.pools(), ({ database, pool }) => [database, pool.size]);
  const clients = countBy([...context.sessions()], ({ identity }) => [identity.database, 1]);
  const rows = context.databases().map((view) => rowOf(view, servers, clients));
  const { listen_port: port } = context.config().pgsluice;
  const consoles = [...context.consoles()].length;
  const own = [consoleDatabase, null, port, consoleDatabase, consoleDatabase];
  return [...rows, [...own, 0, 0, 0, lifetime(context), "statement", null, 0, 0, 0, consoles, 0, 0]];
});

function rowOf(
  view: DatabaseView,
  servers: ReadonlyMap<string, number>,
  clients: ReadonlyMap<string, number>,
): Row {
  return [
    ...[view.name, view.host, view.port, view.dbname, view.forceUser ?? null],
    ...[
      view.poolSize,
      view.minPoolSize,
      view.reservePoolSize,
      Math.floor(view.serverLifetimeSeconds),
      view.poolMode ?? null,
      view.loadBalanceHosts,
    ],
    ...[view.connectionsMax, servers.get(view.name) ?? 0, view.clientsMax, clients.get(view.name) ?? 0],
    ...[view.paused ? 1 : 0, view.disabled ? 1 : 0],
  ];
}

function lifetime(context: AdminContext): number {
  return Math.floor(context.config().pgsluice.server_lifetime);
}

/** Sums by name. */
export function countBy<Item>(
  items: readonly Item[],
  count: (item: Item) => readonly [name: string, number: number],
): Map<string, number> {
  const sums = new Map<string, number>();
  for (const item of items) {
    const [name, number] = count(item);
    sums.set(name, (sums.get(name) ?? 0) + number);
  }
  return sums;
}
