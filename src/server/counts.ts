/** How many there are of what in a pooler: for tests, people and the primary process of several workers. */
import type { Pool } from "../pool/pool.ts";

export interface PoolerCounts {
  readonly sessions: number;
  readonly logins: number;
  readonly servers: number;
  /** Clients that wait for a server. */
  readonly waiting: number;
}

/** In one process. */
export interface ProcessCounts extends PoolerCounts {
  /** Those that nobody uses any more are forgotten. */
  readonly pools: number;
}

export function countPools(pools: Iterable<Pool>): Pick<ProcessCounts, "servers" | "waiting" | "pools"> {
  let servers = 0;
  let waiting = 0;
  let count = 0;
  for (const pool of pools) {
    servers += pool.size;
    waiting += pool.queue.clientsCount;
    count++;
  }
  return { servers, waiting, pools: count };
}
