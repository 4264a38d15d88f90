/**
 * What is known of plain texts, found by their shape (see lex.ts) in one pass over their bytes, without a string or
 * any other object being made: the way that nearly all texts of a busy client take, at a hundredth of the price of `lex`.
 *
 * Plain is a text whose shape needs no thought: words, integers and decimals, quoted names, `$1`, operators, and strings without
 * prefix, backslash or continuation. Comments, dollar quotes and the rest are left to `lex`. A text that is plain has
 * here the very shape that it has there; a property of the tests holds the two together.
 */
import { isUtf8 } from "node:buffer";
import { assert } from "../base/assert.ts";
import { byteTable } from "./byte-table.ts";
import { GenerationCache } from "./cache.ts";
import { floatMark, integerDigitsMax, integerMark, stringMark } from "./lex.ts";

/** Longer texts cost more to parse by the server than to look up by us, whichever way. */
const textBytesMax = 8192;

// Kinds of bytes.
const foreign = 0;
/** Stands in the shape as it is, and says nothing about what follows. */
const plain = 1;
const letter = 2;
const digit = 3;
const quote = 4;
const doubleQuote = 5;
const dollar = 6;
const dot = 7;
/** Two in a row, or with a star: a comment. Behind a letter: u&'…'. */
const dash = 8;
const slash = 9;
const ampersand = 10;
/** Only within quotes. */
const high = 11;
const kinds: Uint8Array = byteTable(foreign, high, [
  [" \t\n\r\f\v+*<>=~!@#%^|`?()[],;:", plain],
  ["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_", letter],
  ["0123456789", digit],
  ["'", quote],
  ['"', doubleQuote],
  ["$", dollar],
  [".", dot],
  ["-", dash],
  ["/", slash],
  ["&", ampersand],
]);

/** What stands for literals is no greater, and nothing else in a shape is as small. */
const markMax = Math.max(stringMark, integerMark, floatMark);

/** What is known of a shape. */
export interface Known<V> {
  readonly shape: Buffer;
  /** Where in it something stands for a literal, and behind its end. */
  readonly marks: readonly number[];
  /** It has quotes, within which a text may have other characters than ASCII. */
  readonly quoted: boolean;
  readonly value: V;
  readonly valueBytes: number;
  /** What somebody has made of it, and of what that is true: kept here, it is found without a look at anything else. */
  kept: unknown;
  keptFor: object | undefined;
  /** Hashes of the last two shapes that have come behind it; 0: none. Two, because the sign of a number is part of a shape. */
  next: number;
  other: number;
}

/** How far one client has come in what it sends: programs send the same shapes in the same order, again and again. */
export class ShapeTrail {
  /** Hashes of the shape that it has sent last, and of those that are expected behind it; 0: none. */
  last = 0;
  next = 0;
  other = 0;
  /** What is known of the last one: who sends the same again and again needs no look-up. */
  known: Known<unknown> | undefined;
}

export class ShapeIndex<V> {
  readonly #known: GenerationCache<number, Known<V>>;
  /** The shape of the text that was looked at last; 0 bytes: it is not plain. */
  readonly #shape = Buffer.allocUnsafeSlow(textBytesMax);
  #length = 0;
  #hash = 0;
  #quoted = false;
  /** The shape is the text itself: it has no literals. */
  #exact = false;

  constructor(bytesMax: number) {
    this.#known = new GenerationCache(bytesMax);
  }

  get entries(): number {
    return this.#known.entries;
  }

  get bytes(): number {
    return this.#known.bytes;
  }

  /** What was added for a text of the same shape as `text[start, end)`, to which `trail` has not led but will the next time. */
  find(text: Buffer, start: number, end: number, trail?: ShapeTrail): V | undefined {
    this.#length = 0;
    if (end - start > textBytesMax) return undefined;
    const length = this.#scan(text, start, end);
    if (length === 0) return undefined;
    this.#length = length;
    const known = this.#known.get(this.#hash, bytesOf);
    if (trail !== undefined) this.#lead(trail, known);
    // Equal numbers may be chance, or somebody's intent.
    return known !== undefined && this.#isShape(known.shape) ? known.value : undefined;
  }

  /**
   * What is known of the shape of `text[start, end)`, if it is one that the trail leads to: those are compared byte for byte, which
   * is half the price of finding out which shape it is.
   */
  expected(text: Buffer, start: number, end: number, trail: ShapeTrail): Known<V> | undefined {
    const { next, other } = trail;
    if (next === 0 || end - start > textBytesMax) return undefined;
    const known = this.#expectedBy(next, text, start, end, trail);
    return known ?? (other === 0 ? undefined : this.#expectedBy(other, text, start, end, trail));
  }

  #expectedBy(
    hash: number,
    text: Buffer,
    start: number,
    end: number,
    trail: ShapeTrail,
  ): Known<V> | undefined {
    // What it holds on to may not be in the index any more; it is true all the same.
    const last = hash === trail.last ? (trail.known as Known<V> | undefined) : undefined;
    const known = last ?? this.#known.get(hash, bytesOf);
    if (known === undefined || !hasShape(known, text, start, end)) return undefined;
    follow(trail, hash, known);
    return known;
  }

