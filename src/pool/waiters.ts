/**
 * Clients that wait for a server of one pool, served in the order in which they came; before them, for a moment, those
 * that wait for this server and no other. The pooler itself may wait among them (auto/classification.ts): it is served as
 * they are, but nobody counts it as a client.
 */
import { Deque } from "../base/deque.ts";
import type { Failure } from "../base/errors.ts";
import { noPrimary, queryWaitTimeout, tooManyWaiting } from "./failures.ts";
import type { Server } from "./server.ts";
import type { PoolSettings } from "./settings.ts";

/** A client that wants a server, or the pooler itself. */
export interface Waiter {
  /** How many clients wait in this one place; undefined: one. None where the pooler itself wants a server. */
  readonly clientsCount?: number;
  /** How long this one waits, instead of the pool's `query_wait_timeout`; 0: for ever. */
  readonly queryWaitTimeoutMs?: number | undefined;
  /** The server is the waiter's now; it has set nothing on it yet. */
  onLeased(server: Server): void;
  /** No server can be had. Called at most once, never after `onLeased`. */
  onLeaseFailed(error: Failure): void;
  /** It has waited for `query_wait_notify`. */
  onLongWait(): void;
}

/** So long a client waits for one server while others may be idle. */
const boundMsMax = 1000;

/** In milliseconds; 0: never. */
export type WaitLimits = Pick<PoolSettings, "queryWaitTimeoutMs" | "queryWaitNotifyMs" | "failoverTimeoutMs">;

interface Waiting {
  readonly waiter: Waiter;
  sinceMs: number;
  notified: boolean;
}

/** A client that waits for one server. */
interface Bound {
  readonly waiter: Waiter;
  readonly server: Server;
  readonly untilMs: number;
}

/** The queue, for those who only look. */
export type WaitView = Pick<WaitQueue, "size" | "firstSinceMs" | "clientsCount" | "firstClientSinceMs">;

export class WaitQueue {
  readonly #waiting = new Deque<Waiting>();
  #bound: Bound[] = [];

  /** Those whom any server would help. */
  get length(): number {
    return this.#waiting.length;
  }

  /** All who wait. */
  get size(): number {
    return this.#waiting.length + this.#bound.length;
  }

  /** Since when the first one waits; undefined if nobody waits. */
  get firstSinceMs(): number | undefined {
    return this.#waiting.peekFirst()?.sinceMs;
  }

  /** Clients among all who wait. */
  get clientsCount(): number {
    let count = 0;
    for (const { waiter } of this.#bound) count += waiter.clientsCount ?? 1;
    for (const { waiter } of this.#waiting) count += waiter.clientsCount ?? 1;
    return count;
  }

  /** Since when the first client waits whom any server would help; undefined if none does. */
  get firstClientSinceMs(): number | undefined {
    for (const { waiter, sinceMs } of this.#waiting) if (waiter.clientsCount !== 0) return sinceMs;
    return undefined;
  }

  /**
   * Returns whether the waiter has a place: a client is told if there are `waitingMax` (0: any number) for whom no server
   * is `coming`.
   */
  push(waiter: Waiter, nowMs: number, waitingMax = 0, coming = 0): boolean {
    if (waitingMax > 0 && waiter.clientsCount !== 0 && this.#holds(waitingMax + coming)) {
      waiter.onLeaseFailed(tooManyWaiting());
      return false;
    }
    this.#waiting.push({ waiter, sinceMs: nowMs, notified: false });
    return true;
  }

  /** Whether so many places are taken, those of the pooler itself left out. */
  #holds(places: number): boolean {
    if (this.#waiting.length < places) return false;
    let own = 0;
    for (const { waiter } of this.#waiting) if (waiter.clientsCount === 0) own++;
    return this.#waiting.length - own >= places;
  }

  /** Waits for `server` alone, for a moment. */
  bind(waiter: Waiter, server: Server, nowMs: number): void {
    this.#bound.push({ waiter, server, untilMs: nowMs + boundMsMax });
  }

  isAwaited(server: Server): boolean {
    return this.#bound.length > 0 && this.#bound.some((bound) => bound.server === server);
  }

  /** Who has waited for one server in vain waits for any: `lease` is asked again. */
  unbind(nowMs: number, lease: (waiter: Waiter) => Server | undefined): void {
    if (this.#bound.length === 0) return;
    const inVain = (bound: Bound): boolean => bound.server.closed || nowMs >= bound.untilMs;
    const freed = this.#bound.filter(inVain);
    this.#bound = this.#bound.filter((bound) => !inVain(bound));
    for (const { waiter } of freed) {
      const server = lease(waiter);
      if (server !== undefined) waiter.onLeased(server);
    }
  }

  /** Who gets `server`: whoever waits for it, else whoever has waited longest. */
  shift(server: Server): Waiter | undefined {
    if (this.#bound.length > 0) {
      const index = this.#bound.findIndex((bound) => bound.server === server);
      if (index >= 0) return this.#bound.splice(index, 1)[0]?.waiter;
    }
    return this.#waiting.shift()?.waiter;
  }

  remove(waiter: Waiter): void {
    if (this.#bound.length > 0) this.#bound = this.#bound.filter((bound) => bound.waiter !== waiter);
    for (const waiting of this.#waiting) {
      if (waiting.waiter !== waiter) continue;
      this.#waiting.remove(waiting);
      return;
    }
  }

  failAll(failure: Failure): void {
    const waiting = [...this.#bound, ...this.#waiting];
    this.#bound = [];
    this.#waiting.clear();
    for (const { waiter } of waiting) waiter.onLeaseFailed(failure);
  }

  /** From now on everybody has waited for no time at all. */
  restart(nowMs: number): void {
    for (const waiting of this.#waiting) waiting.sinceMs = nowMs;
  }

  /**
   * Fails those who have waited for too long, tells those who have waited for `query_wait_notify`; 0: never. `failing`: no
   * server can be had, which in a pool that follows the primary means another limit, whatever they have of their own.
   */
  tick(nowMs: number, limits: WaitLimits, failing: boolean): void {
    const { queryWaitTimeoutMs: timeoutMs, queryWaitNotifyMs: notifyMs, failoverTimeoutMs } = limits;
    const failover = failing ? failoverTimeoutMs : undefined;
    for (const waiting of [...this.#waiting]) {
      const limitMs = failover ?? waiting.waiter.queryWaitTimeoutMs ?? timeoutMs;
      if (limitMs === 0 || nowMs - waiting.sinceMs < limitMs) continue;
      this.#waiting.remove(waiting);
      waiting.waiter.onLeaseFailed(failover === undefined ? queryWaitTimeout() : noPrimary());
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
