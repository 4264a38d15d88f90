/**
 * Lets others have the processor first, before the loop asks what has come.
 *
 * Where clients, servers and the pooler share processors, the kernel lets a process that is woken run before the one that is
 * at work there. So the pooler would be woken by the first message, handle it with cold caches, wait, and be woken again by
 * whoever it pushed aside. A process that lets the others run first (sched_yield(2)) finds what all of them have sent: turns are
 * larger, wakings fewer, and more reads meet in a pipeline.
 *
 * Where nobody else wants this processor the call returns at once. Where somebody computes for long, it returns after a slice of the
 * scheduler's time (some milliseconds), which must not happen for each turn: after such a one the loop does without for many
 * times as long, so that no more than a small part of the time is lost.
 */

/** Turns in which less has come have no company to wait for: a single client should not. */
const eventsMin = 2;
/** So long statements of others do not take; somebody computes. */
const longMs = 1;
/** One part of so many of the time may pass in long waits. */
const restFactor = 64;

export class GivingWay {
  readonly #giveWay: () => void;
  readonly #now: () => number;
  #restsUntil = 0;

  /** `giveWay`: sched_yield. `now`: milliseconds. */
  constructor(giveWay: () => void, now: () => number) {
    this.#giveWay = giveWay;
    this.#now = now;
  }

  /** `handled`: what came in the turn before. */
  beforeWaiting(handled: number): void {
    if (handled < eventsMin) return;
    const begun = this.#now();
    if (begun < this.#restsUntil) return;
    this.#giveWay();
    const tookMs = this.#now() - begun;
    if (tookMs >= longMs) this.#restsUntil = begun + tookMs * restFactor;
  }
}
