/** Clients that wait for a server of one pool, served in the order in which they came. */
import { Deque } from "../base/deque.ts";
import type { Failure } from "../base/errors.ts";
import { queryWaitTimeout, tooManyWaiting } from "./failures.ts";
import type { Server } from "./server.ts";

/** A client that wants a server. */
export interface Waiter {
  /** How long this one waits, instead of the pool's `query_wait_timeout`; 0: for ever. */
  readonly queryWaitTimeoutMs?: number | undefined;
  /** The server is the waiter's now; it has set nothing on it yet. */
  onLeased(server: Server): void;
  /** No server can be had. Called at most once, never after `onLeased`. */
  onLeaseFailed(error: Failure): void;
  /** It has waited for `query_wait_notify`. */
  onLongWait(): void;
}

interface Waiting {
  readonly waiter: Waiter;
  readonly sinceMs: number;
  notified: boolean;
}

export class WaitQueue {
  readonly #waiting = new Deque<Waiting>();

  get length(): number {
    return this.#waiting.length;
  }

  /** Since when the first one waits; undefined if nobody waits. */
  get firstSinceMs(): number | undefined {
    return this.#waiting.peekFirst()?.sinceMs;
  }

  /** Returns whether the waiter has a place: it is told if the queue is as long as it may be. */
  push(waiter: Waiter, nowMs: number, lengthMax: number = Number.POSITIVE_INFINITY): boolean {
    if (this.#waiting.length >= lengthMax) {
      waiter.onLeaseFailed(tooManyWaiting());
      return false;
    }
    this.#waiting.push({ waiter, sinceMs: nowMs, notified: false });
    return true;
  }

  /** Whoever has waited longest. */
  shift(): Waiter | undefined {
    return this.#waiting.shift()?.waiter;
  }

  remove(waiter: Waiter): void {
    for (const waiting of this.#waiting) {
      if (waiting.waiter !== waiter) continue;
      this.#waiting.remove(waiting);
      return;
    }
  }

  failAll(failure: Failure): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const { waiter } of waiting) waiter.onLeaseFailed(failure);
  }

  /** Fails those who have waited for `timeoutMs`, tells those who have waited for `notifyMs`; 0: never. */
  tick(nowMs: number, timeoutMs: number, notifyMs: number): void {
    for (const waiting of [...this.#waiting]) {
      const ownMs = waiting.waiter.queryWaitTimeoutMs ?? timeoutMs;
      if (ownMs === 0 || nowMs - waiting.sinceMs < ownMs) continue;
      this.#waiting.remove(waiting);
      waiting.waiter.onLeaseFailed(queryWaitTimeout());
    }
    if (notifyMs === 0) return;
    for (const waiting of this.#waiting) {
      if (nowMs - waiting.sinceMs < notifyMs) break;
      if (waiting.notified) continue;
      waiting.notified = true;
      waiting.waiter.onLongWait();
    }
  }
}
