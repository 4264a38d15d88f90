/** SHOW POOL_POOLS of pgpool-II: a row for each connection to a server. Statements are never shown. */
import type { Server } from "../../pool/server.ts";
import type { Session } from "../../session/session.ts";
import { type Command, showCommand } from "../command.ts";
import type { AdminContext, PoolView } from "../context.ts";
import { clientStatus, connectionCount, nodeViews, pgpoolTime, startTime } from "../pgpool.ts";
import { columnsOf, type Row } from "../result.ts";

const columns = columnsOf(
  ["text", "pool_pid", "start_time", "client_connection_count", "pool_id", "backend_id", "database"],
  ["text", "username", "backend_connection_time", "client_connection_time", "client_disconnection_time"],
  ["text", "client_idle_duration", "majorversion", "minorversion", "pool_counter", "pool_backendpid"],
  ["text", "pool_connected", "status", "load_balance_node", "client_host", "client_port", "statement"],
);

export const showPoolPools: Command<undefined> = showCommand("POOL_POOLS", columns, (context) => {
  const nodeIds = new Map(nodeViews(context).map(({ name, id }) => [name, String(id)]));
  const clients = new Map<Server, Session>();
  for (const session of context.sessions())
    if (session.server !== undefined) clients.set(session.server, session);
  return context.pools().flatMap((view, index) =>
    [...view.pool.servers].map((server) =>
      rowOf(context, view, server, {
        pool: String(index),
        node: nodeIds.get(view.node) ?? "",
        client: clients.get(server),
      }),
    ),
  );
});

function rowOf(
  context: AdminContext,
  view: PoolView,
  server: Server,
  of: { readonly pool: string; readonly node: string; readonly client: Session | undefined },
): Row {
  const { client } = of;
  const nowMs = context.clock.now();
  const idleSeconds = client === undefined ? Math.floor((nowMs - server.lastUsedAtMs) / 1000) : 0;
  return [
    ...[String(process.pid), startTime(), connectionCount(context), of.pool, of.node],
    ...[view.database, view.user, pgpoolTime(context, server.connectedAtMs)],
    client === undefined ? "" : pgpoolTime(context, client.identity.connectedAtMs),
    // When a server was last given back: then it lost its client.
    client === undefined ? pgpoolTime(context, server.lastUsedAtMs) : "",
    // The protocol that all servers are spoken to in.
    ...[String(idleSeconds), "3", "0", String(server.assignments), String(server.backendPid)],
    ...[client === undefined ? "0" : "1", clientStatus(server, client !== undefined), "0"],
    ...[client?.transport.remoteAddress ?? "", String(client?.transport.remotePort ?? ""), ""],
  ];
}
