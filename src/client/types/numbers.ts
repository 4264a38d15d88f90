/**
 * Integers, object and transaction identifiers, floating point numbers, and truth values.
 *
 * What fits a number without loss is one; the 64-bit types are bigints. A parameter is checked against the
 * type's range, because a text that is out of range would fail on the server with the value in its message.
 */
import type { Decode, TypeCodec } from "./codec.ts";
import { badParameter, malformedValue, refuse } from "./failures.ts";
import { bigInteger, bigIntegerBinary, equals, latin1, smallInteger } from "./spans.ts";
import { numberText } from "./untyped.ts";

const letterT = 0x74;
const letterF = 0x66;

/** A byte in both formats: `t` and `f`, or 1 and 0. */
export const bool: TypeCodec<boolean> = {
  name: "bool",
  oid: 16,
  arrayOid: 1000,
  decodeText(buffer, start, end) {
    if (end - start === 1) {
      const byte = buffer[start];
      if (byte === letterT) return true;
      if (byte === letterF) return false;
    }
    throw malformedValue("bool", "text");
  },
  decodeBinary(buffer, start, end) {
    if (end - start !== 1) throw malformedValue("bool", "binary");
    return buffer[start] !== 0;
  },
  encode(value) {
    if (typeof value === "boolean") return value ? "true" : "false";
    if (typeof value === "string") return value;
    throw refuse("bool", value);
  },
};

export const int2: TypeCodec<number> = integer("int2", 21, 1005, -0x8000, 0x7fff, int2Binary);
export const int4: TypeCodec<number> = integer("int4", 23, 1007, -0x8000_0000, 0x7fff_ffff, int4Binary);
export const oid: TypeCodec<number> = unsigned("oid", 26, 1028);
export const xid: TypeCodec<number> = unsigned("xid", 28, 1011);
export const cid: TypeCodec<number> = unsigned("cid", 29, 1012);

export const int8: TypeCodec<bigint> = bigIntegers("int8", 20, 1016, -(2n ** 63n), 2n ** 63n - 1n);
/** A transaction identifier with its epoch. */
export const xid8: TypeCodec<bigint> = bigIntegers("xid8", 5069, 271, 0n, 2n ** 64n - 1n);

/**
 * The number that prints as PostgreSQL prints the value: `0.1`, not 0.10000000149011612. Both are the same
 * value of float4.
 */
export const float4: TypeCodec<number> = {
  name: "float4",
  oid: 700,
  arrayOid: 1021,
  decodeText: floatText("float4"),
  decodeBinary(buffer, start, end) {
    if (end - start !== 4) throw malformedValue("float4", "binary");
    const powerOfTwo =
      (buffer[start + 1]! & 0x7f) === 0 && buffer[start + 2] === 0 && buffer[start + 3] === 0;
    return shortestFloat4(buffer.readFloatBE(start), powerOfTwo);
  },
  encode: floatEncode("float4"),
};

export const float8: TypeCodec<number> = {
  name: "float8",
  oid: 701,
  arrayOid: 1022,
  decodeText: floatText("float8"),
  decodeBinary(buffer, start, end) {
    if (end - start !== 8) throw malformedValue("float8", "binary");
    return buffer.readDoubleBE(start);
  },
  encode: floatEncode("float8"),
};

function integer(
  name: string,
  typeOid: number,
  arrayOid: number,
  min: number,
  max: number,
  decodeBinary: Decode<number>,
): TypeCodec<number> {
  return {
    name,
    oid: typeOid,
    arrayOid,
    decodeText(buffer, start, end) {
      const value = smallInteger(buffer, start, end);
      if (Number.isNaN(value)) throw malformedValue(name, "text");
      return value;
    },
    decodeBinary,
    encode(value) {
      if (typeof value === "number" ? Number.isInteger(value) : typeof value === "bigint") {
        if ((value as number) < min || (value as number) > max) throw outOfRange(name);
        return String(value);
      }
      if (typeof value === "string") return value;
      throw refuse(name, value);
    },
  };
}

function int2Binary(buffer: Buffer, start: number, end: number): number {
  if (end - start !== 2) throw malformedValue("int2", "binary");
  return ((buffer[start]! << 24) >> 16) | buffer[start + 1]!;
}

function int4Binary(buffer: Buffer, start: number, end: number): number {
  if (end - start !== 4) throw malformedValue("int4", "binary");
  return (buffer[start]! << 24) | (buffer[start + 1]! << 16) | (buffer[start + 2]! << 8) | buffer[start + 3]!;
}

