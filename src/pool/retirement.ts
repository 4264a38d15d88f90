/** When a server is closed instead of being kept: the rules, and the reasons as the log gives them. */
import type { Server } from "./server.ts";
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

/** Why an idle server is closed. `spare`: there are more than the least that is kept. */
export function reasonToRetire(
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
