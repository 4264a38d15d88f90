/** What clients are told in protocol form: failures, notices, and the words for ends that are nobody's fault. */
import { assert } from "../base/assert.ts";
import { Failure, OperationError, PeerError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { decodeBackend } from "../wire/decode-backend.ts";
import { encodeErrorResponse, encodeNoticeResponse } from "../wire/encode-backend.ts";

/** PgBouncer's SQLSTATE for everything it says itself. */
const pgbouncerSqlstate = "08P01";
/** What keeps its SQLSTATE even if all others look like PgBouncer's: a server's own refusals, and the one code that PgBouncer has besides. */
const relayedCodes: ReadonlySet<string> = new Set([
  "pool.server_refused",
  "session.startup_parameter",
  "console.reload_failed",
]);

/** An ErrorResponse for a failure. `asPgbouncer`: with the SQLSTATE that PgBouncer would use. */
export function errorReply(severity: "ERROR" | "FATAL", failure: Failure, asPgbouncer: boolean): Buffer {
  return encodeErrorResponse({
    severity,
    code: asPgbouncer && !relayedCodes.has(failure.code) ? pgbouncerSqlstate : failure.sqlstate,
    message: failure.message,
    ...(failure.detail === undefined ? {} : { detail: failure.detail }),
    ...(failure.hint === undefined ? {} : { hint: failure.hint }),
  });
}

/** PgBouncer's NOTICE to a client that has waited for `query_wait_notify`. */
export const longWaitNotice: Buffer = encodeNoticeResponse({
  severity: "NOTICE",
  code: "00000",
  message: "No server connection available in postgres backend, client being queued",
});

/** To a client whose server is not shared from now on (`pin_notice`). */
export function reservedNotice(
  reasons: readonly { readonly reservation: string; readonly statement: string }[],
): Buffer {
  const message = reasons.map(({ reservation }) => reservation).join(", ");
  const statement = reasons.find((reason) => reason.statement !== "")?.statement;
  return encodeNoticeResponse({
    severity: "NOTICE",
    code: "00000",
    message: `server connection is reserved for this client: ${message}`,
    ...(statement === undefined ? {} : { detail: `Because of: ${statement}` }),
  });
}

/** For a client that came without TLS although it is asked for; in PgBouncer's words. */
export function encryptionRequired(): PeerError {
  return new PeerError("SSL required", {
    code: "login.ssl_required",
    sqlstate: "28000",
    source: "client",
  });
}

/** As PostgreSQL answers a cancel request (postgres.c ProcessInterrupts). */
export function canceledByUser(): OperationError {
  return new OperationError("canceling statement due to user request", {
    code: "session.canceled",
    sqlstate: "57014",
    source: "client",
  });
}

/** As PostgreSQL ends its sessions at a fast shutdown (postgres.c ProcessInterrupts). */
export function administratorShutdown(): OperationError {
  return new OperationError("terminating connection due to administrator command", {
    code: "session.shutdown",
    sqlstate: "57P01",
    source: "internal",
    retrySafe: true,
  });
}

/** KILL and KILL_CLIENT of the console, in PgBouncer's words. */
export function adminForcedDisconnect(): OperationError {
  return new OperationError("admin forced disconnect", {
    code: "session.killed",
    sqlstate: "57P01",
    source: "internal",
  });
}

/** In PgBouncer's words. */
export function transactionInStatementMode(): OperationError {
  return new OperationError("transaction blocks not allowed in statement pooling mode", {
    code: "session.transaction_in_statement_mode",
    sqlstate: "08P01",
    source: "client",
  });
}

/** The settings of a client were refused by a server, which said so in the ErrorResponse `error`; in PgBouncer's words. */
export function invalidServerParameter(error: Buffer): OperationError {
  const refusal = decodeBackend(error, 0, error.length);
  assert(refusal.kind === "ErrorResponse", "what was swallowed is an error");
  return new OperationError("invalid server parameter", {
    code: "session.invalid_server_parameter",
    sqlstate: "08P01",
    source: "server",
    detail: `The server did not take over a setting of this client: ${refusal.fields.message}.`,
  });
}

/** What a client is told of whatever was thrown. A mistake of ours ends this one session, loudly; nobody else's. */
export function failureOf(
  error: unknown,
  { id, user, database, peer }: { id: number; user: string; database: string; peer: string },
  logger: Logger,
): Failure {
  if (error instanceof Failure) return error;
  logger.error({ client: id, user, database, peer, err: error }, "internal error");
  return internalError();
}

/** A mistake of ours: all that a client needs to know of it. */
export function internalError(): OperationError {
  return new OperationError("internal error", {
    code: "session.internal",
    sqlstate: "XX000",
    source: "internal",
  });
}

const noNotice = Buffer.alloc(0);

/** `login_notify_message`: a NOTICE right behind the login; nothing without one. */
export function loginNotice(message: string): Buffer {
  if (message === "") return noNotice;
  return encodeNoticeResponse({ severity: "NOTICE", code: "00000", message });
}
