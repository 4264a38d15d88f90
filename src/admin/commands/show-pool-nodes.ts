/**
 * SHOW POOL_NODES of pgpool-II: the nodes of the configuration, and what is known of them from the connections to
 * them. Nobody asks a node how it is while no client needs it; then it is `waiting`, and its role is the configured one alone.
 */
import type { Server } from "../../pool/server.ts";
import { type Command, showCommand } from "../command.ts";
import type { AdminContext } from "../context.ts";
import { type NodeView, nodeViews, pgpoolTime, startTime } from "../pgpool.ts";
import { columnsOf, type Row } from "../result.ts";

const columns = columnsOf(
  ["text", "node_id", "hostname", "port", "status", "pg_status", "lb_weight", "role", "pg_role"],
  ["text", "select_cnt", "load_balance_node", "replication_delay", "replication_state"],
  ["text", "replication_sync_state", "last_status_change"],
);

export const showPoolNodes: Command<undefined> = showCommand("POOL_NODES", columns, (context) =>
  nodeViews(context).map((node) => rowOf(context, node)),
);

function rowOf(context: AdminContext, { id, host, port, role, pools }: NodeView): Row {
  const servers = pools.flatMap(({ pool }) => [...pool.servers]);
  const [oldest] = servers.toSorted((a, b) => a.connectedAtMs - b.connectedAtMs);
  const failing = oldest === undefined && pools.some(({ pool }) => pool.recentFailure !== undefined);
  const [status, actual] =
    oldest !== undefined ? ["up", "up"] : failing ? ["down", "down"] : ["waiting", "unknown"];
  return [
    ...[String(id), host, String(port), status, actual],
    // Nothing is balanced over nodes: a database has one.
    ...["0.000000", role, roleOf(oldest), "0", "false"],
    ...["0", "", "", oldest === undefined ? startTime() : pgpoolTime(context, oldest.connectedAtMs)],
  ];
}

/** As the server itself reports it, from PostgreSQL 14 on. */
function roleOf(server: Server | undefined): string {
  const standby = server?.parameters.reported("in_hot_standby");
  if (standby === undefined) return "unknown";
  return standby === "on" ? "standby" : "primary";
}
