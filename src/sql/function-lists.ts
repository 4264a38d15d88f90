/** What an administrator says of functions: which only read, and which never may on a standby. Never changed. */

/** Names that were looked up are remembered, up to so many. */
const rememberedMax = 4096;

export type ListedAs = "reads" | "writes" | undefined;

export class FunctionLists {
  readonly #reads: readonly RegExp[];
  readonly #writes: readonly RegExp[];
  readonly #remembered = new Map<string, ListedAs>();

  /** Patterns for whole names, with or without a schema. */
  constructor(reads: readonly RegExp[], writes: readonly RegExp[]) {
    this.#reads = reads;
    this.#writes = writes;
  }

  get empty(): boolean {
    return this.#reads.length + this.#writes.length === 0;
  }

  of(schema: string | undefined, name: string): ListedAs {
    const whole = schema === undefined ? name : `${schema}.${name}`;
    const known = this.#remembered.get(whole);
    if (known !== undefined || this.#remembered.has(whole)) return known;
    const fits = (pattern: RegExp): boolean => pattern.test(name) || pattern.test(whole);
    const listed = this.#writes.some(fits) ? "writes" : this.#reads.some(fits) ? "reads" : undefined;
    if (this.#remembered.size < rememberedMax) this.#remembered.set(whole, listed);
    return listed;
  }
}
