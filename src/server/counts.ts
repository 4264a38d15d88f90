/** How many there are of what in a pooler: for tests, people and the primary process of several workers. */
import type { Pool } from "../pool/pool.ts";

export interface PoolerCounts {
  readonly sessions: number;
  readonly logins: number;
  readonly servers: number;
  /** Clients that wait for a server. */
  readonly waiting: number;
}

export function countPools(pools: Iterable<Pool>): Pick<PoolerCounts, "servers" | "waiting"> {
  let servers = 0;
  let waiting = 0;
  for (const pool of pools) {
    servers += pool.size;
    waiting += pool.queue.clientsCount;
  }
  return { servers, waiting };
}
