/** Values of the few rows that replication commands return. What is missing or of another kind is the server's fault. */
import { malformed } from "../query/rows.ts";
import { parseLsn } from "./lsn.ts";

export type ReplicationRow = Readonly<Record<string, unknown>>;

/** A text. Throws PeerError (08P01) if there is none. */
export function textOf(row: ReplicationRow | undefined, column: string): string {
  const value = row?.[column];
  if (typeof value !== "string") throw malformed();
  return value;
}

/** A text, or undefined for NULL. */
export function optionalTextOf(row: ReplicationRow | undefined, column: string): string | undefined {
  return row?.[column] === null ? undefined : textOf(row, column);
}

/** A timeline or an object identifier: 32 bits, sent as int4 or int8. */
export function numberOf(row: ReplicationRow | undefined, column: string): number {
  const value = row?.[column];
  if (typeof value !== "bigint" && typeof value !== "number") throw malformed();
  const number = Number(value);
  if (!Number.isInteger(number) || number < 0 || number > 0xffff_ffff) throw malformed();
  return number;
}

/** A position in the write-ahead log. */
export function positionOf(row: ReplicationRow | undefined, column: string): bigint {
  const text = textOf(row, column);
  try {
    return parseLsn(text);
  } catch {
    throw malformed();
  }
}
