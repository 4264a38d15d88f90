/**
 * Homes: in auto mode a client has, if possible, a server of its pool that is the home of nobody else. Its process id
 * is the one that the client is told at login, and what pg_backend_pid() returns, because the client gets this server
 * rather than another one whenever it is idle. That is all: others use it as well, and the client uses others.
 *
 *     login ─▶ an idle server that is nobody's home? ─▶ it
 *                 none ─▶ may one be opened? ─▶ it, if it is there soon
 *                            no ─▶ a busy one that is nobody's home, or no home: a made-up process id
 *
 * A client that has no home, or whose home is gone, takes the server for one on which it first asks for process ids.
 */
import type { Clock } from "../../base/clock.ts";
import type { Pool } from "../../pool/pool.ts";
import type { Server } from "../../pool/server.ts";

/** So long a login waits for a server that is being opened; one nearby takes a few milliseconds. */
const searchMsMax = 1000;

/** Of one pool. */
export class Homes {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #searches = new Set<HomeSearch>();

  constructor(pool: Pool, clock: Clock) {
    this.#pool = pool;
    this.#clock = clock;
  }

  /** Finds a home for a client that logs in. `found` is told now, and undefined returned; or it is told soon. */
  search(clientId: number, found: (home: Server | undefined) => void): HomeSearch | undefined {
    const giveUp = this.#vacant()?.state === "idle" ? undefined : this.#pool.openSpare(() => search.end());
    const search: HomeSearch = {
      sinceMs: this.#clock.now(),
      abandon: () => {
        this.#searches.delete(search);
        giveUp?.();
      },
      end: () => {
        search.abandon();
        const home = this.#vacant();
        if (home !== undefined) home.homeOf = clientId;
        found(home);
      },
    };
    if (giveUp === undefined) {
      search.end();
      return undefined;
    }
    this.#searches.add(search);
    return search;
  }

  /** What was found for a client. */
  of(clientId: number): Server | undefined {
    for (const server of this.#pool.servers) if (server.homeOf === clientId) return server;
    return undefined;
  }

  /** The process id that a client was told whose statement runs on the server with this one, or was the last to run there. */
  toldPid(backendPid: number): number {
    for (const server of this.#pool.servers) {
      if (server.backendPid === backendPid) return server.userPid ?? backendPid;
    }
    return backendPid;
  }

  /** Everything that time asks for. */
  tick(): void {
    const nowMs = this.#clock.now();
    for (const search of [...this.#searches]) {
      if (nowMs - search.sinceMs >= searchMsMax) search.end();
    }
  }

  /** A server that is nobody's home, an idle one if there is one. */
  #vacant(): Server | undefined {
    let vacant: Server | undefined;
    for (const server of this.#pool.servers) {
      if (server.homeOf !== undefined || server.closeReason !== undefined || server.dying) continue;
      if (server.state === "idle") return server;
      vacant ??= server;
    }
    return vacant;
  }
}

/** A login that waits for its home. */
export interface HomeSearch {
  readonly sinceMs: number;
  /** The client is gone: it is told nothing any more. */
  abandon(): void;
  /** It is told what there is. */
  end(): void;
}

/** Of one client. */
export class Home {
  readonly #clientId: number;
  #server: Server | undefined;
  /** What the client was told at login; undefined: nothing yet. */
  #pid: number | undefined;
  /** The unit at hand asks for process ids. */
  #asked = false;

  constructor(clientId: number, server: Server | undefined) {
    this.#clientId = clientId;
    this.#server = server;
  }

  /** Undefined: there is none, or it is gone. */
  get server(): Server | undefined {
    if (this.#server?.closed === true) this.#server = undefined;
    return this.#server;
  }

  /** The unit at hand has to run there. */
  get asked(): boolean {
    return this.#asked;
  }

  get pid(): number | undefined {
    return this.#pid;
  }

  announce(pid: number): void {
    this.#pid = pid;
  }

  beginUnit(): void {
    this.#asked = false;
  }

  /** A statement asks for process ids. `server`: where it runs, if that is certain. */
  ask(server: Server | undefined): void {
    this.#asked = true;
    if (server !== undefined) this.#settle(server);
  }

  /** The client has been given a server. */
  enter(server: Server): void {
    server.userPid = this.#pid;
    if (this.#asked) this.#settle(server);
    this.#asked = false;
  }

  #settle(server: Server): void {
    if (this.server !== undefined) return;
    this.#server = server;
    server.homeOf ??= this.#clientId;
  }

  /** The client is gone. */
  leave(): void {
    if (this.#server?.homeOf === this.#clientId) this.#server.homeOf = undefined;
    this.#server = undefined;
  }
}
