/**
 * Writing ASN.1 in DER (ITU-T X.690): tag, length, contents. Just what a certificate needs, because Node reads
 * certificates but writes none.
 */

/** One value with its tag and length. */
function value(tag: number, ...contents: readonly Buffer[]): Buffer {
  const body = Buffer.concat(contents);
  if (body.length < 0x80) return Buffer.concat([Buffer.of(tag, body.length), body]);
  const digits: number[] = [];
  for (let rest = body.length; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return Buffer.concat([Buffer.of(tag, 0x80 | digits.length, ...digits), body]);
}

export const sequence = (...items: readonly Buffer[]): Buffer => value(0x30, ...items);
export const set = (...items: readonly Buffer[]): Buffer => value(0x31, ...items);
export const utf8String = (text: string): Buffer => value(0x0c, Buffer.from(text));
export const octetString = (bytes: Buffer): Buffer => value(0x04, bytes);
export const boolean = (flag: boolean): Buffer => value(0x01, Buffer.of(flag ? 0xff : 0));
export const nothing: Buffer = value(0x05);

/** A tag of the enclosing type's own: `[number]`, around a whole value (constructed) or instead of its tag. */
export const tagged = (number: number, contents: Buffer, constructed: boolean): Buffer =>
  value((constructed ? 0xa0 : 0x80) | number, contents);

/** A number that is not negative, most significant byte first. */
export function integer(bytes: Buffer): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const digits = bytes.subarray(start);
  // A leading bit of one would mean a negative number.
  return value(0x02, (digits[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits);
}

/** A string of bits, of which the last `unusedBits` do not count. */
export const bitString = (bytes: Buffer, unusedBits = 0): Buffer => value(0x03, Buffer.of(unusedBits), bytes);

/** An object identifier in dotted form. */
export function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes: number[] = [];
  for (const part of [first * 40 + second, ...rest]) {
    const groups = [part % 128];
    for (let high = Math.floor(part / 128); high > 0; high = Math.floor(high / 128)) {
      groups.unshift((high % 128) | 0x80);
    }
    bytes.push(...groups);
  }
  return value(0x06, Buffer.from(bytes));
}

/** A time to the second: UTCTime to 2049, GeneralizedTime after it (RFC 5280, 4.1.2.5). */
export function time(date: Date): Buffer {
  const digits = date.toISOString().replaceAll(/[-:T]/g, "").replace(/\..*/, "");
  return date.getUTCFullYear() < 2050
    ? value(0x17, Buffer.from(`${digits.slice(2)}Z`))
    : value(0x18, Buffer.from(`${digits}Z`));
}
