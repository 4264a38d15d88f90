/**
 * `json` and `jsonb`. JSON.parse reads numbers as JavaScript's; where those are not enough, {@link jsonAsText} and
 * {@link jsonbAsText} leave the text to the caller.
 *
 * As a parameter any value is written as JSON, but for a string: that is the JSON text already, like every string
 * for every type. Were it written as a JSON string, a statement would store something else once the client has
 * learnt its parameters' types than before. For a JSON string use JSON.stringify.
 *
 * JSON's null decodes to null as SQL's does, and null as a parameter, or in an array, is SQL's; JSON's own goes as
 * the string `null`.
 */
import type { TypeCodec } from "./codec.ts";
import { malformedValue } from "./failures.ts";
import { text } from "./spans.ts";
import { jsonText } from "./untyped.ts";

export const json: TypeCodec = {
  name: "json",
  oid: 114,
  arrayOid: 199,
  arrayIsValue: true,
  decodeText: (buffer, start, end) => parse("json", "text", text(buffer, start, end)),
  decodeBinary: (buffer, start, end) => parse("json", "binary", text(buffer, start, end)),
  encode: (value) => (typeof value === "string" ? value : jsonText(value, "json")),
};

export const jsonb: TypeCodec = {
  name: "jsonb",
  oid: 3802,
  arrayOid: 3807,
  arrayIsValue: true,
  decodeText: (buffer, start, end) => parse("jsonb", "text", text(buffer, start, end)),
  decodeBinary: (buffer, start, end) => parse("jsonb", "binary", binaryText(buffer, start, end)),
  encode: (value) => (typeof value === "string" ? value : jsonText(value, "jsonb")),
};

/** The text as it came: every digit and, for `json`, every blank. */
export const jsonAsText: TypeCodec<string> = { ...json, decodeText: text, decodeBinary: text };
export const jsonbAsText: TypeCodec<string> = { ...jsonb, decodeText: text, decodeBinary: binaryText };

function parse(type: string, format: "text" | "binary", json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    // The engine's own words hold a piece of the value.
    throw malformedValue(type, format);
  }
}

/** jsonb_send puts a version in front, which is 1. */
function binaryText(buffer: Buffer, start: number, end: number): string {
  if (end <= start || buffer[start] !== 1) throw malformedValue("jsonb", "binary");
  return text(buffer, start + 1, end);
}
