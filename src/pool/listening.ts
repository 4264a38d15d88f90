/**
 * Connections of one pool that run no statements of clients: they listen, for all clients at once (auto mode).
 *
 * They come on top of `pool_size`, since nobody waits for one, and count against every other limit. None is opened
 * where that would exceed a limit, and none is closed to make room: who listens would miss notifications.
 */
import type { Failure } from "../base/errors.ts";
import type { OpenConnection } from "../client/handshake/driver.ts";
import { outcomeOf, reasonOf } from "./failures.ts";
import { Opening } from "./opening.ts";
import type { Places } from "./places.ts";
import { Server } from "./server.ts";
import type { PoolOptions, PoolSettings } from "./settings.ts";
import type { Statistics } from "./statistics.ts";

/** What they need of their pool. */
type ListeningParts = Pick<PoolOptions, "name" | "connectOptions" | "clock" | "logger"> & {
  readonly statistics: Statistics;
};

export class ListeningServers {
  readonly #parts: ListeningParts;
  readonly #places: Places;
  readonly #settings: () => PoolSettings;
  readonly #servers = new Set<Server>();
  readonly #opening: Opening;
  #closed = false;

  constructor(parts: ListeningParts, places: Places, settings: () => PoolSettings) {
    this.#parts = parts;
    this.#places = places;
    this.#settings = settings;
    this.#opening = new Opening(parts.connectOptions, parts.clock);
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
    const nowMs = this.#parts.clock.now();
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
    if (opened.kind === "failed") this.#noteFailure(opened.failure);
    places.onPlaceFree();
    return undefined;
  }

  /** Closes one that nobody needs. */
  discard(server: Server, reason: string): void {
    if (server.closed) return;
    this.#forget(server);
    this.#parts.logger.info({ ...this.#labels(server), reason }, "closing server");
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
    const { clock, statistics, logger } = this.#parts;
    const server = new Server(connection, {
      nowMs: clock.now(),
      preparedMax: 0,
      packetBytesMax: this.#settings().packetBytesMax,
      statistics,
      onClosed: (closed, error) => {
        if (closed.closed) return;
        logger.warn({ ...this.#labels(closed), reason: error.message }, "server lost");
        this.#forget(closed);
      },
    });
    server.state = "listening";
    this.#servers.add(server);
    const { endpoint: node, tls } = connection;
    logger.info({ ...this.#labels(server), from: server.localEnd, node, tls }, "new connection to server");
    return server;
  }

  #forget(server: Server): void {
    server.state = "closed";
    this.#servers.delete(server);
    this.#places.giveBeside();
    this.#places.onPlaceFree();
  }

  #noteFailure(failure: Failure): void {
    const { logger, name: pool } = this.#parts;
    this.#opening.noteFailure(failure, this.#settings().serverLoginRetryMs);
    logger.warn(
      { pool, sqlstate: failure.sqlstate, outcome: outcomeOf(failure), reason: reasonOf(failure) },
      "server login failed",
    );
  }

  #labels(server: Server): object {
    return { pool: this.#parts.name, server: server.id, backendPid: server.backendPid, listens: true };
  }
}
