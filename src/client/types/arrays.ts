/**
 * Arrays of any type and any number of dimensions, as nested arrays of JavaScript (docs 8.15). Where the indexes
 * begin is not kept: the first element is at 0 here, whatever its lower bound is there.
 */
import { arrayText, dimensionsMax } from "./array-text.ts";
import type { TypeCodec } from "./codec.ts";
import { badParameter, malformedValue, refuse, unfitValue } from "./failures.ts";
import { ItemReader } from "./items.ts";
import { equals } from "./spans.ts";
import { elementsOf, hexText } from "./untyped.ts";

/** Elements, SQL's NULLs, and arrays of them in place of elements where there are more dimensions. */
export type ArrayValue<T> = (T | null | ArrayValue<T>)[];

const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const equalsSign = 0x3d;

/**
 * The codec of arrays of a type. An array within the array is a further dimension, but for types of which one
 * value is an array (json, multiranges): there it is an element.
 */
export function arrayOf<T>(element: TypeCodec<T>): TypeCodec<ArrayValue<T>> {
  const name = `_${element.name}`;
  const { delimiter = ",", arrayIsValue = false } = element;
  const textOf = (value: unknown): string => elementText(element, name, value);
  return {
    name,
    oid: element.arrayOid,
    arrayOid: 0,
    decodeText: (buffer, start, end) => new ArrayTextReader(element, name, buffer, start, end).read(),
    decodeBinary: (buffer, start, end) => new ArrayBinaryReader(element, name, buffer, start, end).read(),
    encode(value) {
      if (typeof value === "string") return value;
      const elements = elementsOf(value);
      if (elements === undefined) throw refuse(name, value);
      return arrayText(elements, textOf, delimiter, arrayIsValue);
    },
  };
}

/**
 * As {@link arrayOf}, for a column whose arrays have one dimension: an array with more is an OperationError
 * `client.bad_value` (2202E).
 */
export function listOf<T>(element: TypeCodec<T>): TypeCodec<(T | null)[]> {
  const codec = arrayOf(element);
  const flat = (dimensions: number, value: ArrayValue<T>): (T | null)[] => {
    if (dimensions <= 1) return value as (T | null)[];
    throw unfitValue(codec.name, "it has more than one dimension", "Use arrayOf instead of listOf.", "2202E");
  };
  return {
    ...codec,
    decodeText(buffer, start, end) {
      const reader = new ArrayTextReader(element, codec.name, buffer, start, end);
      const value = reader.read();
      return flat(reader.dimensions, value);
    },
    decodeBinary(buffer, start, end) {
      const reader = new ArrayBinaryReader(element, codec.name, buffer, start, end);
      const value = reader.read();
      return flat(reader.dimensions, value);
    },
  };
}

/** Lists of numbers that the catalogues use: text with blanks between, binary as an array. */
export function vectorOf(
  name: string,
  oid: number,
  arrayOid: number,
  element: TypeCodec<number>,
): TypeCodec<number[]> {
  return {
    name,
    oid,
    arrayOid,
    arrayIsValue: true,
    decodeText(buffer, start, end) {
      const values: number[] = [];
      for (let at = start; at < end; ) {
        const blank = buffer.indexOf(0x20, at);
        const stop = blank === -1 || blank > end ? end : blank;
        values.push(element.decodeText(buffer, at, stop));
        at = stop + 1;
      }
      return values;
    },
    decodeBinary(buffer, start, end) {
      const values = new ArrayBinaryReader(element, name, buffer, start, end).read();
      if (!values.every((value) => typeof value === "number")) throw malformedValue(name, "binary");
      return values;
    },
    encode(value) {
      if (typeof value === "string") return value;
      const elements = elementsOf(value);
      if (elements === undefined) throw refuse(name, value);
      return elements.map((each) => elementText(element, name, each)).join(" ");
    },
  };
}

function elementText(element: TypeCodec, arrayName: string, value: unknown): string {
  const encoded = element.encode(value);
  if (typeof encoded === "string") return encoded;
  if (element.name === "bytea") return hexText(encoded);
  throw badParameter(arrayName, "an array of which an element has no text");
}

