/** `bytea`: bytes as they are in binary format; as text in hex, or in the older form with escapes (docs 8.4). */
import type { TypeCodec } from "./codec.ts";
import { malformedValue, refuse } from "./failures.ts";
import { latin1, text } from "./spans.ts";
import { bytesOf } from "./untyped.ts";

const backslash = 0x5c;
const letterX = 0x78;

/** A Buffer of its own, that stays valid. */
export const bytea: TypeCodec<Buffer> = {
  name: "bytea",
  oid: 17,
  arrayOid: 1001,
  decodeText(buffer, start, end) {
    if (end - start >= 2 && buffer[start] === backslash && buffer[start + 1] === letterX) {
      return fromHex(buffer, start + 2, end);
    }
    return fromEscapes(buffer, start, end);
  },
  decodeBinary: (buffer, start, end) => Buffer.from(buffer.subarray(start, end)),
  encode(value) {
    const bytes = bytesOf(value);
    if (bytes !== undefined) return bytes;
    if (typeof value === "string") return value;
    throw refuse("bytea", value);
  },
};

/** The hex notation as a string, `\x` included. */
export const byteaAsHex: TypeCodec<string> = {
  ...bytea,
  decodeText(buffer, start, end) {
    if (end - start >= 2 && buffer[start] === backslash && buffer[start + 1] === letterX) {
      return text(buffer, start, end);
    }
    return `\\x${fromEscapes(buffer, start, end).toString("hex")}`;
  },
  decodeBinary: (buffer, start, end) => `\\x${buffer.toString("hex", start, end)}`,
};

function fromHex(buffer: Buffer, start: number, end: number): Buffer {
  const bytes = Buffer.from(latin1(buffer, start, end), "hex");
  // Node stops silently at the first character that is no hex digit, and drops an odd one.
  if (bytes.length * 2 !== end - start) throw malformedValue("bytea", "text");
  return bytes;
}

/** A backslash and three octal digits are a byte, two backslashes are one, the rest is what it is. */
function fromEscapes(buffer: Buffer, start: number, end: number): Buffer {
  const bytes = Buffer.allocUnsafe(end - start);
  let length = 0;
  for (let position = start; position < end; position++) {
    const byte = buffer[position]!;
    if (byte !== backslash) {
      bytes[length++] = byte;
    } else if (position + 1 < end && buffer[position + 1] === backslash) {
      bytes[length++] = backslash;
      position += 1;
    } else {
      if (position + 3 >= end) throw malformedValue("bytea", "text");
      bytes[length++] =
        octal(buffer, position + 1, 3) * 64 +
        octal(buffer, position + 2, 7) * 8 +
        octal(buffer, position + 3, 7);
      position += 3;
    }
  }
  // What is left of the room is not kept alive with it.
  return Buffer.from(bytes.subarray(0, length));
}

function octal(buffer: Buffer, position: number, max: number): number {
  const digit = buffer[position]! - 0x30;
  if (digit < 0 || digit > max) throw malformedValue("bytea", "text");
  return digit;
}
