/**
 * The servers of one pool, by what they are doing. Every server is in exactly one state, and `move` is the only
 * door between states: it keeps the lists and the counts.
 *
 *     connecting -> active <-> idle -> checking -> active
 *                   active -> resetting -> idle
 *                   active -> being_canceled -> idle
 *                   any -> closed
 *
 * Idle servers are kept in the order in which they were used, the longest unused first.
 */
import { assert } from "../base/assert.ts";
import type { Failure } from "../base/errors.ts";
import type { Server, ServerState } from "./server.ts";

export class ServerSet {
  readonly #servers = new Set<Server>();
  readonly #idle: Server[] = [];
  /** Until when servers may take for what the pool itself has sent them. */
  readonly #deadlines = new Map<Server, number>();
  readonly #onGone: () => void;

  /** `onGone`: a server was closed. */
  constructor(onGone: () => void) {
    this.#onGone = onGone;
  }

  [Symbol.iterator](): Iterator<Server> {
    return this.#servers.values();
  }

  get size(): number {
    return this.#servers.size;
  }

  get idle(): readonly Server[] {
    return this.#idle;
  }

  /** How many run a query of the pool's own. */
  get ownQueryCount(): number {
    return this.#deadlines.size;
  }

  /** A new server; it is active. */
  add(server: Server): void {
    this.#servers.add(server);
  }

  move(server: Server, state: ServerState): void {
    assert(server.state !== state, `a server moves to another state than ${state}`);
    assert(!server.closed, "a closed server stays closed");
    if (server.state === "idle") this.#leaveIdle(server);
    if (this.#deadlines.size > 0) this.#deadlines.delete(server);
    server.state = state;
    if (state === "idle") {
      assert(server.clean && server.owner === undefined, "an idle server is clean and nobody's");
      this.#idle.push(server);
    } else if (state === "closed") {
      this.#servers.delete(server);
      this.#onGone();
    }
  }

  #leaveIdle(server: Server): void {
    // Mostly the one that was used last is used again.
    if (this.#idle.at(-1) === server) {
      this.#idle.pop();
      return;
    }
    const index = this.#idle.lastIndexOf(server);
    assert(index >= 0, "an idle server is among the idle ones");
    this.#idle.splice(index, 1);
  }

  /** Ends all of them at once: their owners are told. */
  destroyAll(failure: Failure): void {
    for (const server of [...this.#servers]) server.destroy(failure);
  }

  /** As {@link move}, for a query of the pool's own that has to be answered by then. */
  moveUntil(server: Server, state: "resetting" | "checking", deadlineMs: number): void {
    this.move(server, state);
    this.#deadlines.set(server, deadlineMs);
  }

  /** The query of the pool's own is answered. */
  ownQueryDone(server: Server): void {
    this.#deadlines.delete(server);
  }

  /** Those that have not answered in time. */
  late(nowMs: number): Server[] {
    return [...this.#deadlines].filter(([, deadlineMs]) => nowMs >= deadlineMs).map(([server]) => server);
  }
}
