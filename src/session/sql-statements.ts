/**
 * What a client has prepared in SQL, as the ledger has found it: each PREPARE word for word, by which it is made on the
 * next server that has to have it.
 */
import { encodeQuery } from "../wire/encode-frontend.ts";
import type { FoundStatements } from "./auto/ledger.ts";

/** Texts beyond this, all together, are not kept: the client keeps its server instead. */
const textsLengthMax = 64 * 1024;

/** Nothing in it depends on an encoding, or on how backslashes are read. */
const plainText = /^[\t-\r -[\]-~]*$/;

export class SqlStatements {
  /** Query messages by the names of what they make (latin1, byte for byte); undefined: it cannot be made again. */
  readonly #queries = new Map<string, Buffer | undefined>();
  #textsLength = 0;

  get names(): Iterable<string> {
    return this.#queries.keys();
  }

  get size(): number {
    return this.#queries.size;
  }

  has(name: string): boolean {
    return this.#queries.has(name);
  }

  /** Whether all of them can be made on another server. */
  get portable(): boolean {
    for (const query of this.#queries.values()) if (query === undefined) return false;
    return true;
  }

  /** Query messages that make them, as far as that can be done, by the names. */
  *queries(): Iterable<readonly [string, Buffer]> {
    for (const [name, query] of this.#queries) if (query !== undefined) yield [name, query];
  }

  /** What the ledger has found that was not known. `preparesOne`: whether a text is one PREPARE and nothing else. */
  addFound(found: FoundStatements, preparesOne: (text: string) => boolean): void {
    for (const [name, text] of found) {
      if (text !== undefined && !this.has(name)) this.#add(name, text, preparesOne);
    }
  }

  /** Of these names, only what the ledger has found is there. */
  forgetUnless(found: FoundStatements, names: Iterable<string>): void {
    for (const name of names) if (!found.has(name)) this.#forget(name);
  }

  forget(which: (name: string) => boolean): void {
    for (const name of this.names) if (which(name)) this.#forget(name);
  }

  #forget(name: string): void {
    this.#textsLength -= this.#queries.get(name)?.length ?? 0;
    this.#queries.delete(name);
  }

  #add(name: string, text: string, preparesOne: (text: string) => boolean): void {
    const portable = plainText.test(text) && preparesOne(text);
    const query = portable ? encodeQuery(text) : undefined;
    const kept = query !== undefined && this.#textsLength + query.length <= textsLengthMax;
    if (kept) this.#textsLength += query.length;
    this.#queries.set(name, kept ? query : undefined);
  }
}
