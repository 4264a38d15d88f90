/**
 * Failures of this room. A connection that could not be made says what was tried, in order, and keeps the
 * server's own error whole: SQLSTATE, detail, hint and the rest. No text ever holds a password.
 */
import { type ErrorSource, OperationError, PeerError } from "../base/errors.ts";
import type { ErrorFields } from "../wire/fields.ts";
import type { ConnectionStatus } from "./handshake/status.ts";

/** One try to reach one address with one kind of encryption, or to find a host's addresses. */
export interface ConnectAttempt {
  readonly host: string;
  /** Undefined if the host's name could not be resolved. */
  readonly address: string | undefined;
  readonly port: number;
  /** How far it came. */
  readonly phase: ConnectionStatus;
  readonly tls: boolean;
  /** Starts as libpq's does: `connection to server at "h" (a), port p failed: `. */
  readonly message: string;
  readonly code: ConnectErrorCode;
  readonly sqlstate: string;
  readonly serverError: ErrorFields | undefined;
  readonly cause: unknown;
}

/**
 * Why a connection came to nothing:
 * - `client.connect_failed`: no address answered, or a name did not resolve;
 * - `client.connect_timeout`: the time for one address ran out, on the last one that was tried, or that for the whole;
 * - `client.connect_aborted`: the caller's signal; its reason is the cause;
 * - `client.server_refused`: the server sent an ErrorResponse, which is in `serverError`; or, since it could
 *   not even start a process, a bare text, and then there is no `serverError`;
 * - `client.session_unsuitable`: it let us in, but its session is not what target_session_attrs asks for;
 * - `client.login_failed`: its authentication request cannot or must not be met;
 * - `client.tls_failed`: no TLS where it is required, or a certificate that does not hold;
 * - `client.connection_lost`: the server closed in the middle;
 * - `client.protocol_violation`: it sent what it must not.
 */
export type ConnectErrorCode =
  | "client.connect_failed"
  | "client.connect_timeout"
  | "client.connect_aborted"
  | "client.server_refused"
  | "client.session_unsuitable"
  | "client.login_failed"
  | "client.tls_failed"
  | "client.connection_lost"
  | "client.protocol_violation";

/**
 * A connection, or a cancel request, that came to nothing. `sqlstate` is the server's own if it sent an
 * error; else 08P01 for a protocol violation, 08006 if the server closed in the middle, 08001 for the rest.
 */
export class ConnectError extends OperationError {
  declare readonly code: ConnectErrorCode;
  /** The server's error, if an attempt ended with one; of several, the last. */
  readonly serverError: ErrorFields | undefined;
  /** Everything that was tried, in order. */
  readonly attempts: readonly ConnectAttempt[];

  constructor(code: ConnectErrorCode, attempts: readonly ConnectAttempt[], message: string, cause?: unknown) {
    const last = attempts.at(-1);
    const refused = attempts.findLast((attempt) => attempt.serverError !== undefined);
    const serverError = code === "client.connect_aborted" ? undefined : refused?.serverError;
    const source: ErrorSource = code === "client.connect_aborted" ? "internal" : "server";
    super(message, {
      code,
      sqlstate:
        serverError?.code ?? (code === "client.connect_aborted" ? "08001" : (last?.sqlstate ?? "08001")),
      source,
      retrySafe: true,
      ...(serverError?.detail === undefined ? {} : { detail: serverError.detail }),
      ...(serverError?.hint === undefined ? {} : { hint: serverError.hint }),
      cause: cause ?? last?.cause,
    });
    this.serverError = serverError;
    this.attempts = attempts;
  }
}

/** An ErrorResponse to a query, with every field the server sent. */
export class ServerError extends PeerError {
  readonly fields: ErrorFields;

  constructor(fields: ErrorFields) {
    super(fields.message, {
      code: "client.server_error",
      sqlstate: fields.code,
      source: "server",
      ...(fields.detail === undefined ? {} : { detail: fields.detail }),
      ...(fields.hint === undefined ? {} : { hint: fields.hint }),
    });
    this.fields = fields;
  }
}
