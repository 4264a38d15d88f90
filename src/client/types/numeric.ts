/** `numeric`: decimals of any length, as exact text. `money`: text too, in the server's lc_monetary. */
import type { TypeCodec } from "./codec.ts";
import { malformedValue, refuse, unfitValue } from "./failures.ts";
import { latin1, text } from "./spans.ts";
import { numberText } from "./untyped.ts";

/** Signs of PostgreSQL's src/backend/utils/adt/numeric.c. */
const negative = 0x4000;
const specials: ReadonlyMap<number, string> = new Map([
  [0xc000, "NaN"],
  [0xd000, "Infinity"],
  [0xf000, "-Infinity"],
]);
/** NUMERIC_DSCALE_MAX. */
const scaleMax = 0x3fff;
const headerBytes = 8;
/** Decimal digits in one digit of base 10,000. */
const digitWidth = 4;

export const numeric: TypeCodec<string> = {
  name: "numeric",
  oid: 1700,
  arrayOid: 1231,
  decodeText: latin1,
  decodeBinary: numericText,
  encode(value) {
    if (typeof value === "string") return value;
    if (typeof value === "number") return numberText(value);
    if (typeof value === "bigint") return String(value);
    throw refuse("numeric", value);
  },
};

/**
 * The amount as the server writes it, with its currency. The binary format does not tell how many digits stand
 * behind the point, so a value of it cannot be read.
 */
export const money: TypeCodec<string> = {
  name: "money",
  oid: 790,
  arrayOid: 791,
  decodeText: text,
  decodeBinary() {
    const reason = "its binary format does not tell the currency";
    throw unfitValue("money", reason, "Ask for the text format, or cast it to numeric.", "0A000");
  },
  encode(value) {
    if (typeof value === "string") return value;
    if (typeof value === "number" && Number.isFinite(value)) return numberText(value);
    if (typeof value === "bigint") return String(value);
    throw refuse("money", value);
  },
};

/**
 * numeric_send: the number of digits in base 10,000, the weight of the first, the sign, the digits shown behind
 * the point, then the digits.
 */
function numericText(buffer: Buffer, start: number, end: number): string {
  if (end - start < headerBytes) throw malformedValue("numeric", "binary");
  const count = buffer.readUInt16BE(start);
  const weight = buffer.readInt16BE(start + 2);
  const sign = buffer.readUInt16BE(start + 4);
  const scale = buffer.readUInt16BE(start + 6);
  if (end - start !== headerBytes + 2 * count) throw malformedValue("numeric", "binary");
  const special = specials.get(sign);
  if (special !== undefined) return special;
  if ((sign !== 0 && sign !== negative) || scale > scaleMax) throw malformedValue("numeric", "binary");
  const digit = (place: number): string => {
    const index = weight - place;
    if (index < 0 || index >= count) return "0000";
    const value = buffer.readUInt16BE(start + headerBytes + 2 * index);
    if (value > 9999) throw malformedValue("numeric", "binary");
    return String(value).padStart(digitWidth, "0");
  };
  let whole = "";
  for (let place = weight; place >= 0; place--) whole += digit(place);
  whole = whole.replace(/^0+(?=\d)/, "") || "0";
  let fraction = "";
  for (let place = -1; fraction.length < scale; place--) fraction += digit(place);
  const unsigned = scale === 0 ? whole : `${whole}.${fraction.slice(0, scale)}`;
  return sign === negative ? `-${unsigned}` : unsigned;
}
