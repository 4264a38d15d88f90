/**
 * A map from texts, or numbers, to values within a bound of bytes, that forgets what was not asked for lately.
 *
 * Two generations instead of a list: what is asked for lives in the young one; when that holds half of the
 * bound, it becomes the old one and the former old one is dropped. A hit in the young generation, which is what nearly
 * every look-up is, costs one look-up in a Map and changes nothing.
 */
export class GenerationCache<K extends string | number, V> {
  #young = new Map<K, V>();
  #old = new Map<K, V>();
  #youngBytes = 0;
  #oldBytes = 0;
  readonly #generationBytesMax: number;

  constructor(bytesMax: number) {
    this.#generationBytesMax = bytesMax / 2;
  }

  get entries(): number {
    return this.#young.size + this.#old.size;
  }

  get bytes(): number {
    return this.#youngBytes + this.#oldBytes;
  }

  get(key: K, sizeOf: (value: V) => number): V | undefined {
    const value = this.#young.get(key);
    if (value !== undefined) return value;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.#oldBytes -= entryBytes(key, sizeOf(old));
    this.set(key, old, sizeOf(old));
    return old;
  }

  set(key: K, value: V, valueBytes: number): void {
    const bytes = entryBytes(key, valueBytes);
    if (bytes > this.#generationBytesMax) return;
    if (this.#youngBytes + bytes > this.#generationBytesMax) {
      this.#old = this.#young;
      this.#oldBytes = this.#youngBytes;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    this.#young.set(key, value);
    this.#youngBytes += bytes;
  }

  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
    this.#youngBytes = 0;
    this.#oldBytes = 0;
  }
}

/** A string's header, a Map's slot with its share of the table. */
const entryOverheadBytes = 80;

function entryBytes(key: string | number, valueBytes: number): number {
  return (typeof key === "string" ? key.length : 0) + entryOverheadBytes + valueBytes;
}
