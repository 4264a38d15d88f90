/** The time limits on one client, in PgBouncer's names and words, with the SQLSTATEs of PostgreSQL's own limits. */
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
  /** Since its transaction began, or a statement outside one; undefined: there is none. */
  readonly transactionMs: number | undefined;
}

/** The limit that is exceeded, as what the client is told; undefined if none is. */
export function exceededLimit(limits: ClientLimits, doings: Doings): OperationError | undefined {
  if (doings.waiting) return undefined;
  return exceededBySilence(limits, doings) ?? exceededByTransaction(limits, doings);
}

function exceededByTransaction(limits: ClientLimits, doings: Doings): OperationError | undefined {
  if (limits.transactionMs === 0 || (doings.transactionMs ?? 0) < limits.transactionMs) return undefined;
  return new OperationError("transaction timeout", {
    code: "session.transaction_timeout",
    sqlstate: "25P04",
    source: "client",
  });
}

function exceededBySilence(limits: ClientLimits, doings: Doings): OperationError | undefined {
  if (doings.runningMs !== undefined) {
    return limits.queryMs > 0 && doings.runningMs >= limits.queryMs
      ? new OperationError("query timeout", {
          code: "session.query_timeout",
          sqlstate: "57014",
          source: "client",
        })
      : undefined;
  }
  if (doings.inTransaction) {
    return limits.idleTransactionMs > 0 && doings.silentMs >= limits.idleTransactionMs
      ? new OperationError("idle transaction timeout", {
          code: "session.idle_transaction_timeout",
          sqlstate: "25P03",
          source: "client",
        })
      : undefined;
  }
  return limits.idleMs > 0 && doings.silentMs >= limits.idleMs
    ? new OperationError("client_idle_timeout", {
        code: "session.client_idle_timeout",
        sqlstate: "57P05",
        source: "client",
      })
    : undefined;
}

/** The server is to be closed, and `server_fast_close` does not wait for the end of the session. */
export function closedFast(): OperationError {
  return new OperationError("database configuration changed", {
    code: "session.server_fast_close",
    sqlstate: "57P01",
    source: "internal",
    retrySafe: true,
  });
}

/** `disable_pqexec`, in PgBouncer's words. */
export function pqexecDisallowed(): OperationError {
  return new OperationError("PQexec disallowed", {
    code: "session.pqexec_disallowed",
    sqlstate: "0A000",
    source: "client",
  });
}
