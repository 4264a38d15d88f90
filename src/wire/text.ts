/**
 * Text on the wire: UTF-8 both ways, without ever losing a byte.
 *
 * PostgreSQL's strings are bytes in whatever encoding the two sides agreed on, and before they agreed (user
 * and database names, early errors) in no known one. A byte that is not part of valid UTF-8 becomes the lone
 * surrogate U+DC80..U+DCFF, and encoding turns that back into the byte (the scheme of Python's PEP 383). So
 * what is decoded and encoded again is the same, and two different names never look equal.
 */
import { OperationError } from "../base/errors.ts";

const replacementCharacter = "\ufffd";
const replacementBytes: Buffer = Buffer.from(replacementCharacter);
const escapeBase = 0xdc00;

/** The text of `buffer[start, end)`. Bytes that are not UTF-8 become lone surrogates U+DC80..U+DCFF. */
export function decodeText(buffer: Buffer, start: number, end: number): string {
  const text = buffer.toString("utf8", start, end);
  // Node writes U+FFFD for what it cannot decode; without one there was nothing to escape.
  return text.includes(replacementCharacter) ? decodeEscaped(buffer, start, end) : text;
}

/**
 * The bytes of `text`, the reverse of {@link decodeText}.
 *
 * @throws OperationError `wire.nul_in_text` (22021) if it holds U+0000, which would end it early on the wire.
 */
export function encodeText(text: string): Buffer {
  if (text.includes("\0")) {
    throw new OperationError("a text for PostgreSQL cannot hold the character U+0000", {
      code: "wire.nul_in_text",
      sqlstate: "22021",
      source: "internal",
    });
  }
  const bytes = Buffer.from(text, "utf8");
  // Node writes U+FFFD for a lone surrogate; without one there is nothing escaped.
  return bytes.includes(replacementBytes) ? encodeEscaped(text) : bytes;
}

function decodeEscaped(buffer: Buffer, start: number, end: number): string {
  let text = "";
  let plainStart = start;
  let position = start;
  while (position < end) {
    const length = sequenceLength(buffer, position, end);
    if (length > 0) {
      position += length;
      continue;
    }
    text += buffer.toString("utf8", plainStart, position);
    text += String.fromCharCode(escapeBase + buffer.readUInt8(position));
    position += 1;
    plainStart = position;
  }
  return text + buffer.toString("utf8", plainStart, end);
}

function encodeEscaped(text: string): Buffer {
  const parts: Buffer[] = [];
  let plainStart = 0;
  for (let index = 0; index < text.length; index += 1) {
    const codePoint = text.codePointAt(index) ?? 0;
    if (codePoint > 0xffff) {
      index += 1; // a whole pair
    } else if (codePoint >= escapeBase + 0x80 && codePoint <= escapeBase + 0xff) {
      parts.push(Buffer.from(text.slice(plainStart, index)), Buffer.of(codePoint - escapeBase));
      plainStart = index + 1;
    }
  }
  parts.push(Buffer.from(text.slice(plainStart)));
  return Buffer.concat(parts);
}

/** Bytes of the valid UTF-8 sequence at `position` (RFC 3629, section 4), or 0 if there is none. */
function sequenceLength(buffer: Buffer, position: number, end: number): number {
  const first = buffer.readUInt8(position);
  if (first < 0x80) return 1;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || position + length > end) return 0;
  // The second byte's range excludes overlong forms, surrogates and what is beyond U+10FFFF.
  const second = buffer.readUInt8(position + 1);
  const secondMin = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const secondMax = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < secondMin || second > secondMax) return 0;
  for (let index = 2; index < length; index += 1) {
    if ((buffer.readUInt8(position + index) & 0xc0) !== 0x80) return 0;
  }
  return length;
}
