/** Whether a server has room for the pools that may come to it. */
import type { Config } from "../config/schema.ts";
import type { Credentials } from "../server/credentials.ts";
import {
  databaseConnectionsMax,
  poolSizeOf,
  reserveSizeOf,
  userConnectionsMax,
} from "../server/pool-config.ts";
import { failed, type Report, warned } from "./finding.ts";
import type { ServerFacts } from "./servers.ts";

/** One pool: who may use it, and to how many servers it may grow. */
interface Demand {
  readonly label: string;
  readonly size: number;
}

export function checkRoom(
  node: string,
  { connectionsMax, reserved }: ServerFacts,
  config: Config,
  credentials: Credentials,
  report: Report,
): void {
  const room = connectionsMax - reserved;
  const described = `${room} connections (max_connections ${connectionsMax}, of which ${reserved} are reserved)`;
  const demands = demandsOn(node, config, credentials);
  const cure = "Make pools smaller (default_pool_size, pool_size), or raise max_connections on the server.";
  const largest = demands.reduce((a, b) => (b.size > a.size ? b : a), { label: "", size: 0 });
  const sum = bounded(
    demands.reduce((total, { size }) => total + size, 0),
    config.pgsluice.max_server_connections,
  );
  if (largest.size > room) {
    const problem = `the pool of ${largest.label} may grow to ${largest.size} servers, but there are only ${described}`;
    report(failed("servers.room", `nodes.${node}`, problem, cure));
  } else if (sum > room) {
    const problem = `${demands.length} pools may grow to ${sum} servers together, but there are only ${described}`;
    report(warned("servers.room", `nodes.${node}`, problem, cure));
  }
}

/** What the users that are known may ask for, each in every database, and at least one user. */
function demandsOn(node: string, config: Config, credentials: Credentials): Demand[] {
  const demands: Demand[] = [];
  const known = credentials.users;
  for (const [name, database] of Object.entries(config.databases)) {
    if (database.node !== node && database.node !== "") continue;
    const users = database.user === undefined && known.length > 0 ? known : [database.user ?? ""];
    for (const user of users) {
      const own = poolSizeOf(config, name, user);
      // A pool without a limit grows with its clients.
      let size = own === 0 ? config.pgsluice.max_client_conn : own + reserveSizeOf(config, name, user);
      size = bounded(size, databaseConnectionsMax(config, name));
      size = bounded(size, userConnectionsMax(config, user));
      size = bounded(size, config.pgsluice.max_server_connections);
      const label =
        user === "" ? `database ${JSON.stringify(name)}` : `${user} in database ${JSON.stringify(name)}`;
      demands.push({ label, size });
    }
  }
  return demands;
}

/** A `limit` of 0 is none. */
function bounded(size: number, limit: number): number {
  return limit === 0 ? size : Math.min(size, limit);
}
