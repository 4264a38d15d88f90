import { assert } from "./assert.ts";

/**
 * A double-ended queue in a ring whose size is a power of two: constant-time at both ends, no allocation
 * while it does not grow.
 *
 *     [ . . a b c . . . ]     head = index of a, length = 3
 */
export class Deque<T> {
  #ring: (T | undefined)[] = Array.from({ length: 8 });
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  peekFirst(): T | undefined {
    return this.#length === 0 ? undefined : this.#ring[this.#head];
  }

  peekLast(): T | undefined {
    return this.#length === 0
      ? undefined
      : this.#ring[(this.#head + this.#length - 1) & (this.#ring.length - 1)];
  }

  /** The element `index` places behind the first. */
  at(index: number): T | undefined {
    if (index < 0 || index >= this.#length) return undefined;
    return this.#ring[(this.#head + index) & (this.#ring.length - 1)];
  }

  push(value: T): void {
    if (this.#length === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#length) & (this.#ring.length - 1)] = value;
    this.#length++;
  }

  unshift(value: T): void {
    if (this.#length === this.#ring.length) this.#grow();
    this.#head = (this.#head - 1) & (this.#ring.length - 1);
    this.#ring[this.#head] = value;
    this.#length++;
  }

  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const value = this.#ring[this.#head];
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#length--;
    return value;
  }

  pop(): T | undefined {
    if (this.#length === 0) return undefined;
    const index = (this.#head + this.#length - 1) & (this.#ring.length - 1);
    const value = this.#ring[index];
    this.#ring[index] = undefined;
    this.#length--;
    return value;
  }

  /** Takes out the first occurrence of `value`; linear. Returns whether it was there. */
  remove(value: T): boolean {
    const mask = this.#ring.length - 1;
    for (let i = 0; i < this.#length; i++) {
      if (this.#ring[(this.#head + i) & mask] !== value) continue;
      for (let j = i; j < this.#length - 1; j++) {
        this.#ring[(this.#head + j) & mask] = this.#ring[(this.#head + j + 1) & mask];
      }
      this.pop();
      return true;
    }
    return false;
  }

  clear(): void {
    this.#ring = Array.from({ length: 8 });
    this.#head = 0;
    this.#length = 0;
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (let i = 0; i < this.#length; i++) yield this.at(i) as T;
  }

  #grow(): void {
    assert(this.#length === this.#ring.length, "a deque grows only when it is full");
    const next: (T | undefined)[] = Array.from({ length: this.#ring.length * 2 });
    for (let i = 0; i < this.#length; i++) next[i] = this.at(i);
    this.#ring = next;
    this.#head = 0;
  }
}
