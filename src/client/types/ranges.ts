/** Codecs of ranges and multiranges, over the codec of their bounds (docs 8.17). */
import type { Decode, TypeCodec } from "./codec.ts";
import { badParameter, malformedValue, refuse } from "./failures.ts";
import { ItemReader } from "./items.ts";
import { Range, rangeText } from "./range.ts";
import { equals } from "./spans.ts";
import { elementsOf } from "./untyped.ts";

/** What tells a range type from another, apart from its bounds. */
export interface RangeType {
  readonly name: string;
  readonly oid: number;
  readonly arrayOid: number;
}

const openBracket = 0x5b;
const closeBracket = 0x5d;
const openParenthesis = 0x28;
const closeParenthesis = 0x29;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const comma = 0x2c;
/** RANGE_EMPTY and its kin in PostgreSQL's src/include/utils/rangetypes.h. */
const flag = {
  empty: 0x01,
  lowerInclusive: 0x02,
  upperInclusive: 0x04,
  lowerInfinite: 0x08,
  upperInfinite: 0x10,
};

/** The codec of a range type. A parameter is a {@link Range}. */
export function rangeOf<T>(bound: TypeCodec<T>, type: RangeType): TypeCodec<Range<T>> {
  const { name, oid, arrayOid } = type;
  const textOf = boundText(bound, name);
  return {
    name,
    oid,
    arrayOid,
    decodeText(buffer, start, end) {
      const items = new ItemReader(buffer, start, end);
      const range = readText(items, bound, name);
      if (items.at !== end) throw malformedValue(name, "text");
      return range;
    },
    decodeBinary: (buffer, start, end) => readBinary(buffer, start, end, bound, name),
    encode(value) {
      if (typeof value === "string") return value;
      if (value instanceof Range) return rangeText(value, textOf);
      throw refuse(name, value);
    },
  };
}

/** The codec of a multirange type: an array of ranges, which the server puts in order and joins. */
export function multirangeOf<T>(bound: TypeCodec<T>, type: RangeType): TypeCodec<Range<T>[]> {
  const { name, oid, arrayOid } = type;
  const textOf = boundText(bound, name);
  return {
    name,
    oid,
    arrayOid,
    arrayIsValue: true,
    decodeText: (buffer, start, end) => readMultirange(buffer, start, end, bound, name),
    decodeBinary: multirangeBinary(bound, name),
    encode(value) {
      if (typeof value === "string") return value;
      const ranges = elementsOf(value);
      if (ranges === undefined) throw refuse(name, value);
      const texts = ranges.map((range) => {
        if (range instanceof Range) return rangeText(range, textOf);
        throw badParameter(name, "an array of which an element is no Range");
      });
      return `{${texts.join(",")}}`;
    },
  };
}

function boundText(bound: TypeCodec, name: string): (value: unknown) => string {
  return (value) => {
    const encoded = bound.encode(value);
    if (typeof encoded === "string") return encoded;
    throw badParameter(name, "a range of which a bound has no text");
  };
}

function readText<T>(items: ItemReader, bound: TypeCodec<T>, name: string): Range<T> {
  const { source, at, end } = items;
  const lowerInclusive = items.skip(openBracket);
  if (!lowerInclusive && !items.skip(openParenthesis)) {
    if (!equals(source, at, end, "empty")) throw malformedValue(name, "text");
    items.at = end;
    return Range.empty<T>();
  }
  const lower = readBound(items, bound, name);
  if (!items.skip(comma)) throw malformedValue(name, "text");
  const upper = readBound(items, bound, name);
  const upperInclusive = items.skip(closeBracket);
  if (!upperInclusive && !items.skip(closeParenthesis)) throw malformedValue(name, "text");
  return new Range(lower, upper, bounds(lowerInclusive, upperInclusive));
}

/** Nothing at all is an infinite bound; the empty text is written `""`. */
function readBound<T>(items: ItemReader, bound: TypeCodec<T>, name: string): T | null {
  if (!items.read(comma, closeBracket, closeParenthesis)) throw malformedValue(name, "text");
  const { buffer, itemStart, itemEnd, quoted } = items;
  return itemStart === itemEnd && !quoted ? null : bound.decodeText(buffer, itemStart, itemEnd);
}

function readMultirange<T>(
  buffer: Buffer,
  start: number,
  end: number,
  bound: TypeCodec<T>,
  name: string,
): Range<T>[] {
  const items = new ItemReader(buffer, start, end);
  const ranges: Range<T>[] = [];
  if (!items.skip(openBrace)) throw malformedValue(name, "text");
  if (!items.skip(closeBrace)) {
    do {
      ranges.push(readText(items, bound, name));
    } while (items.skip(comma));
    if (!items.skip(closeBrace)) throw malformedValue(name, "text");
  }
  if (items.at !== end) throw malformedValue(name, "text");
  return ranges;
}

/** range_send: flags, then each bound that is not infinite with its length in front. */
function readBinary<T>(
  buffer: Buffer,
  start: number,
  end: number,
  bound: TypeCodec<T>,
  name: string,
): Range<T> {
  const flags = start < end ? (buffer[start] as number) : -1;
  let at = start + 1;
  const next = (absent: boolean): T | null => {
    if (absent) return null;
    const length = end - at < 4 ? -1 : buffer.readInt32BE(at);
    const valueStart = at + 4;
    if (length < 0 || length > end - valueStart) throw malformedValue(name, "binary");
    at = valueStart + length;
    return bound.decodeBinary(buffer, valueStart, at);
  };
  if (flags < 0) throw malformedValue(name, "binary");
  const empty = (flags & flag.empty) !== 0;
  const lower = next(empty || (flags & flag.lowerInfinite) !== 0);
  const upper = next(empty || (flags & flag.upperInfinite) !== 0);
  if (at !== end) throw malformedValue(name, "binary");
  if (empty) return Range.empty<T>();
  return new Range(
    lower,
    upper,
    bounds((flags & flag.lowerInclusive) !== 0, (flags & flag.upperInclusive) !== 0),
  );
}

/** multirange_send: the number of ranges, then each with its length in front. */
function multirangeBinary<T>(bound: TypeCodec<T>, name: string): Decode<Range<T>[]> {
  return (buffer, start, end) => {
    const count = end - start < 4 ? -1 : buffer.readInt32BE(start);
    // Each range takes at least its length and its flags.
    if (count < 0 || count > (end - start - 4) / 5) throw malformedValue(name, "binary");
    const ranges: Range<T>[] = [];
    let at = start + 4;
    for (let index = 0; index < count; index++) {
      const length = end - at < 4 ? -1 : buffer.readInt32BE(at);
      at += 4;
      if (length < 0 || length > end - at) throw malformedValue(name, "binary");
      ranges.push(readBinary(buffer, at, at + length, bound, name));
      at += length;
    }
    if (at !== end) throw malformedValue(name, "binary");
    return ranges;
  };
}

function bounds(lowerInclusive: boolean, upperInclusive: boolean): "[)" | "[]" | "(]" | "()" {
  if (lowerInclusive) return upperInclusive ? "[]" : "[)";
  return upperInclusive ? "(]" : "()";
}
