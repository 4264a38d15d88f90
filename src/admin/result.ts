/**
 * Rows of the console as PostgreSQL's protocol carries them: the four types that PgBouncer uses, in text, and in
 * binary for drivers that ask for it. The text is the same either way.
 */
import type { ColumnDescription } from "../wire/messages.ts";

/** Object identifier and size in bytes (pg_type.oid, typlen) of the types in use. */
const types = {
  text: { oid: 25, size: -1 },
  int4: { oid: 23, size: 4 },
  int8: { oid: 20, size: 8 },
  numeric: { oid: 1700, size: -1 },
} as const;

export type ColumnType = keyof typeof types;

export interface Column {
  readonly name: string;
  readonly type: ColumnType;
}

/** Numbers are integers. */
export type Cell = string | number | null;
export type Row = readonly Cell[];

/** Columns in few words: names by type, in order. */
export function columnsOf(
  ...columns: readonly (readonly [type: ColumnType, ...names: string[]])[]
): Column[] {
  return columns.flatMap(([type, ...names]) => names.map((name) => ({ name, type })));
}

/** `formats`: as in Bind, none (all text), one for all, or one per column. */
export function describeColumns(
  columns: readonly Column[],
  formats: readonly number[] = [],
): ColumnDescription[] {
  return columns.map(({ name, type }, index) => ({
    name,
    tableOid: 0,
    attributeNumber: 0,
    typeOid: types[type].oid,
    typeSize: types[type].size,
    typeModifier: -1,
    format: formatOf(formats, index),
  }));
}

export function encodeRow(
  columns: readonly Column[],
  row: Row,
  formats: readonly number[] = [],
): (Buffer | null)[] {
  return columns.map(({ type }, index) => {
    const cell = row[index];
    if (cell === null || cell === undefined) return null;
    return formatOf(formats, index) === 1 ? encodeBinary(cell, type) : Buffer.from(String(cell));
  });
}

function formatOf(formats: readonly number[], index: number): number {
  return formats.length === 1 ? (formats[0] ?? 0) : (formats[index] ?? 0);
}

function encodeBinary(cell: string | number, type: ColumnType): Buffer {
  switch (type) {
    case "text":
      return Buffer.from(String(cell));
    case "int4": {
      const bytes = Buffer.alloc(4);
      bytes.writeInt32BE(Number(cell));
      return bytes;
    }
    case "int8": {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64BE(BigInt(cell));
      return bytes;
    }
    case "numeric":
      return encodeNumeric(BigInt(cell));
  }
}

/** Digits of base 10,000, the most significant first (numeric.c numeric_send); of integers that are not negative. */
function encodeNumeric(value: bigint): Buffer {
  const digits: number[] = [];
  for (let rest = value; rest > 0n; rest /= 10_000n) digits.unshift(Number(rest % 10_000n));
  const weight = digits.length - 1;
  while (digits.at(-1) === 0) digits.pop();
  const bytes = Buffer.alloc(8 + digits.length * 2);
  bytes.writeUInt16BE(digits.length, 0);
  bytes.writeInt16BE(Math.max(0, weight), 2);
  for (const [index, digit] of digits.entries()) bytes.writeUInt16BE(digit, 8 + index * 2);
  return bytes;
}
