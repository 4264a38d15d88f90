/**
 * Items of a text with separators, as in arrays and ranges: bare, in double quotes, or with backslashes before
 * characters that would mean something. An item is left where it lies unless there is something to take out.
 */
const quote = 0x22;
const backslash = 0x5c;

export class ItemReader {
  /** The text as it came. */
  readonly source: Buffer;
  at: number;
  readonly end: number;
  /** The item that was read last: `buffer[itemStart, itemEnd)`. */
  buffer: Buffer;
  itemStart = 0;
  itemEnd = 0;
  /** Some of it was quoted or escaped: it is no keyword, and not absent though it may be empty. */
  quoted = false;

  constructor(buffer: Buffer, start: number, end: number) {
    this.source = buffer;
    this.buffer = buffer;
    this.at = start;
    this.end = end;
  }

  /** The byte that comes next; undefined at the end. */
  get next(): number | undefined {
    return this.at < this.end ? this.source[this.at] : undefined;
  }

  /** Goes behind the byte that comes next if it is this one. */
  skip(byte: number): boolean {
    if (this.next !== byte) return false;
    this.at += 1;
    return true;
  }

  /** Reads an item up to the first of these bytes that is not part of it. False if none of them comes. */
  read(stop1: number, stop2: number, stop3: number): boolean {
    const { source, end } = this;
    let at = this.at;
    const first = at < end ? source[at] : undefined;
    if (first === quote) {
      at += 1;
      while (at < end && source[at] !== quote && source[at] !== backslash) at++;
      const after = at + 1 < end ? source[at + 1] : undefined;
      if (source[at] === quote && (after === stop1 || after === stop2 || after === stop3)) {
        this.#found(source, this.at + 1, at, true);
        this.at = at + 1;
        return after !== undefined;
      }
      return this.#readEscaped(stop1, stop2, stop3);
    }
    for (; at < end; at++) {
      const byte = source[at];
      if (byte === stop1 || byte === stop2 || byte === stop3) {
        this.#found(source, this.at, at, false);
        this.at = at;
        return true;
      }
      if (byte === quote || byte === backslash) return this.#readEscaped(stop1, stop2, stop3);
    }
    return false;
  }

  #found(buffer: Buffer, start: number, end: number, quoted: boolean): void {
    this.buffer = buffer;
    this.itemStart = start;
    this.itemEnd = end;
    this.quoted = quoted;
  }

  /** The general case, into a buffer of its own. Two quotes within quotes are one, as ranges write it. */
  #readEscaped(stop1: number, stop2: number, stop3: number): boolean {
    const { source, end } = this;
    const item = Buffer.allocUnsafe(end - this.at);
    let length = 0;
    let within = false;
    for (let at = this.at; at < end; at++) {
      const byte = source[at] as number;
      if (byte === backslash) {
        at += 1;
        if (at === end) return false;
        item[length++] = source[at] as number;
      } else if (byte === quote) {
        if (within && at + 1 < end && source[at + 1] === quote) {
          item[length++] = quote;
          at += 1;
        } else within = !within;
      } else if (!within && (byte === stop1 || byte === stop2 || byte === stop3)) {
        this.#found(item, 0, length, true);
        this.at = at;
        return true;
      } else item[length++] = byte;
    }
    return false;
  }
}
