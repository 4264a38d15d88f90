/** Rows whose types the caller states, column by column. */
import type { TypeCodec } from "./codec.ts";

/** Marks a codec of a column that is never NULL. Only the compiler sees it. */
declare const neverNull: unique symbol;

export interface NonNullCodec<T> extends TypeCodec<T> {
  readonly [neverNull]: true;
}

/**
 * Says that a column is never NULL, so that its type is without `| null`. Nothing checks it: a column that is NULL
 * all the same gives null.
 */
export function nonNull<T>(codec: TypeCodec<T>): NonNullCodec<T> {
  return codec as NonNullCodec<T>;
}

/** The row that columns make: `{ id: nonNull(int4), name: text }` is `{ id: number; name: string | null }`. */
export type DecodedRow<Columns extends Readonly<Record<string, TypeCodec>>> = {
  [Name in keyof Columns]: Columns[Name] extends NonNullCodec<infer T>
    ? T
    : Columns[Name] extends TypeCodec<infer T>
      ? T | null
      : never;
};
