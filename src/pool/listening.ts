/**
 * Connections of one pool that run no statements of clients: they listen, for all clients at once (auto mode).
 *
 * They come on top of `pool_size`, since nobody waits for one, and count against every other limit. None is opened
 * where that would exceed a limit, and none is closed to make room: who listens would miss notifications.
 */
import type { Clock } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import type { OpenConnection } from "../client/handshake/driver.ts";
import { Opening, serverOn } from "./opening.ts";
import type { Places } from "./places.ts";
import type { PoolLog } from "./pool-log.ts";
import type { Server } from "./server.ts";
import type { PoolOptions, PoolSettings } from "./settings.ts";
import type { Statistics } from "./statistics.ts";

export class ListeningServers {
  readonly #pool: { readonly settings: PoolSettings; readonly statistics: Statistics };
  readonly #clock: Clock;
  readonly #places: Places;
  readonly #log: PoolLog;
  readonly #servers = new Set<Server>();
  readonly #opening: Opening;
  #closed = false;

  constructor(
    { connectOptions, clock, permits }: PoolOptions,
    pool: { readonly settings: PoolSettings; readonly statistics: Statistics },
    places: Places,
    log: PoolLog,
  ) {
    this.#pool = pool;
    this.#clock = clock;
    this.#places = places;
    this.#log = log;
    this.#opening = new Opening(connectOptions, clock, permits?.beside);
  }

  [Symbol.iterator](): Iterator<Server> {
    return this.#servers.values();
  }

  /** Open or being opened. */
  get size(): number {
    return this.#servers.size + this.#opening.size;
  }

  /** Whether one may be opened now: there is a place for it, and the last attempt did not just fail. */
  get mayOpen(): boolean {
    const nowMs = this.#clock.now();
    return !this.#closed && this.#opening.mayTry(nowMs) && this.#places.hasRoomBeside(nowMs);
  }

  /** Never rejects; undefined: none can be had now, and the log says why. Its owner is to be set at once. */
  async open(): Promise<Server | undefined> {
    if (!this.mayOpen) return undefined;
    const places = this.#places;
    places.takeBeside();
    const opened = await this.#opening.open();
    if (opened.kind === "open" && !this.#closed) {
      this.#opening.noteSuccess();
      return this.#admit(opened.connection);
    }
    places.giveBeside();
    if (opened.kind === "open") opened.connection.transport.destroy();
    if (opened.kind === "failed") {
      this.#opening.noteFailure(opened.failure, this.#pool.settings);
      this.#log.loginFailed(opened.failure);
    }
    places.onPlaceFree();
    return undefined;
  }

  /** Closes one that nobody needs. */
  discard(server: Server, reason: string): void {
    if (server.closed) return;
    this.#forget(server);
    this.#log.closing(server, reason);
    server.terminate();
  }

  /** They serve whom they serve to the end, and nobody new. */
  retire(reason: string): void {
    this.#opening.restart();
    for (const server of this.#servers) server.closeReason ??= reason;
  }

  /** Closes all of them: their owners are told. */
  kill(failure: Failure): void {
    this.#opening.restart();
    for (const server of this.#servers) server.destroy(failure);
  }

  close(failure: Failure): void {
    this.#closed = true;
    this.kill(failure);
  }

  #admit(connection: OpenConnection): Server {
    const server = serverOn(connection, this.#pool, this.#clock.now(), (closed, error) => {
      if (closed.closed) return;
      this.#log.lost(closed, error);
      this.#forget(closed);
    });
    server.state = "listening";
    this.#servers.add(server);
    this.#log.opened(server);
    return server;
  }

  #forget(server: Server): void {
    server.state = "closed";
    this.#servers.delete(server);
    this.#places.giveBeside();
    this.#places.onPlaceFree();
  }
}