class ArrayTextReader<T> {
  dimensions = 0;
  readonly #element: TypeCodec<T>;
  readonly #name: string;
  readonly #items: ItemReader;
  readonly #delimiter: number;

  constructor(element: TypeCodec<T>, name: string, buffer: Buffer, start: number, end: number) {
    this.#element = element;
    this.#name = name;
    this.#items = new ItemReader(buffer, start, end);
    this.#delimiter = (element.delimiter ?? ",").charCodeAt(0);
  }

  read(): ArrayValue<T> {
    const items = this.#items;
    if (items.next === openBracket) this.#skipBounds();
    const value = this.#level(1);
    if (items.at !== items.end) throw this.#malformed();
    return value;
  }

  /** `[2:4][0:1]=` stands before an array whose indexes do not begin at 1. */
  #skipBounds(): void {
    const items = this.#items;
    while (items.next !== undefined && items.next !== equalsSign) items.at++;
    items.skip(equalsSign);
  }

  #level(depth: number): ArrayValue<T> {
    const items = this.#items;
    if (depth > dimensionsMax || !items.skip(openBrace)) throw this.#malformed();
    this.dimensions = Math.max(this.dimensions, depth);
    const values: ArrayValue<T> = [];
    if (items.skip(closeBrace)) return values;
    for (;;) {
      values.push(items.next === openBrace ? this.#level(depth + 1) : this.#item());
      if (items.skip(closeBrace)) return values;
      if (!items.skip(this.#delimiter)) throw this.#malformed();
    }
  }

  #item(): T | null {
    const items = this.#items;
    if (!items.read(this.#delimiter, closeBrace, closeBrace)) throw this.#malformed();
    const { buffer, itemStart, itemEnd, quoted } = items;
    if (!quoted && equals(buffer, itemStart, itemEnd, "NULL")) return null;
    return this.#element.decodeText(buffer, itemStart, itemEnd);
  }

  #malformed(): Error {
    return malformedValue(this.#name, "text");
  }
}

/**
 * array_send: the number of dimensions, whether there are NULLs, the element's type; for each dimension its
 * length and lower bound; then the elements, each with its length, -1 for NULL.
 */
class ArrayBinaryReader<T> {
  dimensions = 0;
  readonly #element: TypeCodec<T>;
  readonly #name: string;
  readonly #buffer: Buffer;
  readonly #end: number;
  #at: number;

  constructor(element: TypeCodec<T>, name: string, buffer: Buffer, start: number, end: number) {
    this.#element = element;
    this.#name = name;
    this.#buffer = buffer;
    this.#at = start;
    this.#end = end;
  }

  read(): ArrayValue<T> {
    const dimensions = this.#int32();
    this.#int32();
    this.#int32();
    if (dimensions < 0 || dimensions > dimensionsMax) throw this.#malformed();
    this.dimensions = dimensions;
    const lengths: number[] = [];
    let total = 1;
    for (let index = 0; index < dimensions; index++) {
      const length = this.#int32();
      this.#int32();
      // Each element takes at least its length. A dimension without any is only in an int2vector or oidvector.
      total *= length;
      if (length < 0 || total > (this.#end - this.#at) / 4) throw this.#malformed();
      lengths.push(length);
    }
    const value = dimensions === 0 || total === 0 ? [] : this.#level(lengths, 0);
    if (this.#at !== this.#end) throw this.#malformed();
    return value;
  }

  #level(lengths: readonly number[], depth: number): ArrayValue<T> {
    const values: ArrayValue<T> = [];
    const length = lengths[depth] as number;
    const innermost = depth === lengths.length - 1;
    for (let index = 0; index < length; index++) {
      values.push(innermost ? this.#item() : this.#level(lengths, depth + 1));
    }
    return values;
  }

  #item(): T | null {
    const length = this.#int32();
    if (length === -1) return null;
    const start = this.#at;
    if (length < 0 || length > this.#end - start) throw this.#malformed();
    this.#at = start + length;
    return this.#element.decodeBinary(this.#buffer, start, this.#at);
  }

  #int32(): number {
    if (this.#end - this.#at < 4) throw this.#malformed();
    const value = this.#buffer.readInt32BE(this.#at);
    this.#at += 4;
    return value;
  }

  #malformed(): Error {
    return malformedValue(this.#name, "binary");
  }
}
