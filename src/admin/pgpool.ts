/**
 * What pgpool-II's SHOW commands have in common. There, processes of their own each serve one client and keep its
 * servers; here one process serves all, so `pool_pid` is the same in every row, and a pool is that of a database and user.
 */
import type { Server } from "../pool/server.ts";
import { TransactionStatus } from "../wire/constants.ts";
import type { AdminContext, PoolView } from "./context.ts";

/** A node and the pools that have their servers there. */
export interface NodeView {
  /** In the order of the configuration, from 0. */
  readonly id: number;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly role: "primary" | "standby" | "auto";
  readonly pools: readonly PoolView[];
}

export function nodeViews(context: AdminContext): NodeView[] {
  const pools = context.pools();
  return Object.entries(context.config().nodes).map(([name, { host, hostaddr, port, role }], id) => ({
    id,
    name,
    host: hostaddr ?? host,
    port,
    role,
    pools: pools.filter((view) => view.node === name),
  }));
}

/** `YYYY-MM-DD HH:MM:SS`, in UTC, for a time on the clock's scale. */
export function pgpoolTime({ clock }: AdminContext, atMs: number): string {
  return wallText(clock.wall() - (clock.now() - atMs));
}

/** When this process was started. */
export function startTime(): string {
  return wallText(Date.now() - process.uptime() * 1000);
}

/** Clients that have logged in since then, the console's among them. */
export function connectionCount(context: AdminContext): string {
  return String(context.totalStatistics().totals.clientLoginCount);
}

/** What the client of a server is doing, in pgpool-II's words; without a client, that one is waited for. */
export function clientStatus(server: Server | undefined, hasClient: boolean): string {
  if (!hasClient) return "Wait for connection";
  if (server === undefined) return "Idle";
  if (!server.replies.settled) return "Execute command";
  return server.replies.status === TransactionStatus.idle ? "Idle" : "Idle in transaction";
}

function wallText(epochMs: number): string {
  const iso = new Date(epochMs).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}`;
}
