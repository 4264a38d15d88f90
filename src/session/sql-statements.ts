/**
 * What a client has prepared in SQL, as the ledger has found it: each PREPARE word for word, by which it is made on the
 * next server that has to have it.
 */
import { encodeQuery } from "../wire/encode-frontend.ts";

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

  has(name: string): boolean {
    return this.#queries.has(name);
  }

  /** Whether all of them can be made on another server. */
  get portable(): boolean {
    for (const query of this.#queries.values()) if (query === undefined) return false;
    return true;
  }

  /** Query messages that make them, as far as that can be done. */
  *queries(): Iterable<Buffer> {
    for (const query of this.#queries.values()) if (query !== undefined) yield query;
  }

  /** `preparesOne`: whether a text is one PREPARE and nothing else. */
  add(name: string, text: string, preparesOne: (text: string) => boolean): void {
    const portable = plainText.test(text) && preparesOne(text);
    const kept = portable && this.#textsLength + text.length <= textsLengthMax;
    if (kept) this.#textsLength += text.length;
    this.#queries.set(name, kept ? encodeQuery(text) : undefined);
  }
}
