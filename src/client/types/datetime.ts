/**
 * Dates and points in time. PostgreSQL keeps microseconds and goes from 4713 BC to the year 294276 (docs 8.5); it
 * writes them as text by its settings DateStyle and TimeZone. Read here is the style ISO, in any time zone.
 *
 * A date and a timestamp without a zone are no points in time, so they stay texts. `infinity` is the number.
 */
import { dateOfDays, dateText, daysOfDate, isBC, postgresEpochDays, timestampText } from "./calendar.ts";
import type { TypeCodec } from "./codec.ts";
import { badParameter, malformedValue, refuse } from "./failures.ts";
import { bigIntegerBinary, countDigits, digits, equals, latin1 } from "./spans.ts";
import { instantText, Timestamp } from "./timestamp.ts";

const dash = 0x2d;
const plus = 0x2b;
const colon = 0x3a;
const point = 0x2e;
const blank = 0x20;
const letterB = 0x42;
const styleHint = "Set DateStyle to ISO; the client cannot read the other styles.";
const unixMicrosecondsOfEpoch = 946_684_800_000_000n;
/** The binary formats of infinity and -infinity. */
const dayMax = 0x7fff_ffff;
const dayMin = -0x8000_0000;
const int8High = { max: 0x7fff_ffff, min: -0x8000_0000 } as const;

/** A date as `YYYY-MM-DD`, with ` BC` where it is. */
export const date: TypeCodec<string | number> = {
  name: "date",
  oid: 1082,
  arrayOid: 1182,
  decodeText: (buffer, start, end) => isoText(buffer, start, end, "date"),
  decodeBinary(buffer, start, end) {
    if (end - start !== 4) throw malformedValue("date", "binary");
    const days = buffer.readInt32BE(start);
    if (days === dayMax) return Number.POSITIVE_INFINITY;
    if (days === dayMin) return Number.NEGATIVE_INFINITY;
    const civil = dateOfDays(days + postgresEpochDays);
    return isBC(civil) ? `${dateText(civil)} BC` : dateText(civil);
  },
  encode: (value) => encodeInstant(value, "date"),
};

/** A date and a time of no zone, as PostgreSQL writes them: `YYYY-MM-DD HH:MM:SS[.ffffff]`. */
export const timestamp: TypeCodec<string | number> = {
  name: "timestamp",
  oid: 1114,
  arrayOid: 1115,
  decodeText: (buffer, start, end) => isoText(buffer, start, end, "timestamp"),
  decodeBinary(buffer, start, end) {
    const microseconds = microsecondsBinary(buffer, start, end, "timestamp");
    return typeof microseconds === "number" ? microseconds : timestampText(microseconds, "");
  },
  encode: (value) => encodeInstant(value, "timestamp"),
};

/** A point in time. */
export const timestamptz: TypeCodec<Timestamp | number> = {
  name: "timestamptz",
  oid: 1184,
  arrayOid: 1185,
  decodeText(buffer, start, end) {
    return parseInstant(buffer, start, end, true) ?? infinity(buffer, start, end, "timestamptz");
  },
  decodeBinary(buffer, start, end) {
    if (end - start !== 8) throw malformedValue("timestamptz", "binary");
    const high = buffer.readInt32BE(start);
    if (high >= -0x10_0000 && high < 0x10_0000) {
      // Up to the year 2142 the microseconds are exact as a number.
      const microseconds = high * 0x1_0000_0000 + buffer.readUInt32BE(start + 4);
      const milliseconds = Math.floor(microseconds / 1000);
      return new Timestamp(milliseconds + 946_684_800_000, microseconds - milliseconds * 1000);
    }
    const exact = microsecondsBinary(buffer, start, end, "timestamptz");
    return typeof exact === "number" ? exact : Timestamp.fromEpochMicroseconds(exact);
  },
  encode: (value) => encodeInstant(value, "timestamptz"),
};

/** Microseconds since 1970-01-01, or ±Infinity. */
export function microsecondsBinary(
  buffer: Buffer,
  start: number,
  end: number,
  type: string,
): bigint | number {
  if (end - start !== 8) throw malformedValue(type, "binary");
  const high = buffer.readInt32BE(start);
  const low = buffer.readUInt32BE(start + 4);
  if (high === int8High.max && low === 0xffff_ffff) return Number.POSITIVE_INFINITY;
  if (high === int8High.min && low === 0) return Number.NEGATIVE_INFINITY;
  return bigIntegerBinary(buffer, start) + unixMicrosecondsOfEpoch;
}

