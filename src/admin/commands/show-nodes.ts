/** SHOW NODES: every node of the configuration, what it was found to be, and why it is in the state it is in. */
import { formatLsn } from "../../cluster/index.ts";
import { lagLimits } from "../../config/schema.ts";
import { type Command, showCommand } from "../command.ts";
import type { AdminContext } from "../context.ts";
import { columnsOf, type Row } from "../result.ts";

const columns = columnsOf(
  ["text", "name", "host"],
  ["int4", "port"],
  ["text", "configured_role", "role", "state"],
  ["int4", "primary", "weight"],
  ["text", "zone"],
  ["int8", "timeline"],
  ["text", "lsn"],
  ["int8", "lag_bytes", "lag_ms", "lag_bytes_max", "lag_ms_max", "latency_us"],
  ["int4", "connections", "max_connections"],
  ["int8", "since_s"],
  ["text", "reason"],
);

export const showNodes: Command<undefined> = showCommand("NODES", columns, (context) =>
  Object.keys(context.config().nodes).map((name) => rowOf(context, name)),
);

function rowOf(context: AdminContext, name: string): Row {
  const topology = context.topology();
  const configured = context.config().nodes[name];
  const found = topology?.nodes.find((node) => node.name === name);
  const own = context.pools().filter(({ node }) => node === name);
  const connections = own.reduce((sum, { pool }) => sum + pool.size, 0);
  const { host = null, port = null, role = null, weight = 1, zone = null } = configured ?? {};
  const { max_connections: connectionsMax = 0 } = configured ?? {};
  const { lagBytesMax = null, lagMsMax = null } =
    configured === undefined ? {} : lagLimits(configured, context.config().pgsluice);
  // Nobody asks a node that is not found there.
  const { state = "unwatched", timeline = null, lsn, lagBytes, lagMs, latencyMs, since } = found ?? {};
  const sinceMs = since === undefined ? undefined : context.clock.now() - since;
  return [
    ...[name, configured?.hostaddr ?? host, port, role],
    ...[found?.role ?? null, state, topology?.primary?.name === name ? 1 : 0, weight, zone],
    ...[timeline, lsn === undefined ? null : formatLsn(lsn)],
    ...[rounded(lagBytes), rounded(lagMs), lagBytesMax, lagMsMax, rounded(latencyMs, 1000)],
    ...[connections, connectionsMax, rounded(sinceMs, 1 / 1000), found?.reason ?? ""],
  ];
}

function rounded(value: number | undefined, factor = 1): number | null {
  return value === undefined ? null : Math.round(value * factor);
}
