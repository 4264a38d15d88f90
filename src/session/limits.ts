/** The time limits on one client, in PgBouncer's names and words. */
import { OperationError } from "../base/errors.ts";
import type { ClientLimits } from "./context.ts";

/** What a client is doing, in milliseconds. */
export interface Doings {
  /** It waits for a server. */
  readonly waiting: boolean;
  /** Since it last sent something. */
  readonly silentMs: number;
  /** Since its statement began; undefined: none runs. */
  readonly runningMs: number | undefined;
  readonly inTransaction: boolean;
}

/** The limit that is exceeded, as what the client is told; undefined if none is. */
export function exceededLimit(limits: ClientLimits, doings: Doings): OperationError | undefined {
  if (doings.waiting) return undefined;
  if (doings.runningMs !== undefined) {
    return limits.queryMs > 0 && doings.runningMs >= limits.queryMs
      ? timeLimit("query timeout", "session.query_timeout")
      : undefined;
  }
  if (doings.inTransaction) {
    return limits.idleTransactionMs > 0 && doings.silentMs >= limits.idleTransactionMs
      ? timeLimit("idle transaction timeout", "session.idle_transaction_timeout")
      : undefined;
  }
  return limits.idleMs > 0 && doings.silentMs >= limits.idleMs
    ? timeLimit("client_idle_timeout", "session.client_idle_timeout")
    : undefined;
}

function timeLimit(message: string, code: string): OperationError {
  return new OperationError(message, { code, sqlstate: "08P01", source: "client" });
}
