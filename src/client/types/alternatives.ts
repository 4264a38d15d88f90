/**
 * Codecs beside the defaults, for TypeRegistry.extend. What one of them cannot hold is an error, not another value.
 */
import { timestampText } from "./calendar.ts";
import type { TypeCodec } from "./codec.ts";
import { infinity, microsecondsBinary, parseInstant, timestamp, timestamptz } from "./datetime.ts";
import { malformedValue, unfitValue } from "./failures.ts";
import { int8 } from "./numbers.ts";
import { numeric } from "./numeric.ts";
import { latin1 } from "./spans.ts";
import type { Timestamp } from "./timestamp.ts";

/** A number up to 2^53; beyond, OperationError `client.bad_value` (22003). */
export const int8AsNumber: TypeCodec<number> = {
  ...int8,
  decodeText: (buffer, start, end) => safeNumber(int8.decodeText(buffer, start, end)),
  decodeBinary: (buffer, start, end) => safeNumber(int8.decodeBinary(buffer, start, end)),
};

export const int8AsString: TypeCodec<string> = {
  ...int8,
  decodeText: latin1,
  decodeBinary: (buffer, start, end) => String(int8.decodeBinary(buffer, start, end)),
};

/** The number nearest to it: digits beyond the sixteenth are lost, as they are in every number. */
export const numericAsNumber: TypeCodec<number> = {
  ...numeric,
  decodeText: (buffer, start, end) => numericNumber(numeric.decodeText(buffer, start, end)),
  decodeBinary: (buffer, start, end) => numericNumber(numeric.decodeBinary(buffer, start, end)),
};

/** A plain Date: the microseconds are lost. Infinity, and what lies beyond a Date, is an error (22008). */
export const timestamptzAsDate: TypeCodec<Date> = {
  ...timestamptz,
  decodeText: (buffer, start, end) => plainDate("timestamptz", timestamptz.decodeText(buffer, start, end)),
  decodeBinary: (buffer, start, end) =>
    plainDate("timestamptz", timestamptz.decodeBinary(buffer, start, end)),
};

/** The text as the server writes it, in the session's TimeZone; from the binary format in UTC. */
export const timestamptzAsString: TypeCodec<string> = {
  ...timestamptz,
  decodeText: latin1,
  decodeBinary(buffer, start, end) {
    const microseconds = microsecondsBinary(buffer, start, end, "timestamptz");
    if (typeof microseconds === "number") return microseconds > 0 ? "infinity" : "-infinity";
    return timestampText(microseconds, "+00");
  },
};

/** Microseconds since 1970-01-01 UTC; also as a parameter. Infinity is an error (22008). */
export const timestamptzAsMicroseconds: TypeCodec<bigint> = {
  ...timestamptz,
  decodeText: (buffer, start, end) => finite(timestamptz.decodeText(buffer, start, end)),
  decodeBinary(buffer, start, end) {
    const microseconds = microsecondsBinary(buffer, start, end, "timestamptz");
    if (typeof microseconds === "number") throw noPoint("timestamptz");
    return microseconds;
  },
  encode: (value) => (typeof value === "bigint" ? timestampText(value, "+00") : timestamptz.encode(value)),
};

/** A timestamp without a zone taken as one of UTC, as a plain Date; the rest as {@link timestamptzAsDate}. */
export const timestampAsDate: TypeCodec<Date> = {
  ...timestamp,
  decodeText(buffer, start, end) {
    const value = parseInstant(buffer, start, end, false) ?? infinity(buffer, start, end, "timestamp");
    return plainDate("timestamp", value);
  },
  decodeBinary: (buffer, start, end) => plainDate("timestamp", timestamptz.decodeBinary(buffer, start, end)),
};

function safeNumber(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw unfitValue("int8", "a number does not hold it exactly", "Use int8 (bigint) or int8AsString.");
}

function numericNumber(text: string): number {
  const value = text === "" ? Number.NaN : Number(text);
  if (Number.isNaN(value) && text !== "NaN") throw malformedValue("numeric", "text");
  return value;
}

function plainDate(type: string, value: Timestamp | number): Date {
  if (typeof value === "number" || value.beyondDate) throw noPoint(type);
  return new Date(value.getTime());
}

function finite(value: Timestamp | number): bigint {
  if (typeof value === "number") throw noPoint("timestamptz");
  return value.epochMicroseconds;
}

function noPoint(type: string): Error {
  return unfitValue(
    type,
    "it is infinite or beyond what a Date reaches",
    `Use the default codec of ${type}.`,
    "22008",
  );
}
