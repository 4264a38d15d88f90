/**
 * Reading a span of bytes in place: digits, floating point numbers and text.
 *
 * A call into Node for a string costs some 60 ns whatever its length, more than most values are worth. So short
 * ASCII text is built from its character codes, and numbers from their digits (bench/micro/type-decoders.ts).
 */
import { decodeText } from "../../wire/text.ts";

/** What every Buffer of Node has and its types leave out; toString takes a quarter longer to get there. */
interface Slices {
  latin1Slice(start: number, end: number): string;
  utf8Slice(start: number, end: number): string;
}

/** Digits that a number always holds exactly (Number.MAX_SAFE_INTEGER has 16). */
const safeDigits = 15;
const minus = 0x2d;
const zero = 0x30;
const nine = 0x39;

/** A decimal integer of at most 15 digits; NaN if the span is anything else. */
export function smallInteger(buffer: Buffer, start: number, end: number): number {
  const negative = start < end && buffer[start] === minus;
  let position = negative ? start + 1 : start;
  const length = end - position;
  if (length <= 0 || length > safeDigits) return Number.NaN;
  let value = 0;
  for (; position < end; position++) {
    const digit = (buffer[position] as number) - zero;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return negative ? -value : value;
}

/** `count` decimal digits at `position`, which must lie within the span; NaN if they are something else. */
export function digits(buffer: Buffer, position: number, count: number): number {
  let value = 0;
  for (let index = position; index < position + count; index++) {
    const digit = (buffer[index] as number) - zero;
    if (!(digit >= 0 && digit <= 9)) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

/** How many decimal digits there are from `position` on. */
export function countDigits(buffer: Buffer, position: number, end: number): number {
  let index = position;
  while (index < end && (buffer[index] as number) >= zero && (buffer[index] as number) <= nine) index++;
  return index - position;
}

/** A decimal integer of any length; undefined if the span is anything else. */
export function bigInteger(buffer: Buffer, start: number, end: number): bigint | undefined {
  const small = smallInteger(buffer, start, end);
  // A bigint has no negative zero, and PostgreSQL writes none.
  if (!Number.isNaN(small)) return BigInt(small);
  const first = start < end && buffer[start] === minus ? start + 1 : start;
  if (first === end || countDigits(buffer, first, end) !== end - first) return undefined;
  return BigInt(latin1(buffer, start, end));
}

/** A span of 8 bytes as a signed integer. */
export function bigIntegerBinary(buffer: Buffer, start: number): bigint {
  const high = buffer.readInt32BE(start);
  const low = buffer.readUInt32BE(start + 4);
  // Within 2^52 the sum is exact as a number, and one conversion is cheaper than reading two halves as bigints.
  if (high >= -0x10_0000 && high < 0x10_0000) return BigInt(high * 0x1_0000_0000 + low);
  return buffer.readBigInt64BE(start);
}

/** Text. Bytes that are not UTF-8 become lone surrogates, as everywhere (see wire/text.ts). */
export function text(buffer: Buffer, start: number, end: number): string {
  const length = end - start;
  if (length === 0) return "";
  if (length <= shortTextMax && isAscii(buffer, start, end)) return shortText(buffer, start, length);
  const decoded = (buffer as Buffer & Slices).utf8Slice(start, end);
  // Node writes U+FFFD for what is not UTF-8.
  return decoded.includes("\ufffd") ? decodeText(buffer, start, end) : decoded;
}

/** Text of which each byte is a character. */
export function latin1(buffer: Buffer, start: number, end: number): string {
  const length = end - start;
  if (length <= shortTextMax) return length === 0 ? "" : shortText(buffer, start, length);
  return (buffer as Buffer & Slices).latin1Slice(start, end);
}

/** Whether the span is exactly this ASCII text. */
export function equals(buffer: Buffer, start: number, end: number, expected: string): boolean {
  if (end - start !== expected.length) return false;
  for (let index = 0; index < expected.length; index++) {
    if (buffer[start + index] !== expected.charCodeAt(index)) return false;
  }
  return true;
}

/** Up to here V8 joins two strings by copying; a longer one would be a pair that is joined when it is first used. */
const shortTextMax = 12;

function isAscii(buffer: Buffer, start: number, end: number): boolean {
  let bits = 0;
  for (let index = start; index < end; index++) bits |= buffer[index] as number;
  return bits < 0x80;
}

/** One to twelve characters. V8 turns a call with a fixed number of codes into plain stores. */
function shortText(b: Buffer, i: number, length: number): string {
  const code = String.fromCharCode;
  if (length > 8) return shortText(b, i, 8) + shortText(b, i + 8, length - 8);
  switch (length) {
    case 1:
      return code(b[i]!);
    case 2:
      return code(b[i]!, b[i + 1]!);
    case 3:
      return code(b[i]!, b[i + 1]!, b[i + 2]!);
    case 4:
      return code(b[i]!, b[i + 1]!, b[i + 2]!, b[i + 3]!);
    case 5:
      return code(b[i]!, b[i + 1]!, b[i + 2]!, b[i + 3]!, b[i + 4]!);
    case 6:
      return code(b[i]!, b[i + 1]!, b[i + 2]!, b[i + 3]!, b[i + 4]!, b[i + 5]!);
    case 7:
      return code(b[i]!, b[i + 1]!, b[i + 2]!, b[i + 3]!, b[i + 4]!, b[i + 5]!, b[i + 6]!);
    default:
      return code(b[i]!, b[i + 1]!, b[i + 2]!, b[i + 3]!, b[i + 4]!, b[i + 5]!, b[i + 6]!, b[i + 7]!);
  }
}
