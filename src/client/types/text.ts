/**
 * The types whose value is their text. In binary format they are the same bytes, so that one decoder does both.
 */
import type { TypeCodec } from "./codec.ts";
import { malformedValue, refuse } from "./failures.ts";
import { text as decode } from "./spans.ts";
import { encodeUntyped } from "./untyped.ts";

export const text: TypeCodec<string> = textual("text", 25, 1009);
export const varchar: TypeCodec<string> = textual("varchar", 1043, 1015);
/** `character(n)`, with the blanks it is filled up with. */
export const bpchar: TypeCodec<string> = textual("bpchar", 1042, 1014);
export const name: TypeCodec<string> = textual("name", 19, 1003);
export const xml: TypeCodec<string> = textual("xml", 142, 143);
export const refcursor: TypeCodec<string> = textual("refcursor", 1790, 2201);
export const cstring: TypeCodec<string> = textual("cstring", 2275, 1263);
/** A string constant whose type nothing tells. */
export const unknown: TypeCodec<string> = textual("unknown", 705, 0);
/** What a function that returns nothing returns: always the empty string. */
export const void_: TypeCodec<string> = textual("void", 2278, 0);

/** One byte, quoted in the catalogues as `"char"`. Bytes beyond ASCII are `\ooo`, and a zero byte is nothing. */
export const char: TypeCodec<string> = {
  name: "char",
  oid: 18,
  arrayOid: 1002,
  decodeText: decode,
  decodeBinary(buffer, start, end) {
    const byte = buffer[start];
    if (end - start !== 1 || byte === undefined) throw malformedValue("char", "binary");
    if (byte === 0) return "";
    return byte < 0x80 ? String.fromCharCode(byte) : `\\${byte.toString(8)}`;
  },
  encode(value) {
    if (typeof value === "string") return value;
    throw refuse("char", value);
  },
};

/** A path into JSON; its binary format has a version in front. */
export const jsonpath: TypeCodec<string> = {
  ...textual("jsonpath", 4072, 4073),
  decodeBinary(buffer, start, end) {
    if (buffer[start] !== 1 || end <= start) throw malformedValue("jsonpath", "binary");
    return decode(buffer, start + 1, end);
  },
};

/** A type that is read and sent as its text. Other values than strings are sent as if the type were not known. */
export function textual(typeName: string, oid: number, arrayOid: number): TypeCodec<string> {
  return {
    name: typeName,
    oid,
    arrayOid,
    decodeText: decode,
    decodeBinary: decode,
    encode: (value) => encodeUntyped(value, typeName),
  };
}
