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
import type { Failure } from "../../base/errors.ts";
import type { Pool } from "../../pool/pool.ts";
import type { Server } from "../../pool/server.ts";
import type { AutoClient } from "./client.ts";
import type { AutoDatabase } from "./database.ts";
import { nodeOf, type Pids, type SignalTarget, type ToldClient } from "./pids.ts";

/** So long a login waits for a server that is being opened; one nearby takes a few milliseconds. */
const searchMsMax = 1000;

/** Of one pool. */
export class Homes {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #searches = new Set<HomeSearch>();
  /** What was found last: its client asks for it at once. */
  #found: Server | undefined;

  constructor(pool: Pool, clock: Clock) {
    this.#pool = pool;
    this.#clock = clock;
  }

  /** Finds a home for a client that logs in. `found` is told now, and undefined returned; or it is told soon. */
  search(clientId: number, found: (home: Server | undefined) => void): HomeSearch | undefined {
    const vacant = this.#vacant();
    if (isFree(vacant)) {
      this.#settle(clientId, vacant, found);
      return undefined;
    }
    const giveUp = this.#pool.openSpare(() => search.end());
    const search: HomeSearch = {
      sinceMs: this.#clock.now(),
      abandon: () => {
        this.#searches.delete(search);
        giveUp?.();
      },
      end: () => {
        search.abandon();
        this.#settle(clientId, this.#vacant(), found);
      },
    };
    if (giveUp === undefined) {
      search.end();
      return undefined;
    }
    this.#searches.add(search);
    return search;
  }

  #settle(clientId: number, home: Server | undefined, found: (home: Server | undefined) => void): void {
    if (home !== undefined) home.homeOf = clientId;
    this.#found = home;
    found(home);
  }

  /** What was found for a client. */
  of(clientId: number): Server | undefined {
    if (this.#found?.homeOf === clientId) return this.#found;
    for (const server of this.#pool.servers) if (server.homeOf === clientId) return server;
    return undefined;
  }

  /** Everything that time asks for. */
  tick(): void {
    const nowMs = this.#clock.now();
    for (const search of [...this.#searches]) {
      if (nowMs - search.sinceMs >= searchMsMax) search.end();
    }
  }

  /** A server that is nobody's home, one that nobody has if there is one. */
  #vacant(): Server | undefined {
    let vacant: Server | undefined;
    for (const server of this.#pool.servers) {
      if (server.homeOf !== undefined || server.closeReason !== undefined || server.dying) continue;
      if (isFree(server)) return server;
      vacant ??= server;
    }
    return vacant;
  }
}

/** Idle, or just given back. */
function isFree(server: Server | undefined): boolean {
  return server !== undefined && server.owner === undefined;
}

/** A login that waits for its home. */
export interface HomeSearch {
  readonly sinceMs: number;
  /** The client is gone: it is told nothing any more. */
  abandon(): void;
  /** It is told what there is. */
  end(): void;
}

/** Of one client: its home, and the process id by which others know it. */
export class Home implements ToldClient {
  readonly pool: Pool;
  readonly #clientId: number;
  readonly #pids: Pids;
  readonly #target: SignalTarget;
  #server: Server | undefined;
  /** What the client was told at login; undefined: nothing yet. */
  #pid: number | undefined;
  #node = "";
  /** The unit at hand asks for process ids. */
  #asked = false;

  constructor({ id, target }: AutoClient, { pool, homes, pids }: AutoDatabase) {
    this.pool = pool;
    this.#clientId = id;
    this.#pids = pids;
    this.#target = target;
    this.#server = homes.of(id);
  }

  /** Undefined: there is none, or it is gone. */
  get server(): Server | undefined {
    if (this.#server?.closed === true) this.#server = undefined;
    return this.#server;
  }

  get node(): string {
    return this.#node;
  }

  get ownServer(): Server | undefined {
    return this.#target.ownServer;
  }

  cancel(): Promise<void> {
    return this.#target.cancel();
  }

  fail(failure: Failure, words?: Buffer): void {
    this.#target.fail(failure, words);
  }

  announce(pid: number): void {
    this.#pid = pid;
    const [any] = this.pool.servers;
    const known = this.server ?? any;
    if (known !== undefined) this.#node = nodeOf(known);
    this.#pids.add(pid, this);
  }

  /** The unit at hand has to run there. */
  get asked(): boolean {
    return this.#asked;
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
    if (this.#pid !== undefined) this.#pids.remove(this.#pid, this);
    if (this.#server?.homeOf === this.#clientId) this.#server.homeOf = undefined;
    this.#server = undefined;
  }
}
