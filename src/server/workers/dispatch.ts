/**
 * Who gets the next connection: the worker that has the fewest, of those that answer. Connections live long, so what counts is how many a worker has, not whose turn it is. A
 * connection that a worker has not confirmed when it dies goes to another one; while there is none that could take it, it waits.
 */

import { assert } from "../../base/assert.ts";
import { Deque } from "../../base/deque.ts";
import { isAcceptedDescriptor } from "../../base/descriptors.ts";
import type { Logger } from "../../base/log.ts";
import { takeHandle } from "../../base/node-sockets.ts";
import type { AcceptedSocket } from "../../base/transport.ts";
import type { Member } from "./member.ts";

/** Connections that may wait for a worker; there is none only for moments. */
const waitingMax = 10_000;

interface Connection {
  readonly handle: { close(): void };
  readonly local: boolean;
}

export class Dispatch {
  readonly #members: () => Iterable<Member>;
  readonly #logger: Logger;
  readonly #waiting = new Deque<Connection>();
  #closed = false;

  constructor(members: () => Iterable<Member>, logger: Logger) {
    this.#members = members;
    this.#logger = logger;
  }

  add(socket: AcceptedSocket, local: boolean): void {
    assert(!isAcceptedDescriptor(socket), "what is passed on to another process is a handle");
    const handle = takeHandle(socket);
    if (handle !== undefined) this.#assign({ handle, local });
  }

  /** A worker is there that was not. */
  goOn(): void {
    for (let waiting = this.#waiting.length; waiting > 0; waiting--) {
      const connection = this.#waiting.shift();
      if (connection !== undefined) this.#assign(connection);
    }
  }

  /** Nobody will take the connections that wait. */
  close(): void {
    this.#closed = true;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift())
      next.handle.close();
  }

  #assign(connection: Connection): void {
    const member = this.#next();
    if (member === undefined) {
      this.#wait(connection);
      return;
    }
    member.hand(connection.local, connection.handle).then(
      () => connection.handle.close(),
      // The worker is gone, and has not confirmed it.
      () => this.#assign(connection),
    );
  }

  #wait(connection: Connection): void {
    if (!this.#closed && this.#waiting.length < waitingMax) {
      this.#waiting.push(connection);
      return;
    }
    if (!this.#closed)
      this.#logger.error({ reason: "no worker, and too many wait: closed unread" }, "accept failed");
    connection.handle.close();
  }

  #next(): Member | undefined {
    let next: Member | undefined;
    for (const member of this.#members()) {
      if (member.answers && (next === undefined || isBetter(member, next))) next = member;
    }
    return next;
  }
}

function isBetter(one: Member, other: Member): boolean {
  return one.slow === other.slow ? one.connections < other.connections : other.slow;
}
