/**
 * Answers to questions that take time: kept for a while, and asked once however many wait for them. Bounded in
 * number, by least recent use, and in age. What was asked before everything was forgotten is not kept any more:
 * it may be an answer of yesterday's configuration.
 */
import { LruMap } from "../base/lru.ts";

export interface LookupLimits {
  /** How many answers are kept. */
  entriesMax(): number;
  /** How old an answer may be; 0: it only serves those who wait for it. */
  ageMaxMs(): number;
  now(): number;
}

interface Kept<V> {
  readonly value: V;
  readonly sinceMs: number;
}

export class SharedLookups<V> {
  readonly #limits: LookupLimits;
  #kept: LruMap<string, Kept<V>>;
  #underWay = new Map<string, Promise<V>>();

  constructor(limits: LookupLimits) {
    this.#limits = limits;
    this.#kept = new LruMap(limits.entriesMax());
  }

  get size(): number {
    return this.#kept.size;
  }

  /** The answer that is known, or that of `ask`. A failure serves only those who wait for it. */
  get(key: string, ask: () => Promise<V>): V | Promise<V> {
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      if (this.#limits.now() - kept.sinceMs < this.#limits.ageMaxMs()) return kept.value;
      this.#kept.delete(key);
    }
    return this.#underWay.get(key) ?? this.#ask(key, ask);
  }

  forget(key: string): void {
    this.#kept.delete(key);
  }

  clear(): void {
    this.#kept = new LruMap(this.#limits.entriesMax());
    this.#underWay = new Map();
  }

  #ask(key: string, ask: () => Promise<V>): Promise<V> {
    const underWay = this.#underWay;
    const asked = ask().then(
      (value) => {
        underWay.delete(key);
        const current = underWay === this.#underWay;
        if (current && this.#limits.ageMaxMs() > 0) {
          this.#kept.set(key, { value, sinceMs: this.#limits.now() });
        }
        return value;
      },
      (error: unknown) => {
        underWay.delete(key);
        throw error;
      },
    );
    underWay.set(key, asked);
    return asked;
  }
}
