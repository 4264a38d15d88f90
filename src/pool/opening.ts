/**
 * The attempts of one pool to open servers, and what became of the last ones: how many are under way, whether
 * the way is known to be broken, and when it may be tried again.
 */
import type { Clock } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import { type OpenConnection, openConnection } from "../client/handshake/driver.ts";
import { encodeTerminate } from "../wire/encode-frontend.ts";
import { cachedFailure, connectFailure, unreached } from "./failures.ts";
import type { Permits } from "./permits.ts";
import { serverReadBytes } from "./reply-reading.ts";
import { Server } from "./server.ts";
import type { ConnectOptionsSource, PoolSettings } from "./settings.ts";
import type { Statistics } from "./statistics.ts";

/** Server connections that are being opened at once for one pool: enough to fill it quickly, no storm. */
const connectingMax = 8;
/** Leave for a place that is free comes sooner. */
const leaveMsMax = 50;
/** SQLSTATE of a server that cannot take us now but soon will: clients wait, they are not failed. */
const startingUp = "57P03";
/**
 * SQLSTATE of a server that has let us in and has then waited in vain for our first word: a role has an
 * `idle_session_timeout` that is shorter than our turn was long.
 */
const idledOut = "57P05";
/** How soon another one is asked for, instead of `server_login_retry`. */
const transientRetryMs = 500;

/** Is called when the next new server is there, or none can be had. */
export type Newcomer = () => void;

/** What became of one attempt. */
export type Opened =
  | {
      readonly kind: "open";
      readonly connection: OpenConnection;
      readonly options: ReturnType<ConnectOptionsSource>;
    }
  | { readonly kind: "failed"; readonly failure: Failure }
  /** It was begun before a reload, or a pause: whatever came of it is not what is wanted now. */
  | { readonly kind: "stale" };

export class Opening {
  readonly #source: ConnectOptionsSource;
  readonly #clock: Clock;
  readonly #permits: Permits | undefined;
  readonly #attempts = new Set<AbortController>();
  /** Those of them that wait for leave, and since when none has got it. */
  #waiting = 0;
  #waitingSinceMs = 0;
  /** Counts the changes of where and as whom to connect. */
  #generation = 0;
  #retryAtMs = 0;
  #lastFailure: Failure | undefined;
  /** Clients need not hear of it, since a server will be there soon. */
  #transient = false;
  /** Who hopes for a new server, the first one first. */
  readonly #hopeful: Newcomer[] = [];

  constructor(source: ConnectOptionsSource, clock: Clock, permits?: Permits) {
    this.#source = source;
    this.#clock = clock;
    this.#permits = permits;
  }

  /** Attempts that may become connections. */
  get size(): number {
    return this.#attempts.size - this.#waiting;
  }

  /** Those that wait for leave among them. */
  get begun(): number {
    return this.#attempts.size;
  }

  /** Those that wait for leave, which may not come before a server is given up. */
  get withoutLeave(): number {
    return this.#waiting;
  }

  /** Those of them for which there is no place, as it seems. */
  get placeless(): number {
    return this.#clock.now() - this.#waitingSinceMs >= leaveMsMax ? this.#waiting : 0;
  }

  /** False while a failure keeps the next attempt waiting. */
  mayTry(nowMs: number): boolean {
    return nowMs >= this.#retryAtMs;
  }

  /** Nothing speaks against an attempt that nobody is in need of: the last one succeeded, and few are under way. */
  get easy(): boolean {
    return this.#lastFailure === undefined && this.room > 0;
  }

