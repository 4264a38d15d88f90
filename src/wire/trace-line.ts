/** One line of a trace being printed: reads the next field of the message and writes it, field by field. */
import { Reader } from "./reader.ts";

const hexadecimal = (byte: number): string => `\\x${byte.toString(16).padStart(2, "0")}`;
const isPrintable = (byte: number): boolean => byte >= 0x20 && byte < 0x7f;

export class Line {
  readonly regress: boolean;
  /** Secrets are not to be shown. */
  readonly hidesSecrets: boolean;
  text = "";
  readonly #reader: Reader;
  readonly #start: number;

  /** Prints the fields in `buffer[start, end)`, which is the message behind its length word. */
  constructor(buffer: Buffer, start: number, end: number, regress: boolean, hidesSecrets: boolean) {
    this.#reader = new Reader(buffer, start, end, "internal");
    this.#start = start;
    this.regress = regress;
    this.hidesSecrets = hidesSecrets;
  }

  /** What libpq says when fields and length disagree; empty if they agree. Both count the length word. */
  get mismatch(): string {
    const { remaining, end } = this.#reader;
    const expected = end - this.#start + 4;
    return remaining === 0
      ? ""
      : `mismatched message length: consumed ${expected - remaining}, expected ${expected}\n`;
  }

  write(text: string): this {
    this.text += text;
    return this;
  }

  /** The name of a message that has fields. */
  name(name: string): this {
    return this.write(`${name}\t`);
  }

  /** Passes over everything left. */
  skip(): this {
    this.#reader.rest();
    return this;
  }

  /** A character, and its code as result. */
  byte(): number {
    const byte = this.#reader.byte();
    this.write(isPrintable(byte) ? ` ${String.fromCharCode(byte)}` : ` ${hexadecimal(byte)}`);
    return byte;
  }

  /** Unsigned, as libpq prints it: a type of variable size has 65535. */
  int16(): this {
    return this.write(` ${this.#reader.uint16()}`);
  }

  int32(masked: boolean): this {
    const value = this.#reader.int32();
    return this.write(masked ? " NNNN" : ` ${value}`);
  }

  string(masked: boolean): this {
    const text = this.#reader.text();
    return this.write(masked ? ' "SSSS"' : ` "${text}"`);
  }

  /** A length and that many bytes; -1 has none. */
  sized(masked: boolean): this {
    const length = this.peekInt32();
    this.int32(false);
    return length === -1 ? this : this.#bytes(length, masked);
  }

  /** All bytes left. */
  rest(masked: boolean): this {
    return this.#bytes(this.#reader.remaining, masked);
  }

  /** A cancel key: a number of four bytes, or the bytes of a longer one. */
  key(): this {
    const masked = this.regress || this.hidesSecrets;
    return this.#reader.remaining === 4 ? this.int32(masked) : this.rest(masked);
  }

  /** A 16-bit count and that many items. */
  counted(print: () => void): void {
    const count = this.#reader.uint16();
    this.write(` ${count}`);
    for (let index = 0; index < count; index += 1) print();
  }

  /** Reads without printing. */
  readInt32(): number {
    return this.#reader.int32();
  }

  peekInt32(): number {
    return this.#reader.peekInt32();
  }

  peekByte(): number {
    return this.#reader.peekByte();
  }

  #bytes(length: number, masked: boolean): this {
    const bytes = this.#reader.bytes(length);
    if (masked) return this.write(" 'BBBB'");
    let text = "";
    for (const byte of bytes) text += isPrintable(byte) ? String.fromCharCode(byte) : hexadecimal(byte);
    return this.write(` '${text}'`);
  }
}