  /** The text that was looked for last was not expected: the next time it is. */
  #lead(trail: ShapeTrail, known: Known<V> | undefined): void {
    const before = this.#known.get(trail.last, bytesOf);
    if (before !== undefined) {
      before.other = before.next;
      before.next = this.#hash;
    }
    follow(trail, this.#hash, known);
  }

  /** The text that was looked for last is plain: it can be added. */
  get isPlain(): boolean {
    return this.#length > 0;
  }

  /** It is plain and has no literals: no other text has its shape. */
  get isExact(): boolean {
    return this.#length > 0 && this.#exact;
  }

  /** Adds what is true of the text that was looked for last. */
  add(value: V, valueBytes: number): void {
    assert(this.#length > 0, "only what is plain is found again");
    const shape = Buffer.from(this.#shape.subarray(0, this.#length));
    const known: Known<V> = {
      shape,
      marks: marksIn(shape),
      quoted: this.#quoted,
      value,
      valueBytes,
      kept: undefined,
      keptFor: undefined,
      next: 0,
      other: 0,
    };
    this.#known.set(this.#hash, known, bytesOf(known));
  }

  /** Of the text that was looked for last, as `lex` has it; undefined if it is not plain. */
  get shape(): string | undefined {
    return this.#length === 0 ? undefined : this.#shape.toString("latin1", 0, this.#length);
  }

  #isShape(shape: Buffer): boolean {
    const length = this.#length;
    if (shape.length !== length) return false;
    const own = this.#shape;
    for (let at = 0; at < length; at += 1) if (shape[at] !== own[at]) return false;
    return true;
  }

  /** The length of the shape; 0: the text is not plain. */
  #scan(text: Buffer, start: number, end: number): number {
    const shape = this.#shape;
    let length = 0;
    let hash = 0x811c9dc5;
    let quoted = false;
    let exact = true;
    for (let at = start; at < end; ) {
      let byte = text[at] as number;
      let next = at + 1;
      switch (kinds[byte]) {
        case plain:
          break;
        case letter:
          // Up to its last byte, which is added below.
          for (; next < end && isWordByte(text[next] as number); next += 1) {
            hash = Math.imul(hash ^ byte, fnvPrime);
            shape[length++] = byte;
            byte = text[next] as number;
          }
          break;
        case digit:
          next = digitsEnd(text, at, end);
          byte = isInteger(text, at, next, end) ? integerMark : floatMark;
          if (byte === floatMark) next = numberEnd(text, next, end);
          if (next < 0) return 0;
          exact = false;
          break;
        case quote:
          next = stringEnd(text, at, start, end);
          if (next < 0) return 0;
          quoted = true;
          exact = false;
          byte = stringMark;
          break;
        case doubleQuote:
          for (; next < end && text[next] !== 0x22; next += 1) {
            // NUL, or what stands for a literal elsewhere in a shape.
            if ((text[next] as number) <= markMax) return 0;
            hash = Math.imul(hash ^ byte, fnvPrime);
            shape[length++] = byte;
            byte = text[next] as number;
          }
          if (next === end) return 0;
          quoted = true;
          hash = Math.imul(hash ^ byte, fnvPrime);
          shape[length++] = byte;
          byte = 0x22;
          next += 1;
          break;
        case dollar:
          if (!isParameter(text, at, end)) return 0;
          break;
        default:
          if (!standsForItself(text, at, start, end)) return 0;
      }
      hash = Math.imul(hash ^ byte, fnvPrime);
      shape[length++] = byte;
      at = next;
      // The digits of a parameter's number are no literal.
      if (byte !== 0x24) continue;
      for (; at < end && kinds[text[at] as number] === digit; at += 1) {
        hash = Math.imul(hash ^ (text[at] as number), fnvPrime);
        shape[length++] = text[at] as number;
      }
    }
    this.#hash = hash;
    this.#quoted = quoted;
    this.#exact = exact;
    return !quoted || isText(text, start, end) ? length : 0;
  }
}

/** The client has sent the shape with this hash, of which this is known. */
function follow(trail: ShapeTrail, hash: number, known: Known<unknown> | undefined): void {
  trail.last = hash;
  trail.known = known;
  trail.next = known?.next ?? 0;
  trail.other = known?.other ?? 0;
}

/**
 * Whether the shape of a text is this one. Each byte of a shape is the text's own, or stands for a literal; both begin at the
 * same places in all texts that have been the same until there, so that nothing else has to be looked at than in `#scan`.
 */
