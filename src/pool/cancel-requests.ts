/**
 * The cancel requests that one pool has under way. Each goes the way of the connection it is for: to the same
 * address with the same encryption, whatever a reload has changed since.
 */
import { assert } from "../base/assert.ts";
import type { Logger } from "../base/log.ts";
import type { ConnectOptions } from "../client/conninfo/options.ts";
import { cancelBackend, type OpenConnection } from "../client/handshake/driver.ts";
import type { Server } from "./server.ts";

/** For one server at the same time: whoever sends more of them than a person can, gains nothing by it. */
const perServerMax = 8;
/** Where no limit is set, so that none is under way for ever. */
const timeoutMsMax = 60_000;

export class CancelRequests {
  /** Each with its end. */
  readonly #underWay = new Map<AbortController, Promise<void>>();
  /** They wait until it is the client's own statement that they hit. */
  readonly #heldBack = new WeakMap<Server, Promise<void>>();
  readonly #connectedBy = new WeakMap<OpenConnection, ConnectOptions>();
  readonly #poolName: string;
  readonly #logger: Logger;

  constructor(poolName: string, logger: Logger) {
    this.#poolName = poolName;
    this.#logger = logger;
  }

  get size(): number {
    return this.#underWay.size;
  }

  /** How a connection was made. */
  remember(connection: OpenConnection, options: ConnectOptions): void {
    this.#connectedBy.set(connection, options);
  }

  /**
   * Resolves when the node has closed the cancel connection, or `timeoutMs` (0: a minute) have passed; never
   * rejects. One that was not taken may arrive later, so its server is marked to be closed.
   */
  async send(server: Server, timeoutMs: number): Promise<void> {
    if (server.closed || server.cancelKey === undefined || server.cancelsInFlight >= perServerMax) return;
    const attempt = new AbortController();
    const done = this.#send(server, timeoutMs > 0 ? timeoutMs : timeoutMsMax, attempt.signal);
    this.#underWay.set(attempt, done);
    await done;
    this.#underWay.delete(attempt);
  }

  /** Resolves when those that are under way now are done. */
  async done(): Promise<void> {
    await Promise.all(this.#underWay.values());
  }

  /** Gives up those that are under way. */
  abandon(): void {
    for (const attempt of this.#underWay.keys()) attempt.abort();
  }

  async #send(server: Server, timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (server.replies.onOwnQuery && !(await this.#reachesStatement(server, timeoutMs, signal))) return;
    server.cancelsInFlight++;
    try {
      const options = this.#connectedBy.get(server.connection);
      assert(options !== undefined, "every server was connected with some options");
      await cancelBackend(options, server.connection, { timeoutMs, signal });
    } catch (error) {
      this.#logger.warn(
        { pool: this.#poolName, server: server.id, err: error },
        "could not send cancel request",
      );
      server.closeReason ??= "cancel request was not answered";
    } finally {
      server.cancelsInFlight--;
    }
  }

  /**
   * Waits until the server has done what the pooler has sent before the client's statement, its settings perhaps: they are what a cancel
   * request would hit. Resolves to whether there is still something of the same client's to cancel. After `timeoutMs` it hits what it may.
   */
  async #reachesStatement(server: Server, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    const { owner } = server;
    let reached = this.#heldBack.get(server);
    if (reached === undefined) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
      reached = new Promise((resolve) => {
        server.onOwnAnswered = resolve;
        limit.addEventListener("abort", () => resolve(), { once: true });
      });
      this.#heldBack.set(server, reached);
    }
    await reached;
    this.#heldBack.delete(server);
    server.onOwnAnswered = undefined;
    const wanted = !server.closed && server.owner === owner && !server.replies.settled;
    return wanted && !signal.aborted && server.cancelsInFlight < perServerMax;
  }
}
