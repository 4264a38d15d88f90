import { assert } from "./assert.ts";

/**
 * Time as a thing that is handed in. Only drivers hold a clock; sans-IO code receives `now` as a number of
 * milliseconds on a monotonic scale without a meaningful zero.
 */
export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Milliseconds since the Unix epoch, for what people read. */
  wall(): number;
}

/** The global of this name is a getter. */
const timer = performance;

export const systemClock: Clock = {
  now: () => timer.now(),
  wall: () => Date.now(),
};

/** A clock that stands still until it is told to move: for tests and simulations. */
export class VirtualClock implements Clock {
  #nowMs = 0;

  now(): number {
    return this.#nowMs;
  }

  wall(): number {
    return this.#nowMs;
  }

  advance(milliseconds: number): void {
    assert(milliseconds >= 0, "time does not run back");
    this.#nowMs += milliseconds;
  }
}
