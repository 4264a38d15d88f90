/**
 * The promise face of the handshake: connects and logs in, or delivers a cancel request. Pooled connections,
 * health checks and cancel requests all pass here. Whatever the outcome, exactly one thing is left: the
 * transport that is handed to the caller, or nothing. How it is done is in attempt.ts.
 */
import { randomBytes } from "node:crypto";
import { assert } from "../../base/assert.ts";
import type { Transport } from "../../base/transport.ts";
import type { ConnectOptions } from "../conninfo/options.ts";
import { ConnectError } from "../errors.ts";
import { Attempt } from "./attempt.ts";
import type { OpenOptions } from "./attempt-options.ts";
import type { CancelRequest, HandshakeResult } from "./demands.ts";
import { Handshake } from "./handshake.ts";
import type { ConnectedEndpoint } from "./targets.ts";

export type { OpenOptions } from "./attempt-options.ts";

/** A session that is ready for its first query. */
export interface OpenConnection extends HandshakeResult {
  /**
   * The caller sets its listener before anything else is awaited. Until then what comes is lost to nobody:
   * it is not read, because no input is handled between the end of the login and that moment.
   */
  readonly transport: Transport;
}

/** The session that a cancel request is for: an OpenConnection has all of it. */
export interface CancelTarget {
  readonly endpoint: ConnectedEndpoint;
  readonly tls: boolean;
  readonly backendPid: number;
  readonly cancelKey: Buffer | undefined;
}

/**
 * Connects and logs in. `options.connectTimeoutMs` is for each address; `open.timeoutMs` and `open.signal` are
 * for the whole.
 *
 * Rejects with {@link ConnectError} (SQLSTATE of the server if it sent an error, else 08001, 08006 or 08P01),
 * or with OperationError `client.bad_option` (22023). No socket and no timer is left behind then.
 */
export async function openConnection(
  options: ConnectOptions,
  open: OpenOptions = {},
): Promise<OpenConnection> {
  const attempt = new Attempt(new Handshake(options, { random: randomBytes }), options, open);
  const end = await attempt.run();
  if (end.kind === "failed") throw end.error;
  assert(end.kind === "session", "a login ends with a session");
  return { ...end.result, transport: attempt.take() };
}

/**
 * Asks the server to cancel what a session runs: on a connection of its own to the same address, encrypted
 * if the session is. Resolves when the server has closed that connection, so that the request has been taken
 * and can no longer hit a later query. Says nothing of its effect: a request that comes too late does nothing.
 *
 * Rejects with {@link ConnectError} if the request cannot be delivered within `timeoutMs` milliseconds, or if
 * the session has no cancel key (libpq's "connection has no cancel key").
 */
export async function cancelBackend(
  options: ConnectOptions,
  session: CancelTarget,
  limits: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const cancel = cancelRequest(session);
  if (cancel === undefined)
    throw new ConnectError("client.connect_failed", [], "the server gave no cancel key");
  const single = { ...cancelOptions(options, session), connectTimeoutMs: limits.timeoutMs };
  const machine = new Handshake(single, { random: randomBytes, cancel });
  const attempt = new Attempt(machine, single, { signal: limits.signal, readBufferBytes: 1024 });
  const end = await attempt.run();
  if (end.kind === "failed") throw end.error;
}

/** What to send to cancel what a session runs; undefined if the server gave no key to do so. */
export function cancelRequest(session: CancelTarget): CancelRequest | undefined {
  const { backendPid: pid, cancelKey: key, tls } = session;
  return key === undefined ? undefined : { pid, key, tls };
}

/** The way of a cancel request: the session's own address, wherever else its options might have led. */
export function cancelOptions(options: ConnectOptions, session: CancelTarget): ConnectOptions {
  const { host, address, port } = session.endpoint;
  return { ...options, hosts: [{ host, port, address }] };
}
