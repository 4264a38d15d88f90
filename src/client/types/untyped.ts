/**
 * Parameters whose type is not known: the server will tell it from the statement, so the text has to be one that
 * means the same for every type that could be meant.
 */
import { arrayText } from "./array-text.ts";
import { badParameter, refuse } from "./failures.ts";
import { Range, rangeText } from "./range.ts";
import { instantText } from "./timestamp.ts";

/**
 * A value as a parameter by what it is in JavaScript: a string as it is, numbers in the fewest digits that are
 * exact, `true` and `false`, points in time in UTC, bytes in binary format, arrays and ranges in PostgreSQL's
 * notation, all other objects as JSON. `type` is for the text of an error.
 *
 * @throws OperationError `client.bad_parameter` (22023) for what is none of these.
 */
export function encodeUntyped(value: unknown, type = "unknown"): string | Uint8Array {
  switch (typeof value) {
    case "string":
      return value;
    case "number":
      return numberText(value);
    case "bigint":
      return String(value);
    case "boolean":
      return value ? "true" : "false";
    case "object":
      if (value !== null) return encodeObject(value, type);
      throw refuse(type, value);
    default:
      throw refuse(type, value);
  }
}

/** The exact value: -0 with its sign, and all digits of an integer that has more than a number shows. */
export function numberText(value: number): string {
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  // From 2^53 on String gives the fewest digits that read back the same, which for an integer type are others.
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21) {
    return BigInt(value).toString();
  }
  return String(value);
}

/** The bytes of a view or an ArrayBuffer, not copied; undefined if `value` is none. */
export function bytesOf(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  if (value instanceof DataView) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return undefined;
}

/** An array, or a view of numbers as one; undefined if `value` is neither. */
export function elementsOf(value: unknown): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value as readonly unknown[];
  if (!ArrayBuffer.isView(value) || value instanceof Uint8Array || value instanceof DataView)
    return undefined;
  return Array.from(value as unknown as ArrayLike<number | bigint>);
}

/** PostgreSQL's hex notation of bytes (docs 8.4.1). */
export function hexText(bytes: Uint8Array): string {
  return `\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex")}`;
}

/**
 * A value as JSON.
 *
 * @throws OperationError `client.bad_parameter` if there is no JSON for it, or none that tells what it holds.
 */
export function jsonText(value: unknown, type: string): string {
  // A number of JSON may have any digits; within an object JSON.stringify refuses one.
  if (typeof value === "bigint") return String(value);
  if (typeof value === "object" && value !== null && !("toJSON" in value) && tellsNothing(value)) {
    throw refuse(type, value);
  }
  // JSON has no such numbers; JSON.stringify would write null.
  if (typeof value === "number" && !Number.isFinite(value)) throw refuse(type, value);
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // What the engine says would tell names of properties.
    throw badParameter(type, "a value that JSON cannot hold, such as a cycle or a bigint");
  }
  if (text === undefined) throw refuse(type, value);
  return text;
}

function encodeObject(value: object, type: string): string | Uint8Array {
  if (value instanceof Date) {
    const text = instantText(value);
    if (text === undefined) throw badParameter(type, "an invalid Date");
    return text;
  }
  const bytes = bytesOf(value);
  if (bytes !== undefined) return bytes;
  const elements = elementsOf(value);
  const textOf = (part: unknown): string => untypedText(part, type);
  if (elements !== undefined) return arrayText(elements, textOf, ",", false);
  if (value instanceof Range) return rangeText(value, textOf);
  return jsonText(value, type);
}

/** As {@link encodeUntyped}, for what stands within a text. */
function untypedText(value: unknown, type: string): string {
  const encoded = encodeUntyped(value, type);
  return typeof encoded === "string" ? encoded : hexText(encoded);
}

/** Objects of which JSON would be `{}`, whatever they hold. */
function tellsNothing(value: object): boolean {
  return [Map, Set, WeakMap, WeakSet, Promise, RegExp, Error].some((type) => value instanceof type);
}
