/**
 * libpq's calls that make and end connections (PostgreSQL's manual, "Database Connection Control Functions"),
 * by their names without PQ. None of them blocks: whoever polls waits with `ready`, or in a way of his own.
 *
 *     const conn = connectStart("host=db.example dbname=app");
 *     let step: PollingStatus = status(conn) === "BAD" ? "failed" : "writing";
 *     while (step === "reading" || step === "writing") {
 *       await ready(conn);
 *       step = connectPoll(conn);
 *     }
 *     if (step === "failed") console.error(errorMessage(conn));
 *     finish(conn);
 *
 * What differs from libpq: a host name is looked up without blocking, so `host` may be a name; nothing is ever
 * NULL, since memory that runs out ends the process.
 */
import type { ConninfoSources } from "../conninfo/sources.ts";
import type { PollingStatus } from "../handshake/attempt-options.ts";
import type { Resolve } from "../handshake/resolve.ts";
import type { ConnectionStatus } from "../handshake/status.ts";
import type { CancelConn } from "./cancel.ts";
import { Conn, type TakenConnection, type WaitOptions } from "./conn.ts";
import type { ReadyOptions } from "./polled.ts";
import {
  type ParameterList,
  type SettingsOutcome,
  settingsFromParameters,
  settingsFromString,
} from "./settings.ts";

/** What surrounds a connection; everything is the system's own if not given. */
export interface Surroundings {
  /** Environment and files that fill up the parameters. */
  readonly sources?: ConninfoSources | undefined;
  /** How host names become addresses. */
  readonly resolve?: Resolve | undefined;
}

/**
 * Begins to connect (PQconnectStart) by a URI or a string of keywords and values. Never throws: if the string
 * is wrong, or nothing can be connected to, the status is BAD at once and `errorMessage` says why.
 */
export function connectStart(conninfo: string, surroundings: Surroundings = {}): Conn {
  const conn = connFrom(settingsFromString(conninfo, surroundings.sources ?? {}), surroundings);
  conn.start();
  return conn;
}

/**
 * The same by keywords and values (PQconnectStartParams). With `expandDbname`, the first `dbname` may be a
 * conninfo string.
 */
export function connectStartParams(
  parameters: ParameterList,
  expandDbname = false,
  surroundings: Surroundings = {},
): Conn {
  const outcome = settingsFromParameters(parameters, expandDbname, surroundings.sources ?? {});
  const conn = connFrom(outcome, surroundings);
  conn.start();
  return conn;
}

/**
 * Connects without polls (PQconnectdb), and is done when the status is OK or BAD. Here connect_timeout counts,
 * for each address; `wait` is for the whole. Never rejects.
 */
export async function connectdb(
  conninfo: string,
  wait: WaitOptions = {},
  surroundings: Surroundings = {},
): Promise<Conn> {
  const conn = connFrom(settingsFromString(conninfo, surroundings.sources ?? {}), surroundings);
  await conn.complete(wait);
  return conn;
}

/** The same by keywords and values (PQconnectdbParams). */
export async function connectdbParams(
  parameters: ParameterList,
  expandDbname = false,
  wait: WaitOptions = {},
  surroundings: Surroundings = {},
): Promise<Conn> {
  const outcome = settingsFromParameters(parameters, expandDbname, surroundings.sources ?? {});
  const conn = connFrom(outcome, surroundings);
  await conn.complete(wait);
  return conn;
}

/**
 * Takes the next step (PQconnectPoll) with what has come meanwhile, and says what to wait for before the next
 * call, or how it has ended. Before the first call, act as if it had said `writing`. Calling too early does
 * nothing; calling after the end says the same again. connect_timeout is ignored: how long to go on is the
 * caller's decision.
 */
export function connectPoll(conn: Conn): PollingStatus {
  return conn.poll();
}

/**
 * Waits until the connection is in the state that the last poll has asked for (PQsocketPoll). Resolves with
 * false if the end time comes first; rejects only with the reason of the signal.
 */
export function ready(conn: Conn | CancelConn, options: ReadyOptions = {}): Promise<boolean> {
  return conn.ready(options);
}

/** How far the connection has come (PQstatus). OK and BAD are the ends; never rely on the order of the others. */
export function status(conn: Conn): ConnectionStatus {
  return conn.connectionStatus;
}

/**
 * Descriptor of the connection's socket (PQsocket), -1 if there is none. It may change with every poll, and
 * Node reads from it: it tells sockets apart, and is not to be read, written or closed.
 */
export function socket(conn: Conn): number {
  return conn.descriptor;
}

/** What went wrong last (PQerrorMessage), without the newline of libpq's; empty if nothing did. */
export function errorMessage(conn: Conn): string {
  return conn.errorText;
}

/** Ends the connection and lets go of everything it holds (PQfinish). Whatever is asked of it later is safe. */
export function finish(conn: Conn): void {
  conn.finish();
}

/**
 * Closes the connection and makes it anew by the same parameters (PQreset). Resolves with how that has ended;
 * never rejects. connect_timeout counts, for each address.
 */
export function reset(conn: Conn, wait: WaitOptions = {}): Promise<"ok" | "failed"> {
  return conn.complete(wait);
}

/** The same, to be polled (PQresetStart). False if it has failed at once. */
export function resetStart(conn: Conn): boolean {
  return conn.start();
}

/** As connectPoll, after resetStart (PQresetPoll). */
export function resetPoll(conn: Conn): PollingStatus {
  return conn.poll();
}

/**
 * Takes the session of a connection that is OK out of it, for those who run queries; the connection is
 * finished then, the session lives on. The caller sets the transport's listener before anything is awaited,
 * and hands `rest` to it first. Throws OperationError `client.not_connected` (08003) if there is no session.
 */
export function takeConnection(conn: Conn): TakenConnection {
  return conn.take();
}

function connFrom(outcome: SettingsOutcome, surroundings: Surroundings): Conn {
  return new Conn(outcome, surroundings.resolve);
}