function hasShape(
  { shape, marks, quoted }: Known<unknown>,
  text: Buffer,
  start: number,
  end: number,
): boolean {
  let at = start;
  let index = 0;
  for (let i = 0; ; i += 1) {
    const mark = marks[i] as number;
    if (mark - index > end - at) return false;
    // Four at a time: where the bytes are is looked up once for all of them.
    for (; index + 4 <= mark; index += 4) {
      if (shape[index] !== text[at] || shape[index + 1] !== text[at + 1]) return false;
      if (shape[index + 2] !== text[at + 2] || shape[index + 3] !== text[at + 3]) return false;
      at += 4;
    }
    for (; index < mark; index += 1) {
      if (shape[index] !== text[at]) return false;
      at += 1;
    }
    if (index === shape.length) return at === end && (!quoted || isText(text, start, end));
    at = literalEnd(shape[index] as number, text, at, start, end);
    if (at < 0) return false;
    index += 1;
  }
}

function marksIn(shape: Buffer): number[] {
  const marks: number[] = [];
  for (let index = 0; index < shape.length; index += 1)
    if ((shape[index] as number) <= markMax) marks.push(index);
  marks.push(shape.length);
  return marks;
}

/** Behind the literal that begins at `at`; below 0: there is none of the kind for which `mark` stands. */
function literalEnd(mark: number, text: Buffer, at: number, start: number, end: number): number {
  if (at >= end) return -1;
  if (mark === stringMark) return text[at] === 0x27 ? stringEnd(text, at, start, end) : -1;
  const digits = digitsEnd(text, at, end);
  if (digits === at) return -1;
  const integer = isInteger(text, at, digits, end);
  if (mark === integerMark) return integer ? digits : -1;
  return integer ? -1 : numberEnd(text, digits, end);
}

/** Of FNV-1a. */
const fnvPrime = 0x01000193;

function bytesOf(known: Known<unknown>): number {
  return known.shape.length + 8 * known.marks.length + known.valueBytes;
}

function isWordByte(byte: number): boolean {
  const kind = kinds[byte];
  return kind === letter || kind === digit;
}

/** Where the number whose digits up to `at` are read ends: behind a dot and more digits, if there are; below 0: it is of another kind. */
function numberEnd(text: Buffer, at: number, end: number): number {
  const next = at < end && text[at] === 0x2e ? digitsEnd(text, at + 1, end) : at;
  return next === end || endsNumber(text[next] as number) ? next : -1;
}

function endsNumber(byte: number): boolean {
  switch (kinds[byte]) {
    case letter:
    case dot:
    case dollar:
    case high:
      return false;
    default:
      return true;
  }
}

function digitsEnd(text: Buffer, from: number, end: number): number {
  let at = from;
  while (at < end && isDigit(text[at] as number)) at += 1;
  return at;
}

/** By two comparisons rather than by `kinds`, since a number has many. */
function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/** Whether the digits in `[from, to)` are a number by themselves, and no longer than an integer. */
function isInteger(text: Buffer, from: number, to: number, end: number): boolean {
  if (to - from > integerDigitsMax) return false;
  return to === end || endsNumber(text[to] as number);
}

/** Behind the closing quote; below 0: not a plain string. */
function stringEnd(text: Buffer, from: number, start: number, end: number): number {
  if (from > start) {
    const before = kinds[text[from - 1] as number];
    // e'…', u&'…' and their kin.
    if (before === letter || before === digit || before === ampersand || before === dollar) return -1;
  }
  for (let at = from + 1; at < end; at += 1) {
    const byte = text[at];
    if (byte === 0x5c || byte === 0) return -1;
    if (byte !== 0x27) continue;
    if (text[at + 1] === 0x27 && at + 1 < end) at += 1;
    else return goesOn(text, at + 1, end) ? -1 : at + 1;
  }
  return -1;
}

/** Behind white space there is another string, which may be the rest of this one. */
function goesOn(text: Buffer, from: number, end: number): boolean {
  let at = from;
  while (at < end && isSpace(text[at] as number)) at += 1;
  return at < end && text[at] === 0x27;
}

/** $1, with nothing behind it that could belong to it. */
function isParameter(text: Buffer, from: number, end: number): boolean {
  const at = digitsEnd(text, from + 1, end);
  if (at === from + 1) return false;
  if (at === end) return true;
  const kind = kinds[text[at] as number];
  return kind !== letter && kind !== dollar && kind !== high;
}

/** Whether a byte that may begin something else does not. */
function standsForItself(text: Buffer, at: number, start: number, end: number): boolean {
  const following = at + 1 < end ? (text[at + 1] as number) : 0;
  switch (kinds[text[at] as number]) {
    case dot:
      return kinds[following] !== digit;
    case dash:
      return following !== 0x2d;
    case slash:
      return following !== 0x2a;
    case ampersand:
      return at === start || !isWordByte(text[at - 1] as number);
    default:
      return false;
  }
}

/** No other bytes than ASCII, or such that are UTF-8. */
function isText(text: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) {
    if ((text[at] as number) > 127) return isUtf8(text.subarray(start, end));
  }
  return true;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}
