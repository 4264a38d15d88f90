/**
 * A map from whole numbers, for what comes and goes all the time. It leaves nothing behind for the collector, where a Map's former tables keep
 * what was in them (roster.ts): one table, in which a number stands at its hash or in the next free place behind it.
 */
import { assert } from "./assert.ts";

const placesMin = 16;
/** A multiplier whose products spread over all bits (Knuth: 2^32 by the golden ratio). */
const spread = 0x9e3779b1;

export class NumberMap<V> {
  #keys: number[] = Array.from({ length: placesMin }, () => 0);
  /** Undefined: the place is free. */
  #values: (V | undefined)[] = Array.from({ length: placesMin }, () => undefined);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: number): V | undefined {
    return this.#values[this.#find(key)];
  }

  /** `value`: anything but undefined. */
  set(key: number, value: V): void {
    assert(value !== undefined, "what is kept is something");
    let place = this.#find(key);
    if (this.#values[place] === undefined) {
      // Half of the places at most are taken, so that free ones are near.
      if (2 * (this.#size + 1) > this.#keys.length) {
        this.#grow();
        place = this.#find(key);
      }
      this.#size++;
    }
    this.#keys[place] = key;
    this.#values[place] = value;
  }

  /** Returns whether it was there. */
  delete(key: number): boolean {
    let free = this.#find(key);
    if (this.#values[free] === undefined) return false;
    const mask = this.#keys.length - 1;
    // Those behind that would not be found across the free place move into it.
    for (let place = (free + 1) & mask; this.#values[place] !== undefined; place = (place + 1) & mask) {
      const home = this.#home(this.#keys[place] as number);
      if (((place - home) & mask) < ((place - free) & mask)) continue;
      this.#keys[free] = this.#keys[place] as number;
      this.#values[free] = this.#values[place];
      free = place;
    }
    this.#values[free] = undefined;
    this.#size--;
    return true;
  }

  /** Where the number is, or would be. */
  #find(key: number): number {
    const mask = this.#keys.length - 1;
    let place = this.#home(key);
    while (this.#values[place] !== undefined && this.#keys[place] !== key) place = (place + 1) & mask;
    return place;
  }

  #home(key: number): number {
    const hash = Math.imul(key, spread);
    return (hash ^ (hash >>> 15)) & (this.#keys.length - 1);
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#keys = Array.from({ length: 2 * keys.length }, () => 0);
    this.#values = Array.from({ length: 2 * keys.length }, () => undefined);
    for (const [place, value] of values.entries()) {
      if (value === undefined) continue;
      const to = this.#find(keys[place] as number);
      this.#keys[to] = keys[place] as number;
      this.#values[to] = value;
    }
  }
}