/**
 * The point in time of `YYYY-MM-DD HH:MM:SS[.ffffff]`, with an offset behind it if `zoned` (else it is taken as
 * UTC), and with ` BC` perhaps; undefined for anything else.
 */
export function parseInstant(
  buffer: Buffer,
  start: number,
  end: number,
  zoned: boolean,
): Timestamp | undefined {
  const yearDigits = countDigits(buffer, start, end);
  let at = start + yearDigits;
  // From the end of the year: -MM-DD HH:MM:SS
  if (yearDigits < 4 || yearDigits > 6 || end - at < 15) return undefined;
  const shape =
    buffer[at] === dash &&
    buffer[at + 3] === dash &&
    buffer[at + 6] === blank &&
    buffer[at + 9] === colon &&
    buffer[at + 12] === colon;
  if (!shape) return undefined;
  const shownYear = digits(buffer, start, yearDigits);
  const month = digits(buffer, at + 1, 2);
  const day = digits(buffer, at + 4, 2);
  const minutes = digits(buffer, at + 7, 2) * 60 + digits(buffer, at + 10, 2);
  const seconds = minutes * 60 + digits(buffer, at + 13, 2);
  at += 15;
  let fraction = 0;
  if (at < end && buffer[at] === point) {
    const count = countDigits(buffer, at + 1, end);
    if (count < 1 || count > 6) return undefined;
    fraction = digits(buffer, at + 1, count) * (powersOfTen[6 - count] as number);
    at += 1 + count;
  }
  const era = end - at >= 3 && buffer[end - 2] === letterB && buffer[end - 3] === blank ? end - 3 : end;
  const offset = zoned ? offsetSeconds(buffer, at, era) : at === era ? 0 : Number.NaN;
  const year = era === end ? shownYear : 1 - shownYear;
  // Whatever was no digit is NaN by now, and so is the sum.
  const total = daysOfDate(year, month, day) * 86_400 + seconds - offset;
  if (Number.isNaN(total)) return undefined;
  const milliseconds = Math.floor(fraction / 1000);
  const microseconds = fraction - milliseconds * 1000;
  // A number has no room for milliseconds beyond this, and neither has a Date.
  if (Math.abs(total) >= 8_640_000_000_000)
    return new Timestamp(BigInt(total) * 1000n + BigInt(milliseconds), microseconds);
  return new Timestamp(total * 1000 + milliseconds, microseconds);
}

/** ±Infinity for PostgreSQL's words for them. @throws PeerError for anything else. */
export function infinity(buffer: Buffer, start: number, end: number, type: string): number {
  if (equals(buffer, start, end, "infinity")) return Number.POSITIVE_INFINITY;
  if (equals(buffer, start, end, "-infinity")) return Number.NEGATIVE_INFINITY;
  throw malformedValue(type, "text", styleHint);
}

/** `±HH[:MM[:SS]]` or nothing else, in seconds east of Greenwich; NaN if it is anything else. */
function offsetSeconds(buffer: Buffer, start: number, end: number): number {
  const length = end - start;
  const sign = buffer[start];
  if ((length !== 3 && length !== 6 && length !== 9) || (sign !== plus && sign !== dash)) return Number.NaN;
  let seconds = digits(buffer, start + 1, 2) * 3600;
  if (length >= 6) {
    if (buffer[start + 3] !== colon) return Number.NaN;
    seconds += digits(buffer, start + 4, 2) * 60;
  }
  if (length === 9) {
    if (buffer[start + 6] !== colon) return Number.NaN;
    seconds += digits(buffer, start + 7, 2);
  }
  return sign === dash ? -seconds : seconds;
}

/** The text as it came, if it begins as a date in the style ISO does. */
function isoText(buffer: Buffer, start: number, end: number, type: string): string | number {
  const yearDigits = countDigits(buffer, start, end);
  const at = start + yearDigits;
  if (yearDigits >= 4 && end - at >= 6 && buffer[at] === dash && buffer[at + 3] === dash) {
    return latin1(buffer, start, end);
  }
  return infinity(buffer, start, end, type);
}

/** For a type without a zone the text is UTC's too: PostgreSQL leaves out the offset. */
function encodeInstant(value: unknown, type: string): string {
  if (value instanceof Date) {
    const text = instantText(value);
    if (text === undefined) throw badParameter(type, "an invalid Date");
    return text;
  }
  if (typeof value === "string") return value;
  if (value === Number.POSITIVE_INFINITY) return "infinity";
  if (value === Number.NEGATIVE_INFINITY) return "-infinity";
  throw refuse(type, value);
}

const powersOfTen: readonly number[] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000];
