/**
 * All codecs under one roof, which callers see as `types`: those of the built-in types under PostgreSQL's names,
 * their alternatives, and the makers of further ones.
 */
export {
  int8AsNumber,
  int8AsString,
  numericAsNumber,
  timestampAsDate,
  timestamptzAsDate,
  timestamptzAsMicroseconds,
  timestamptzAsString,
} from "./alternatives.ts";
export { arrayOf, listOf } from "./arrays.ts";
export { bit, varbit } from "./bits.ts";
export {
  datemultirange,
  daterange,
  int2vector,
  int4multirange,
  int4range,
  int8multirange,
  int8range,
  nummultirange,
  numrange,
  oidvector,
  tsmultirange,
  tsrange,
  tstzmultirange,
  tstzrange,
} from "./builtin.ts";
export { bytea, byteaAsHex } from "./bytes.ts";
export { interval, time, timetz } from "./clock.ts";
export { date, timestamp, timestamptz } from "./datetime.ts";
export { nonNull } from "./decoded-row.ts";
export { box, circle, line, lseg, path, point, polygon } from "./geometric.ts";
export { pg_lsn, pg_snapshot, tid, txid_snapshot, uuid } from "./identifiers.ts";
export { json, jsonAsText, jsonb, jsonbAsText } from "./json.ts";
export { cidr, inet, macaddr, macaddr8 } from "./network.ts";
export { bool, cid, float4, float8, int2, int4, int8, oid, xid, xid8 } from "./numbers.ts";
export { money, numeric } from "./numeric.ts";
export { multirangeOf, rangeOf } from "./ranges.ts";
export { aclitem, record, tsquery, tsvector } from "./search.ts";
export {
  bpchar,
  char,
  cstring,
  jsonpath,
  name,
  refcursor,
  text,
  textual,
  unknown,
  varchar,
  void_ as void,
  xml,
} from "./text.ts";
