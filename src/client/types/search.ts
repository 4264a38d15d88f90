/** Text search, and other types that are read as the text the server writes for them. */
import type { TypeCodec } from "./codec.ts";
import { malformedValue, unfitValue } from "./failures.ts";
import { text } from "./spans.ts";
import { encodeUntyped } from "./untyped.ts";

const weights = ["", "C", "B", "A"] as const;

/** A document's words with their places and weights: `'cat':3 'fat':2,4A`. */
export const tsvector: TypeCodec<string> = {
  name: "tsvector",
  oid: 3614,
  arrayOid: 3643,
  decodeText: text,
  decodeBinary: tsvectorBinary,
  encode: (value) => encodeUntyped(value, "tsvector"),
};

export const tsquery: TypeCodec<string> = textOnly("tsquery", 3615, 3645);
/** A row as a value, of whatever columns: `(1,"two words",)`. */
export const record: TypeCodec<string> = textOnly("record", 2249, 2287);
/** Has no binary format at all. */
export const aclitem: TypeCodec<string> = textOnly("aclitem", 1033, 1034);

/**
 * A type of which only the text format is read. In binary format a value is an OperationError `client.bad_value`
 * (0A000).
 */
function textOnly(name: string, oid: number, arrayOid: number): TypeCodec<string> {
  return {
    name,
    oid,
    arrayOid,
    decodeText: text,
    decodeBinary() {
      throw unfitValue(
        name,
        "only its text format is",
        "Ask for the text format, or cast it to text.",
        "0A000",
      );
    },
    encode: (value) => encodeUntyped(value, name),
  };
}

/** tsvectorsend: the number of words; for each its text and a zero byte, the number of its places, the places. */
function tsvectorBinary(buffer: Buffer, start: number, end: number): string {
  const count = end - start < 4 ? -1 : buffer.readInt32BE(start);
  // Each word takes at least its zero byte and a number of places.
  if (count < 0 || count > (end - start - 4) / 3) throw malformedValue("tsvector", "binary");
  const words: string[] = [];
  let at = start + 4;
  for (let index = 0; index < count; index++) {
    const wordEnd = buffer.indexOf(0, at);
    if (wordEnd === -1 || wordEnd + 3 > end) throw malformedValue("tsvector", "binary");
    const word = text(buffer, at, wordEnd).replace(/['\\]/g, "$&$&");
    const placesEnd = wordEnd + 3 + 2 * buffer.readUInt16BE(wordEnd + 1);
    if (placesEnd > end) throw malformedValue("tsvector", "binary");
    const places: string[] = [];
    for (at = wordEnd + 3; at < placesEnd; at += 2) {
      const place = buffer.readUInt16BE(at);
      places.push(`${place & 0x3fff}${weights[place >> 14]}`);
    }
    words.push(places.length === 0 ? `'${word}'` : `'${word}':${places.join(",")}`);
  }
  if (at !== end) throw malformedValue("tsvector", "binary");
  return words.join(" ");
}
