/**
 * Statements of one client that count as uses of a sequence only because nothing was known of the database when they
 * ran: until its catalogs are read, any of them may be. Their texts are kept, and looked at again when the catalogs are there.
 */

/** What is known of a database by now. */
export interface Informed {
  readonly catalogsKnown: boolean;
  usesSequence(text: Buffer): boolean;
}

/** More, or longer ones, are not kept: they are uses then. */
const textsMax = 16;
const textBytesMax = 4096;

export class Doubts {
  readonly #database: Informed;
  #texts: Buffer[] = [];
  /** There was a use without any doubt. */
  certain = false;

  constructor(database: Informed) {
    this.#database = database;
  }

  /** A statement that counts as a use is on its way. `text`: it may turn out to be none. */
  add(text: Buffer | undefined): void {
    const { catalogsKnown } = this.#database;
    if (
      catalogsKnown ||
      text === undefined ||
      text.length > textBytesMax ||
      this.#texts.length === textsMax
    ) {
      this.certain = true;
    } else if (!this.certain) this.#texts.push(Buffer.from(text));
  }

  /** Whether all uses have turned out to be none. What is certain now is not asked again. */
  dispel(): boolean {
    if (this.#texts.length === 0 || !this.#database.catalogsKnown) return false;
    this.certain ||= this.#texts.some((text) => this.#database.usesSequence(text));
    this.#texts = [];
    return !this.certain;
  }

  /** What was done until now is of no interest any more. */
  forget(): void {
    this.#texts = [];
    this.certain = false;
  }
}
