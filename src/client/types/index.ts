/** The face of this folder: codecs, the registry of them, and the classes that values become. */
export type { ArrayValue } from "./arrays.ts";
export * as types from "./catalogue.ts";
export type { Decode, DecodedType, TypeCodec } from "./codec.ts";
export { type DecodedRow, type NonNullCodec, nonNull } from "./decoded-row.ts";
export { Range } from "./range.ts";
export type { RangeType } from "./ranges.ts";
export { TypeRegistry } from "./registry.ts";
export { Timestamp } from "./timestamp.ts";
