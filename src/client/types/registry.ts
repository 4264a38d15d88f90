/**
 * Which codec is for which type. A registry never changes: {@link TypeRegistry.extend} makes a new one, in which
 * arrays and ranges follow the codecs of what they hold.
 */
import { arrayOf } from "./arrays.ts";
import { builtinCodecs, rangeFamilies } from "./builtin.ts";
import type { Decode, TypeCodec } from "./codec.ts";
import { badParameter } from "./failures.ts";
import { multirangeOf, rangeOf } from "./ranges.ts";
import { text } from "./spans.ts";
import { encodeUntyped } from "./untyped.ts";

/** The bytes themselves, in a Buffer of their own: what a type that is not known is in its binary format. */
export const copyBytes: Decode<Buffer> = (buffer, start, end) => Buffer.from(buffer.subarray(start, end));

export class TypeRegistry {
  /** The types that every PostgreSQL has, with the codecs that lose nothing. */
  static readonly builtin: TypeRegistry = new TypeRegistry(builtinCodecs);

  readonly #codecs: ReadonlyMap<number, TypeCodec>;
  /** Those that were given, without what follows from them. */
  readonly #given: ReadonlyMap<number, TypeCodec>;

  /** Of two codecs for one type the later one holds. */
  private constructor(given: Iterable<TypeCodec>) {
    this.#given = new Map([...given].map((codec) => [codec.oid, codec]));
    this.#codecs = withDerived(this.#given);
    Object.freeze(this);
  }

  /**
   * A registry with these codecs instead of, or beside, those of this one. Arrays of their types are known by
   * them too, and so are the ranges over them, unless a codec for those is given as well.
   */
  extend(...codecs: readonly TypeCodec[]): TypeRegistry {
    return new TypeRegistry([...this.#given.values(), ...codecs]);
  }

  /** The codec of the type with this object identifier. */
  codec(oid: number): TypeCodec | undefined {
    return this.#codecs.get(oid);
  }

  /** The decoder of a type's text format; of a type that is not known it gives the text. */
  textDecoder(oid: number): Decode {
    return this.#codecs.get(oid)?.decodeText ?? text;
  }

  /** The decoder of a type's binary format; of a type that is not known it gives a Buffer, a copy. */
  binaryDecoder(oid: number): Decode {
    return this.#codecs.get(oid)?.decodeBinary ?? copyBytes;
  }

  /**
   * A value as a parameter of the type, 0 if it is not known: null for SQL's NULL (null and undefined), a string
   * in text format, or bytes in binary format, which may still be the caller's own.
   *
   * Throws OperationError `client.bad_parameter`, with the type's name and without the value: 22003 for a number
   * out of range, 22021 for a text that PostgreSQL cannot store, 22023 for anything else that cannot be.
   */
  encodeParameter(value: unknown, oid: number): string | Uint8Array | null {
    if (value === null || value === undefined) return null;
    const codec = this.#codecs.get(oid);
    const encoded = codec === undefined ? encodeUntyped(value) : codec.encode(value);
    if (typeof encoded === "string") checkText(encoded, codec?.name ?? "unknown");
    return encoded;
  }
}

/** NUL would end the text early, and half a surrogate pair would silently become another character. */
function checkText(encoded: string, type: string): void {
  if (encoded.includes("\0")) throw badParameter(type, "a text that holds the character U+0000", "22021");
  if (!encoded.isWellFormed())
    throw badParameter(type, "a text that holds half of a surrogate pair", "22021");
}

/** Ranges, multiranges and arrays of the given codecs; what was given itself is not replaced. */
function withDerived(given: ReadonlyMap<number, TypeCodec>): Map<number, TypeCodec> {
  const codecs = new Map(given);
  codecs.delete(0);
  const add = (codec: TypeCodec): void => {
    if (codec.oid !== 0 && !codecs.has(codec.oid)) codecs.set(codec.oid, codec);
  };
  for (const { range, multirange, subtype } of rangeFamilies) {
    const bound = codecs.get(subtype);
    if (bound === undefined) continue;
    add(rangeOf(bound, range));
    add(multirangeOf(bound, multirange));
  }
  for (const codec of [...codecs.values()]) {
    if (codec.arrayOid !== 0) add(arrayOf(codec));
  }
  return codecs;
}
