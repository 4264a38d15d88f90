/** SHOW POOLS: one line for each database and user, whatever startup options their clients came with. */

import { consoleDatabase } from "../../config/reserved.ts";
import type { Server } from "../../pool/server.ts";
import { type Command, showCommand } from "../command.ts";
import type { AdminContext, PoolView } from "../context.ts";
import { columnsOf, type Row } from "../result.ts";
import { serverState, waitCells } from "../sockets.ts";

const columns = columnsOf(
  ["text", "database", "user"],
  ["int4", "cl_active", "cl_waiting", "cl_active_cancel_req", "cl_waiting_cancel_req"],
  ["int4", "sv_active", "sv_active_cancel", "sv_being_canceled", "sv_idle", "sv_used", "sv_tested"],
  ["int4", "sv_login", "maxwait", "maxwait_us"],
  ["text", "pool_mode", "load_balance_hosts"],
);

export const showPools: Command<undefined> = showCommand("POOLS", columns, (context) => {
  const groups = groupPools(context.pools());
  const waiting = waitingSessions(context);
  const hosts = new Map(context.databases().map((view) => [view.name, view.loadBalanceHosts]));
  const rows = groups.map((group) => {
    const row = rowOf(context, group, waiting);
    return [...row, hosts.get(group[0].database) ?? null];
  });
  return [...rows, consoleRow(context)];
});

/** Pools of one database and user, by their names. */
export function groupPools(pools: readonly PoolView[]): (readonly [PoolView, ...PoolView[]])[] {
  const groups = new Map<string, [PoolView, ...PoolView[]]>();
  for (const view of pools) {
    const key = `${view.database}\0${view.user}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [view]);
    else group.push(view);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group);
}

/** How many sessions of each pool wait for a server; logins may wait for one as well. */
function waitingSessions(context: AdminContext): ReadonlyMap<object, number> {
  const waiting = new Map<object, number>();
  for (const { pool, activity } of context.sessions()) {
    if (activity.waitStartMs !== 0) waiting.set(pool, (waiting.get(pool) ?? 0) + 1);
  }
  return waiting;
}

function rowOf(
  context: AdminContext,
  group: readonly [PoolView, ...PoolView[]],
  waiting: ReadonlyMap<object, number>,
): Row {
  const nowMs = context.clock.now();
  const states = new Map<string, number>();
  let [clients, queued, cancels, connecting] = [0, 0, 0, 0];
  let sinceMs: number | undefined;
  for (const { pool } of group) {
    const open: Server[] = [...pool.servers];
    for (const server of open) {
      const state = serverState(server, pool.settings, nowMs);
      states.set(state, (states.get(state) ?? 0) + 1);
    }
    clients += pool.clients - (waiting.get(pool) ?? 0);
    queued += pool.queue.clientsCount;
    cancels += pool.cancels.size;
    connecting += pool.size - open.length;
    const first = pool.queue.firstClientSinceMs;
    if (first !== undefined) sinceMs = Math.min(first, sinceMs ?? first);
  }
  const [{ database, user }] = group;
  const mode = (group.find(({ replication }) => replication === "none") ?? group[0]).mode;
  const count = (state: string): number => states.get(state) ?? 0;
  return [
    ...[database, user, clients, queued, cancels, 0],
    ...[count("active"), cancels, count("being_canceled"), count("idle"), count("used"), count("tested")],
    ...[connecting, ...waitCells(sinceMs, nowMs), mode],
  ];
}

function consoleRow(context: AdminContext): Row {
  const clients = [...context.consoles()].length;
  return [
    consoleDatabase,
    consoleDatabase,
    ...[clients, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...["statement", null],
  ];
}
