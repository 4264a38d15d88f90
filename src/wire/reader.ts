/**
 * Reads the fields of one message. Every read is checked against the end of the message, never of the buffer
 * that holds it, and whatever does not add up is the peer's mistake: PeerError, 08P01, in PostgreSQL's words
 * (src/backend/libpq/pqformat.c).
 */
import { type ErrorSource, type PeerError, protocolViolation } from "../base/errors.ts";
import { headerBytes } from "./constants.ts";
import { decodeText } from "./text.ts";

export class Reader {
  readonly buffer: Buffer;
  readonly end: number;
  readonly #source: ErrorSource;
  #position: number;

  /** Reads `buffer[start, end)`; `source` is who sent it. */
  constructor(buffer: Buffer, start: number, end: number, source: ErrorSource) {
    this.buffer = buffer;
    this.end = end;
    this.#position = start;
    this.#source = source;
  }

  /** A reader behind the header of a whole message. Its length word must say what the span says. */
  static ofMessage(buffer: Buffer, start: number, end: number, source: ErrorSource): Reader {
    const reader = new Reader(buffer, start, end, source);
    if (end - start < headerBytes || buffer.readUInt32BE(start + 1) !== end - start - 1) {
      throw reader.malformed("invalid message length");
    }
    reader.#position = start + headerBytes;
    return reader;
  }

  get remaining(): number {
    return this.end - this.#position;
  }

  byte(): number {
    return this.buffer.readUInt8(this.#take(1));
  }

  int16(): number {
    return this.buffer.readInt16BE(this.#take(2));
  }

  uint16(): number {
    return this.buffer.readUInt16BE(this.#take(2));
  }

  int32(): number {
    return this.buffer.readInt32BE(this.#take(4));
  }

  uint32(): number {
    return this.buffer.readUInt32BE(this.#take(4));
  }

  /** The next byte, without passing over it. */
  peekByte(): number {
    const byte = this.byte();
    this.#position -= 1;
    return byte;
  }

  /** The next number, without passing over it. */
  peekInt32(): number {
    const value = this.int32();
    this.#position -= 4;
    return value;
  }

  /** A string that ends with a NUL inside the message. */
  text(): string {
    const start = this.#position;
    const terminator = this.buffer.indexOf(0, start);
    if (terminator < 0 || terminator >= this.end) throw this.malformed("invalid string in message");
    this.#position = terminator + 1;
    return decodeText(this.buffer, start, terminator);
  }

  /** A view of the next `length` bytes. */
  bytes(length: number): Buffer {
    const start = this.#take(length);
    return this.buffer.subarray(start, start + length);
  }

  /** A view of everything left. */
  rest(): Buffer {
    return this.bytes(this.remaining);
  }

  /** A value as Bind and DataRow carry it: its length, then its bytes; -1 is NULL. */
  value(): Buffer | null {
    const length = this.int32();
    return length === -1 ? null : this.bytes(length);
  }

  /** A 16-bit count and that many of what `read` reads. */
  list<Item>(read: (reader: Reader) => Item): Item[] {
    const count = this.uint16();
    const items: Item[] = [];
    for (let index = 0; index < count; index += 1) items.push(read(this));
    return items;
  }

  /** Nothing may be left. */
  finish(): void {
    if (this.remaining !== 0) throw this.malformed("invalid message format");
  }

  /** The error for a message that breaks its format; the caller throws it. */
  malformed(message: string): PeerError {
    return protocolViolation(message, { code: "peer.malformed_message", source: this.#source });
  }

  /** The error for a type that this side never sends; the caller throws it. */
  unknownType(message: string): PeerError {
    return protocolViolation(message, { code: "peer.unknown_message", source: this.#source });
  }

  #take(length: number): number {
    if (length < 0 || length > this.remaining) throw this.malformed("insufficient data left in message");
    const start = this.#position;
    this.#position += length;
    return start;
  }
}
