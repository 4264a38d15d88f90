/** Rows whose types the caller states, column by column. */
import type { TypeCodec } from "./codec.ts";

export interface NonNullCodec<T> extends TypeCodec<T> {
  readonly neverNull: true;
}

/**
 * Says that a column is never NULL, so that its type is without `| null`. A query whose column is NULL all the
 * same fails with `client.bad_value` (22004).
 */
export function nonNull<T>(codec: TypeCodec<T>): NonNullCodec<T> {
  return Object.assign(Object.create(codec) as TypeCodec<T>, { neverNull: true as const });
}

/** The row that columns make: `{ id: nonNull(int4), name: text }` is `{ id: number; name: string | null }`. */
export type DecodedRow<Columns extends Readonly<Record<string, TypeCodec>>> = {
  [Name in keyof Columns]: Columns[Name] extends NonNullCodec<infer T>
    ? T
    : Columns[Name] extends TypeCodec<infer T>
      ? T | null
      : never;
};
