/**
 * The types that every PostgreSQL has. Object identifiers of types are fixed: they come from PostgreSQL 18's
 * src/include/catalog/pg_type.dat, those of range types with pg_range.dat.
 */
import { vectorOf } from "./arrays.ts";
import { bit, varbit } from "./bits.ts";
import { bytea } from "./bytes.ts";
import { interval, time, timetz } from "./clock.ts";
import type { TypeCodec } from "./codec.ts";
import { date, timestamp, timestamptz } from "./datetime.ts";
import { box, circle, line, lseg, path, point, polygon } from "./geometric.ts";
import { pg_lsn, pg_snapshot, registered, tid, txid_snapshot, uuid } from "./identifiers.ts";
import { json, jsonb } from "./json.ts";
import { cidr, inet, macaddr, macaddr8 } from "./network.ts";
import { bool, cid, float4, float8, int2, int4, int8, oid, xid, xid8 } from "./numbers.ts";
import { money, numeric } from "./numeric.ts";
import type { Range } from "./range.ts";
import { multirangeOf, type RangeType, rangeOf } from "./ranges.ts";
import { aclitem, record, tsquery, tsvector } from "./search.ts";
import {
  bpchar,
  char,
  cstring,
  jsonpath,
  name,
  refcursor,
  text,
  unknown,
  varchar,
  void_,
  xml,
} from "./text.ts";
import type { Timestamp } from "./timestamp.ts";

export const int2vector: TypeCodec<number[]> = vectorOf("int2vector", 22, 1006, int2);
export const oidvector: TypeCodec<number[]> = vectorOf("oidvector", 30, 1013, oid);

/** A range type, its multirange type, and the type of their bounds. */
export interface RangeFamily {
  /** Object identifier of the type of the bounds. */
  readonly subtype: number;
  readonly range: RangeType;
  readonly multirange: RangeType;
}

const int4Family: RangeFamily = family(23, "int4", 3904, 3905, 4451, 6150);
const int8Family: RangeFamily = family(20, "int8", 3926, 3927, 4536, 6157);
const numericFamily: RangeFamily = family(1700, "num", 3906, 3907, 4532, 6151);
const timestampFamily: RangeFamily = family(1114, "ts", 3908, 3909, 4533, 6152);
const timestamptzFamily: RangeFamily = family(1184, "tstz", 3910, 3911, 4534, 6153);
const dateFamily: RangeFamily = family(1082, "date", 3912, 3913, 4535, 6155);

export const rangeFamilies: readonly RangeFamily[] = [
  ...[int4Family, int8Family, numericFamily, timestampFamily, timestamptzFamily, dateFamily],
];

export const int4range: TypeCodec<Range<number>> = rangeOf(int4, int4Family.range);
export const int8range: TypeCodec<Range<bigint>> = rangeOf(int8, int8Family.range);
export const numrange: TypeCodec<Range<string>> = rangeOf(numeric, numericFamily.range);
export const tsrange: TypeCodec<Range<string | number>> = rangeOf(timestamp, timestampFamily.range);
export const tstzrange: TypeCodec<Range<Timestamp | number>> = rangeOf(timestamptz, timestamptzFamily.range);
export const daterange: TypeCodec<Range<string | number>> = rangeOf(date, dateFamily.range);
export const int4multirange: TypeCodec<Range<number>[]> = multirangeOf(int4, int4Family.multirange);
export const int8multirange: TypeCodec<Range<bigint>[]> = multirangeOf(int8, int8Family.multirange);
export const nummultirange: TypeCodec<Range<string>[]> = multirangeOf(numeric, numericFamily.multirange);
export const tsmultirange: TypeCodec<Range<string | number>[]> = multirangeOf(
  timestamp,
  timestampFamily.multirange,
);
export const tstzmultirange: TypeCodec<Range<Timestamp | number>[]> = multirangeOf(
  timestamptz,
  timestamptzFamily.multirange,
);
export const datemultirange: TypeCodec<Range<string | number>[]> = multirangeOf(date, dateFamily.multirange);

/** All of them, but for arrays and ranges, which follow from these. */
export const builtinCodecs: readonly TypeCodec[] = [
  ...[bool, bytea, char, name, int8, int2, int2vector, int4, text, oid, tid, xid, cid, oidvector],
  ...[
    json,
    xml,
    xid8,
    float4,
    float8,
    unknown,
    money,
    bpchar,
    varchar,
    date,
    timestamp,
    timestamptz,
    numeric,
  ],
  ...[refcursor, uuid, jsonb, jsonpath, txid_snapshot, pg_snapshot, pg_lsn, cstring, void_, ...registered],
  ...[
    time,
    timetz,
    interval,
    inet,
    cidr,
    macaddr,
    macaddr8,
    bit,
    varbit,
    point,
    line,
    lseg,
    box,
    path,
    polygon,
  ],
  ...[circle, tsvector, tsquery, record, aclitem],
];

function family(
  subtype: number,
  prefix: string,
  range: number,
  rangeArray: number,
  multirange: number,
  multirangeArray: number,
): RangeFamily {
  return {
    subtype,
    range: { name: `${prefix}range`, oid: range, arrayOid: rangeArray },
    multirange: { name: `${prefix}multirange`, oid: multirange, arrayOid: multirangeArray },
  };
}
