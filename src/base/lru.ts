import { assert } from "./assert.ts";

/**
 * A map that keeps at most `entriesMax` entries and drops the least recently used one. Rests on the
 * insertion order of Map: a hit is taken out and put in again.
 */
export class LruMap<K, V> {
  readonly #entries = new Map<K, V>();
  readonly #entriesMax: number;
  /** The one that was used last needs no renewal; of a Map that is called for it the old tables stay for long (roster.ts). */
  #newest: K | undefined;

  constructor(entriesMax: number) {
    assert(entriesMax >= 1, "an LruMap holds at least one entry");
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Looks `key` up and marks it as used now. */
  get(key: K): V | undefined {
    const value = this.#entries.get(key);
    if (value === undefined || key === this.#newest) return value;
    this.#newest = key;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  /** Looks `key` up and leaves its age alone. */
  peek(key: K): V | undefined {
    return this.#entries.get(key);
  }

  has(key: K): boolean {
    return this.#entries.has(key);
  }

  /** Stores `value`; returns the entry that had to leave for it, if one had. */
  set(key: K, value: V): [K, V] | undefined {
    this.#newest = key;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#entriesMax) return undefined;
    const oldest = this.#entries.entries().next().value;
    assert(oldest !== undefined, "an overfull LruMap has an oldest entry");
    this.#entries.delete(oldest[0]);
    return oldest;
  }

  delete(key: K): boolean {
    if (key === this.#newest) this.#newest = undefined;
    return this.#entries.delete(key);
  }

  clear(): void {
    this.#newest = undefined;
    this.#entries.clear();
  }

  keys(): IterableIterator<K> {
    return this.#entries.keys();
  }
}
