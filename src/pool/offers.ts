/** Servers that are about to be handed on. */
import type { Server } from "./server.ts";

export class Offers {
  readonly #servers: Server[] = [];
  readonly #handOn: (server: Server) => void;
  #busy = false;

  constructor(handOn: (server: Server) => void) {
    this.#handOn = handOn;
  }

  get size(): number {
    return this.#servers.length;
  }

  /** One after the other: a client may give back at once what it got, and a thousand may do so in a row. */
  add(server: Server): void {
    this.#servers.push(server);
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let next = this.#servers.shift(); next !== undefined; next = this.#servers.shift()) {
        if (!next.closed) this.#handOn(next);
      }
    } finally {
      this.#busy = false;
    }
  }
}
