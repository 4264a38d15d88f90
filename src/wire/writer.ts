/** Builds one message: type, length filled in at the end, fields in between, in one growing buffer. */
import { assert } from "../base/assert.ts";
import { encodeText } from "./text.ts";

const bytesStart = 128;
const noType = -1;

export class Writer {
  readonly #lengthAt: number;
  #buffer: Buffer;
  #length: number;

  /** Begins a message of this type; without one it is an untyped packet of the startup phase. */
  constructor(type: number = noType, expectedBytes: number = bytesStart) {
    this.#buffer = Buffer.allocUnsafe(Math.max(expectedBytes, 16));
    this.#lengthAt = type === noType ? 0 : 1;
    if (type !== noType) this.#buffer[0] = type;
    this.#length = this.#lengthAt + 4;
  }

  byte(value: number): this {
    const at = this.#reserve(1);
    this.#length = this.#buffer.writeUInt8(value, at);
    return this;
  }

  /** Signed or unsigned 16 bits: formats and sizes may be negative, counts reach 65,535. */
  int16(value: number): this {
    assert(Number.isInteger(value) && value >= -0x8000 && value <= 0xffff, "a 16-bit number");
    const at = this.#reserve(2);
    this.#length = this.#buffer.writeUInt16BE(value & 0xffff, at);
    return this;
  }

  int32(value: number): this {
    assert(Number.isInteger(value) && value >= -0x8000_0000 && value <= 0x7fff_ffff, "a 32-bit number");
    const at = this.#reserve(4);
    this.#length = this.#buffer.writeInt32BE(value, at);
    return this;
  }

  /** An object identifier: unsigned 32 bits. */
  uint32(value: number): this {
    assert(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff, "an unsigned 32-bit number");
    const at = this.#reserve(4);
    this.#length = this.#buffer.writeUInt32BE(value, at);
    return this;
  }

  /** A string and its terminating NUL. Throws OperationError if it holds a NUL itself. */
  text(text: string): this {
    const bytes = encodeText(text);
    return this.bytes(bytes).byte(0);
  }

  bytes(bytes: Uint8Array): this {
    const at = this.#reserve(bytes.length);
    this.#buffer.set(bytes, at);
    this.#length = at + bytes.length;
    return this;
  }

  /** A value as Bind and DataRow carry it: its length, then its bytes; NULL is -1. */
  value(value: Uint8Array | null): this {
    return value === null ? this.int32(-1) : this.int32(value.length).bytes(value);
  }

  /** A 16-bit count and that many of what `write` writes. */
  list<Item>(items: readonly Item[], write: (writer: Writer, item: Item) => unknown): this {
    assert(items.length <= 0xffff, "a list of a message has at most 65,535 items");
    this.int16(items.length);
    for (const item of items) write(this, item);
    return this;
  }

  /** The whole message. The writer is not used afterwards. */
  finish(): Buffer {
    this.#buffer.writeUInt32BE(this.#length - this.#lengthAt, this.#lengthAt);
    return this.#buffer.subarray(0, this.#length);
  }

  /** Makes room and answers where; to be called before `#buffer` is used, which it may replace. */
  #reserve(bytes: number): number {
    const needed = this.#length + bytes;
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
      this.#buffer.copy(grown, 0, 0, this.#length);
      this.#buffer = grown;
    }
    return this.#length;
  }
}
