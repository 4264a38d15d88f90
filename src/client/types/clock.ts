/**
 * Times of day and intervals, as texts. From the binary formats they get the text that the server writes, for an
 * interval that of IntervalStyle postgres; as text they stay what the server wrote, whatever its style.
 */
import { clockText, secondsText, two } from "./calendar.ts";
import type { TypeCodec } from "./codec.ts";
import { malformedValue, refuse } from "./failures.ts";
import { stringOnly } from "./identifiers.ts";
import { latin1 } from "./spans.ts";

const dayMicroseconds = 86_400_000_000;
const hourMicroseconds = 3_600_000_000n;
const int4Max = 0x7fff_ffff;
const int8Max = 2n ** 63n - 1n;

/** `HH:MM:SS[.ffffff]`, up to 24:00:00. */
export const time: TypeCodec<string> = stringOnly("time", 1083, 1183, latin1, (buffer, start, end) => {
  if (end - start !== 8) throw malformedValue("time", "binary");
  return clockText(timeOfDay(buffer, start, "time"));
});

/** As {@link time}, with the offset from UTC behind it. */
export const timetz: TypeCodec<string> = stringOnly("timetz", 1266, 1270, latin1, (buffer, start, end) => {
  if (end - start !== 12) throw malformedValue("timetz", "binary");
  // Counted to the west, and written to the east.
  const west = buffer.readInt32BE(start + 8);
  return clockText(timeOfDay(buffer, start, "timetz")) + offsetText(-west);
});

/** Months, days and time, which are counted apart: `1 year 2 mons 3 days 04:05:06.789`. */
export const interval: TypeCodec<string> = {
  name: "interval",
  oid: 1186,
  arrayOid: 1187,
  decodeText: latin1,
  decodeBinary: intervalBinary,
  encode(value) {
    if (typeof value === "string") return value;
    if (value === Number.POSITIVE_INFINITY) return "infinity";
    if (value === Number.NEGATIVE_INFINITY) return "-infinity";
    throw refuse("interval", value);
  },
};

function timeOfDay(buffer: Buffer, start: number, type: string): number {
  const microseconds = Number(buffer.readBigInt64BE(start));
  if (microseconds < 0 || microseconds > dayMicroseconds) throw malformedValue(type, "binary");
  return microseconds;
}

/** As EncodeTimezone of PostgreSQL's src/backend/utils/adt/datetime.c. */
function offsetText(secondsEast: number): string {
  const seconds = Math.abs(secondsEast);
  const minutes = Math.floor(seconds / 60);
  let text = `${secondsEast < 0 ? "-" : "+"}${two(Math.floor(minutes / 60))}`;
  if (seconds % 3600 !== 0) text += `:${two(minutes % 60)}`;
  return seconds % 60 === 0 ? text : `${text}:${two(seconds % 60)}`;
}

/** interval_send: microseconds, days, months. As EncodeInterval, a plus stands only behind something negative. */
function intervalBinary(buffer: Buffer, start: number, end: number): string {
  if (end - start !== 16) throw malformedValue("interval", "binary");
  const microseconds = buffer.readBigInt64BE(start);
  const days = buffer.readInt32BE(start + 8);
  const months = buffer.readInt32BE(start + 12);
  if (microseconds === int8Max && days === int4Max && months === int4Max) return "infinity";
  if (microseconds === -int8Max - 1n && days === -int4Max - 1 && months === -int4Max - 1) return "-infinity";
  const parts: string[] = [];
  let afterNegative = false;
  const add = (value: number, unit: string): void => {
    if (value === 0) return;
    parts.push(`${afterNegative && value > 0 ? "+" : ""}${value} ${unit}${value === 1 ? "" : "s"}`);
    afterNegative = value < 0;
  };
  add(Math.trunc(months / 12), "year");
  add(months % 12, "mon");
  add(days, "day");
  if (microseconds !== 0n || parts.length === 0) {
    const sign = microseconds < 0n ? "-" : afterNegative ? "+" : "";
    parts.push(sign + hoursText(microseconds < 0n ? -microseconds : microseconds));
  }
  return parts.join(" ");
}

/** `HH:MM:SS[.ffffff]` with as many hours as there are. */
function hoursText(microseconds: bigint): string {
  const rest = Number(microseconds % hourMicroseconds);
  const seconds = Math.floor(rest / 1_000_000);
  const hours = String(microseconds / hourMicroseconds).padStart(2, "0");
  return `${hours}:${two(Math.floor(seconds / 60))}:${secondsText(seconds % 60, rest % 1_000_000)}`;
}
