/** Whether a server has room for the pools that may come to it. */
import type { Config } from "../config/schema.ts";
import type { Credentials } from "../server/credentials.ts";
import { sizeOf } from "../server/pool-config.ts";
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
  const sum = demands.reduce((total, { size }) => total + size, 0);
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
  const demands = new Map<string, Demand>();
  const known = credentials.users;
  for (const [name, database] of Object.entries(config.databases)) {
    if (database.node !== node) continue;
    const users = database.user === undefined && known.length > 0 ? known : [database.user ?? ""];
    for (const user of users) {
      const size = sizeOf(config, { user, database: name, otherParameters: [], replication: false });
      // A pool without a limit grows with its clients.
      const limit = size === 0 ? config.pgsluice.max_client_conn : size;
      const label =
        user === "" ? `database ${JSON.stringify(name)}` : `${user} in database ${JSON.stringify(name)}`;
      // Pools for the same user of the same database share their servers.
      const key = JSON.stringify([database.dbname ?? name, user]);
      const before = demands.get(key);
      if (before === undefined || before.size < limit) demands.set(key, { label, size: limit });
    }
  }
  return [...demands.values()];
}