  /** How many may be begun now. After a failure one connection tries the way; the others follow it. */
  get room(): number {
    return (this.#lastFailure === undefined ? connectingMax : 1) - this.#attempts.size;
  }

  /** What clients are told while a failed login is not tried again; undefined if it may be. */
  get recentFailure(): Failure | undefined {
    const failure = this.#lastFailure;
    if (failure === undefined || this.#attempts.size > 0 || this.#transient) return undefined;
    return this.mayTry(this.#clock.now()) ? undefined : cachedFailure(failure);
  }

  /** The last server is gone, and none may be opened for a while: whoever waits is told, as whoever comes now. */
  failIfHopeless(waiting: { failAll(failure: Failure): void }): void {
    const failure = this.recentFailure;
    if (failure !== undefined) waiting.failAll(failure);
  }

  /** The last attempt failed, and another one follows soon. */
  get failing(): boolean {
    return this.#lastFailure !== undefined && this.#transient;
  }

  /** Makes one attempt; never rejects. */
  async open(): Promise<Opened> {
    const attempt = new AbortController();
    const generation = this.#generation;
    this.#attempts.add(attempt);
    if (this.#permits !== undefined && !(await this.#acquire(this.#permits, attempt)))
      return { kind: "stale" };
    let opened: Opened;
    try {
      const options = this.#source();
      const connection = await openConnection(options, {
        signal: attempt.signal,
        readBufferBytes: serverReadBytes,
      });
      opened = { kind: "open", connection, options };
    } catch (error) {
      opened = { kind: "failed", failure: connectFailure(error) };
    }
    this.#attempts.delete(attempt);
    if (generation === this.#generation) return opened;
    if (opened.kind === "open") opened.connection.transport.end(encodeTerminate());
    return { kind: "stale" };
  }

  async #acquire(permits: Permits, attempt: AbortController): Promise<boolean> {
    if (this.#waiting++ === 0) this.#waitingSinceMs = this.#clock.now();
    const acquired = await permits.acquire(attempt.signal);
    this.#waiting--;
    if (acquired) this.#waitingSinceMs = this.#clock.now();
    if (acquired) return true;
    this.#attempts.delete(attempt);
    // No server comes of it: there is nothing to hope for.
    this.#hopeful.shift()?.();
    return false;
  }

  /** More are coming than these and those who hope. */
  hasSpare(waiting: number): boolean {
    return this.#attempts.size > waiting + this.#hopeful.length;
  }

  /** Returns how to give the hope up. */
  hope(newcomer: Newcomer): () => void {
    this.#hopeful.push(newcomer);
    return () => {
      const index = this.#hopeful.indexOf(newcomer);
      if (index >= 0) this.#hopeful.splice(index, 1);
    };
  }

  /** Whoever has hoped for the server that is there. */
  takeHopeful(): Newcomer | undefined {
    return this.#hopeful.shift();
  }

  #disappoint(): void {
    for (const newcomer of this.#hopeful.splice(0)) newcomer();
  }

  /** A server is gone. One that has idled out before it was ready is a failure: the next one must not follow without a pause. */
  onLost(server: Server, failure: Failure, settings: PoolSettings): void {
    const isNew = server.state === "checking" && server.lastUsedAtMs === server.connectedAtMs;
    if (isNew && failure.sqlstate === idledOut) this.noteFailure(failure, settings);
  }

  noteSuccess(): void {
    this.#lastFailure = undefined;
    this.#retryAtMs = 0;
  }

  /**
   * Returns whether clients need not hear of it, since a server will be there soon: this one, or where the pool
   * follows the primary and this one cannot be reached, another.
   */
  noteFailure(failure: Failure, { serverLoginRetryMs, failoverTimeoutMs }: PoolSettings): boolean {
    const follows = failoverTimeoutMs !== undefined;
    const soon = failure.sqlstate === startingUp || failure.sqlstate === idledOut;
    const transient = soon || (follows && failure.code === unreached);
    this.#transient = transient;
    const retryMs = transient ? Math.min(transientRetryMs, serverLoginRetryMs) : serverLoginRetryMs;
    this.#lastFailure = failure;
    // A node that is starting is asked again soon; any other failure is not hammered.
    this.#retryAtMs = this.#clock.now() + Math.max(1, retryMs);
    this.#disappoint();
    return transient;
  }

  /** Gives up the attempts under way, and forgets what failed: from now on another way is tried. */
  restart(): void {
    this.#generation++;
    this.abort();
    this.noteSuccess();
  }

  abort(): void {
    for (const attempt of this.#attempts) attempt.abort();
    this.#disappoint();
  }
}

/** A server of `pool` on a connection that was opened. */
export function serverOn(
  connection: OpenConnection,
  pool: { readonly settings: PoolSettings; readonly statistics: Statistics },
  nowMs: number,
  onClosed: (server: Server, error: Failure) => void,
): Server {
  const { preparedMax, packetBytesMax, failoverTimeoutMs } = pool.settings;
  return new Server(connection, {
    nowMs,
    preparedMax,
    packetBytesMax,
    statistics: pool.statistics,
    tellsFate: failoverTimeoutMs !== undefined,
    onClosed,
  });
}
