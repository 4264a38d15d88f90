/** When a server is closed instead of being kept: the rules, and the reasons as the log gives them. */
import type { Server } from "./server.ts";
import type { ServerSet } from "./server-set.ts";
import type { PoolSettings } from "./settings.ts";

/** Why servers of a paused pool are closed, in PgBouncer's words. */
export const pauseMode = "pause mode";
const lifetime = "server_lifetime";

/** Why a server that is given back is closed; undefined: it is kept. `exceeded`: the limit that there are too many for. `willReset`: what a client has set goes first. */
export function reasonToClose(
  server: Server,
  settings: PoolSettings,
  exceeded: string | undefined,
  willReset: boolean,
  nowMs: number,
): string | undefined {
  if (server.closeReason !== undefined) return server.closeReason;
  if (!server.clean) return "unclean server";
  if (exceeded !== undefined) return `${exceeded} was reduced`;
  if (!settings.reuse) return "server is not reused";
  if (!willReset && !server.parameters.identityKnown) return "session user was changed";
  const { serverLifetimeMs } = settings;
  return serverLifetimeMs === 0 || nowMs - server.connectedAtMs >= serverLifetimeMs ? lifetime : undefined;
}

/** The pool, as far as it matters to what is kept of it. */
interface Retiring {
  readonly settings: PoolSettings;
  readonly clients: number;
  /** How many servers are kept, needed or not. */
  readonly sizeMin: number;
  closeIdle(reason: string): void;
  discard(server: Server, reason: string): void;
}

/** Closes what nobody has used for long. */
export class Retirement {
  /** When the pool last had a client, or servers that it keeps without. */
  #inUseAtMs: number;

  constructor(nowMs: number) {
    this.#inUseAtMs = nowMs;
  }

  /** Old and long unused servers go, but never below the minimum for being unused. */
  tick(nowMs: number, pool: Retiring, servers: ServerSet, exceeded: string | undefined): void {
    const { sizeMin, settings } = pool;
    const { poolIdleTimeoutMs } = settings;
    if (pool.clients > 0 || sizeMin > 0) this.#inUseAtMs = nowMs;
    else if (poolIdleTimeoutMs > 0 && nowMs - this.#inUseAtMs >= poolIdleTimeoutMs)
      pool.closeIdle("pool_idle_timeout");
    for (const server of [...servers.idle]) {
      const reason = reasonToRetire(server, settings, exceeded, servers.size > sizeMin, nowMs);
      if (reason !== undefined) pool.discard(server, reason);
    }
  }
}

/** Why an idle server is closed. `spare`: there are more than the least that is kept. */
function reasonToRetire(
  server: Server,
  settings: PoolSettings,
  exceeded: string | undefined,
  spare: boolean,
  nowMs: number,
): string | undefined {
  const { serverIdleTimeoutMs, serverLifetimeMs } = settings;
  if (exceeded !== undefined) return `${exceeded} was reduced`;
  if (serverLifetimeMs > 0 && nowMs - server.connectedAtMs >= serverLifetimeMs) return lifetime;
  const unused = serverIdleTimeoutMs > 0 && nowMs - server.lastUsedAtMs >= serverIdleTimeoutMs;
  return unused && spare ? "server_idle_timeout" : undefined;
}
