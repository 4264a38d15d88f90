/**
 * The three kinds of failure.
 *
 * - {@link PeerError}: the other side broke the protocol, or refused us.
 * - {@link OperationError}: an operation could not be done (a time limit, no server, a limit reached).
 * - {@link AssertionError} (see assert.ts): a mistake of ours.
 *
 * The first two carry a stable `code` for programs, a SQLSTATE for PostgreSQL clients, where the fault lies
 * and whether the same operation may be tried again. Secrets never enter a message.
 */

/** Who is at fault: a client of ours, a PostgreSQL server, or this process. */
export type ErrorSource = "client" | "server" | "internal";

export interface FailureOptions {
  /** Stable identifier for programs, for example `peer.message_too_long`. */
  readonly code: string;
  /** Five characters of PostgreSQL's errcodes.txt. */
  readonly sqlstate: string;
  readonly source: ErrorSource;
  /** True if nothing of the operation can have taken effect, so that it may be tried again. */
  readonly retrySafe?: boolean;
  readonly detail?: string;
  readonly hint?: string;
  readonly cause?: unknown;
}

export abstract class Failure extends Error {
  readonly code: string;
  readonly sqlstate: string;
  readonly source: ErrorSource;
  readonly retrySafe: boolean;
  readonly detail: string | undefined;
  readonly hint: string | undefined;

  constructor(message: string, options: FailureOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = options.code;
    this.sqlstate = options.sqlstate;
    this.source = options.source;
    this.retrySafe = options.retrySafe ?? false;
    this.detail = options.detail;
    this.hint = options.hint;
  }
}

/** The remote side broke the protocol, or refused what we asked. */
export class PeerError extends Failure {}

/** An operation ended without success: a time limit, a limit on numbers, no server, a bad setting. */
export class OperationError extends Failure {}

/** A protocol violation: SQLSTATE 08P01 (protocol_violation) unless another is given. */
export function protocolViolation(
  message: string,
  options: Partial<FailureOptions> & { readonly code?: string } = {},
): PeerError {
  return new PeerError(message, {
    code: "peer.protocol_violation",
    sqlstate: "08P01",
    source: "client",
    ...options,
  });
}
