/** A byte builder for tests that shares nothing with the encoders it helps to test. */

export type Part = string | number | Buffer;

export const int16 = (value: number): Buffer => Buffer.of((value >> 8) & 0xff, value & 0xff);
export const int32 = (value: number): Buffer =>
  Buffer.of((value >>> 24) & 0xff, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
/** A string with its NUL. */
export const text = (value: string): Buffer => Buffer.from(`${value}\0`, "utf8");
/** A length and the bytes of the string; null is -1. */
export const value = (content: string | null): Buffer =>
  content === null ? int32(-1) : Buffer.concat([int32(Buffer.byteLength(content)), Buffer.from(content)]);

/** Parts in a row: strings as they are, numbers as single bytes. */
export function bytes(...parts: Part[]): Buffer {
  return Buffer.concat(
    parts.map((part) =>
      typeof part === "number"
        ? Buffer.of(part)
        : typeof part === "string"
          ? Buffer.from(part, "latin1")
          : part,
    ),
  );
}

/** A message: letter, length, body. */
export function typed(letter: string, ...parts: Part[]): Buffer {
  const body = bytes(...parts);
  return bytes(letter, int32(body.length + 4), body);
}

/** A packet of the startup phase: length, body. */
export function untyped(...parts: Part[]): Buffer {
  const body = bytes(...parts);
  return bytes(int32(body.length + 4), body);
}
