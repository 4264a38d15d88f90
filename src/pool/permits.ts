/**
 * Leave to open connections to servers, where a pool is one of several in different processes that keep the same limits. Then the pool's own budgets
 * have no limit, and whoever gives leave knows of all processes.
 */
export interface Permits {
  /** Resolves when a connection may be opened; false: not now, or `signal` has aborted. It is given back when the pool is found to have fewer. */
  acquire(signal: AbortSignal): Promise<boolean>;
  /** The limit under which a pool of another process, or of this one, starves, so that a server that comes free should be closed for it. `sinceMs`: how long the own first client waits. */
  starved(sinceMs: number): string | undefined;
}

/** For a pool's servers, and for the connections beside them, which `pool_size` does not count. */
export interface PoolPermits {
  readonly servers: Permits;
  readonly beside: Permits;
}