/** The types of 32 bits without a sign. */
function unsigned(name: string, typeOid: number, arrayOid: number): TypeCodec<number> {
  return integer(name, typeOid, arrayOid, 0, 0xffff_ffff, (buffer, start, end) => {
    if (end - start !== 4) throw malformedValue(name, "binary");
    return buffer.readUInt32BE(start);
  });
}

function bigIntegers(
  name: string,
  typeOid: number,
  arrayOid: number,
  min: bigint,
  max: bigint,
): TypeCodec<bigint> {
  return {
    name,
    oid: typeOid,
    arrayOid,
    decodeText(buffer, start, end) {
      const value = bigInteger(buffer, start, end);
      if (value === undefined) throw malformedValue(name, "text");
      return value;
    },
    decodeBinary(buffer, start, end) {
      if (end - start !== 8) throw malformedValue(name, "binary");
      return min === 0n ? buffer.readBigUInt64BE(start) : bigIntegerBinary(buffer, start);
    },
    encode(value) {
      if (typeof value === "bigint") {
        if (value < min || value > max) throw outOfRange(name);
        return String(value);
      }
      if (typeof value === "number" && Number.isInteger(value)) {
        // Beyond this a number may already be another one than was meant.
        if (!Number.isSafeInteger(value)) throw badParameter(name, "a number that is not exact", "22003");
        if (BigInt(value) < min) throw outOfRange(name);
        return String(value);
      }
      if (typeof value === "string") return value;
      throw refuse(name, value);
    },
  };
}

function outOfRange(name: string): Error {
  return badParameter(name, "a number out of its range", "22003");
}

function floatText(name: string): Decode<number> {
  return (buffer, start, end) => {
    const length = end - start;
    const small = length <= 15 ? smallInteger(buffer, start, end) : Number.NaN;
    // "-0" is the one integer that needs the slower way: its digits alone give 0.
    if (small === small && small !== 0) return small;
    if (equals(buffer, start, end, "NaN")) return Number.NaN;
    const value = length === 0 ? Number.NaN : Number(latin1(buffer, start, end));
    if (Number.isNaN(value)) throw malformedValue(name, "text");
    return value;
  };
}

function floatEncode(name: string): (value: unknown) => string {
  return (value) => {
    if (typeof value === "number") return numberText(value);
    if (typeof value === "bigint") return String(value);
    if (typeof value === "string") return value;
    throw refuse(name, value);
  };
}

/**
 * The decimal of the fewest digits that is nearer to `value` than to any other float4. Above a power of two the
 * next float4 is twice as far as below, so there the nearest decimal may fail and the one above it not.
 */
function shortestFloat4(value: number, powerOfTwo: boolean): number {
  if (value === 0 || !Number.isFinite(value) || (Math.abs(value) < 0x100_0000 && Number.isInteger(value))) {
    return value;
  }
  // Nine digits are always enough.
  for (let precision = 1; precision < 9; precision++) {
    const candidate = Number(value.toPrecision(precision));
    if (isNearest(candidate, value)) return evenOfTwo(value, precision, candidate);
    if (!powerOfTwo) continue;
    const [mantissa = "", exponent = ""] = value.toExponential(precision - 1).split("e");
    const above = Number(
      `${Number(mantissa.replace(".", "")) + Math.sign(value)}e${Number(exponent) - precision + 1}`,
    );
    if (isNearest(above, value)) return above;
  }
  return Number(value.toPrecision(9));
}

/** Whether a decimal is nearer to this float4 than to all others. Midway, it would be no further from another one. */
function isNearest(decimal: number, value: number): boolean {
  const mirrored = 2 * decimal - value;
  return Math.fround(decimal) === value && (decimal === value || Math.fround(mirrored) !== mirrored);
}

/** Of two decimals that are equally near PostgreSQL writes the even one, and toPrecision the one further from 0. */
function evenOfTwo(value: number, precision: number, candidate: number): number {
  const [mantissa = "", exponent = ""] = value.toExponential(precision).split("e");
  if (!mantissa.endsWith("5") || Number(`${mantissa}e${exponent}`) !== value) return candidate;
  const nearerZero = mantissa.slice(0, -1);
  const even = Number(nearerZero.at(-1)) % 2 === 0;
  const other = Number(`${nearerZero}e${exponent}`);
  return even && isNearest(other, value) ? other : candidate;
}
