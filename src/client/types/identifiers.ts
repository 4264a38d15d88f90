/** Types that name things inside PostgreSQL, and uuid. All are texts. */
import type { Decode, TypeCodec } from "./codec.ts";
import { malformedValue, refuse } from "./failures.ts";
import { latin1, text } from "./spans.ts";

/** A type that only a string can be a parameter for. */
export function stringOnly(
  name: string,
  oid: number,
  arrayOid: number,
  decodeText: Decode<string>,
  decodeBinary: Decode<string>,
): TypeCodec<string> {
  return {
    name,
    oid,
    arrayOid,
    decodeText,
    decodeBinary,
    encode(value) {
      if (typeof value === "string") return value;
      throw refuse(name, value);
    },
  };
}

export const uuid: TypeCodec<string> = stringOnly("uuid", 2950, 2951, latin1, (buffer, start, end) => {
  if (end - start !== 16) throw malformedValue("uuid", "binary");
  const hex = buffer.toString("hex", start, end);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
});

/** A place in the write-ahead log: two hexadecimal numbers. */
export const pg_lsn: TypeCodec<string> = stringOnly("pg_lsn", 3220, 3221, latin1, (buffer, start, end) => {
  if (end - start !== 8) throw malformedValue("pg_lsn", "binary");
  const half = (at: number): string => buffer.readUInt32BE(at).toString(16).toUpperCase();
  return `${half(start)}/${half(start + 4)}`;
});

/** A row's place in its table: block and item. */
export const tid: TypeCodec<string> = stringOnly("tid", 27, 1010, latin1, (buffer, start, end) => {
  if (end - start !== 6) throw malformedValue("tid", "binary");
  return `(${buffer.readUInt32BE(start)},${buffer.readUInt16BE(start + 4)})`;
});

/** Which transactions a snapshot sees: `xmin:xmax:xip,…`. */
export const pg_snapshot: TypeCodec<string> = snapshot("pg_snapshot", 5038, 5039);
export const txid_snapshot: TypeCodec<string> = snapshot("txid_snapshot", 2970, 2949);

/**
 * Names of things in the catalogues. The text format has the name; the binary format only the object identifier,
 * which is given as its digits.
 */
export const registered: readonly TypeCodec<string>[] = [
  regType("regproc", 24, 1008),
  regType("regprocedure", 2202, 2207),
  regType("regoper", 2203, 2208),
  regType("regoperator", 2204, 2209),
  regType("regclass", 2205, 2210),
  regType("regtype", 2206, 2211),
  regType("regconfig", 3734, 3735),
  regType("regdictionary", 3769, 3770),
  regType("regnamespace", 4089, 4090),
  regType("regrole", 4096, 4097),
  regType("regcollation", 4191, 4192),
];

function snapshot(name: string, oid: number, arrayOid: number): TypeCodec<string> {
  return stringOnly(name, oid, arrayOid, latin1, (buffer, start, end) => {
    const count = end - start < 20 ? -1 : buffer.readInt32BE(start);
    if (count < 0 || end - start !== 20 + 8 * count) throw malformedValue(name, "binary");
    const number = (index: number): string => buffer.readBigInt64BE(start + 4 + 8 * index).toString();
    const running = Array.from({ length: count }, (_, index) => number(index + 2));
    return `${number(0)}:${number(1)}:${running.join(",")}`;
  });
}

function regType(name: string, oid: number, arrayOid: number): TypeCodec<string> {
  return {
    name,
    oid,
    arrayOid,
    decodeText: text,
    decodeBinary(buffer, start, end) {
      if (end - start !== 4) throw malformedValue(name, "binary");
      return String(buffer.readUInt32BE(start));
    },
    encode(value) {
      if (typeof value === "string") return value;
      if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) {
        return String(value);
      }
      throw refuse(name, value);
    },
  };
}
