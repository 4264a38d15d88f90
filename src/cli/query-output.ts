/**
 * What `pgsluice query` prints of a result: psql's aligned table, its unaligned lines, its CSV, or JSON. Values
 * are what the server sent, as text; only JSON looks at their types.
 *
 * Everything is yielded in small pieces, line by line, because a whole table may be longer than a string can be.
 */
import type { Column, Result } from "../client/index.ts";
import { TypeRegistry } from "../client/types/registry.ts";
import { type DisplayLine, displayLines } from "./display-width.ts";

export interface OutputFormat {
  readonly format: "aligned" | "unaligned" | "csv" | "json";
  /** No headers and no footers. */
  readonly tuplesOnly: boolean;
}

/** The result of a statement that was run with `rowMode: "text"`, as text to print. */
export function* printedResult(
  result: Result<unknown>,
  { format, tuplesOnly }: OutputFormat,
): Generator<string, void, undefined> {
  const { columns, command } = result;
  const rows = result.rows as TextRow[];
  // An empty statement.
  if (command === "" && columns.length === 0) return;
  if (format === "json") {
    yield* json(columns, rows);
    return;
  }
  const returnsRows = columns.length > 0 || rows.length > 0;
  if (returnsRows) yield* tables[format](columns, rows, tuplesOnly);
  if (!returnsRows || changesRows.has(command)) yield `${commandTag(result)}\n`;
}

type TextRow = readonly (string | null)[];

/** Commands of which psql prints the tag also behind the rows that they return. */
const changesRows: ReadonlySet<string> = new Set(["INSERT", "UPDATE", "DELETE", "MERGE"]);

/** The tag as the server sent it. Between INSERT and its count there is a zero, once an object identifier. */
function commandTag({ command, rowCount }: Result<unknown>): string {
  if (rowCount === null) return command;
  return command === "INSERT" ? `INSERT 0 ${rowCount}` : `${command} ${rowCount}`;
}

type Table = (
  columns: readonly Column[],
  rows: readonly TextRow[],
  tuplesOnly: boolean,
) => Generator<string, void, undefined>;

const tables: Readonly<Record<Exclude<OutputFormat["format"], "json">, Table>> = { aligned, unaligned, csv };

function footer(rows: readonly TextRow[]): string {
  return `(${rows.length} ${rows.length === 1 ? "row" : "rows"})\n`;
}

/** The type's name, if it is a built-in one. */
function typeName(column: Column): string | undefined {
  return TypeRegistry.builtin.codec(column.typeOid)?.name;
}

function valueText(value: string | null): string {
  return value ?? "";
}

// The aligned table.

/** Types that psql sets right. */
const rightAligned: ReadonlySet<string | undefined> = new Set(
  ["int2", "int4", "int8", "float4", "float8", "numeric"].concat(["oid", "xid", "xid8", "cid", "money"]),
);

function* aligned(
  columns: readonly Column[],
  rows: readonly TextRow[],
  tuplesOnly: boolean,
): Generator<string, void, undefined> {
  const headers = columns.map(({ name }) => displayLines(name));
  const widths = headers.map(widest);
  for (const row of rows) {
    for (const [index, value] of row.entries()) {
      widths[index] = Math.max(widths[index] ?? 0, widest(displayLines(valueText(value))));
    }
  }
  if (!tuplesOnly) {
    if (columns.length > 0) yield* alignedRow(headers, widths, headerCell);
    // Without columns psql draws the margins of one.
    yield `${widths.map((width) => "-".repeat(width + 2)).join("+") || "--"}\n`;
  }
  const right = columns.map((column) => rightAligned.has(typeName(column)));
  const dataCell: CellPrinter = (line, width, { column, last, continued }) => {
    const text = line?.text ?? "";
    const padding = " ".repeat(width - (line?.width ?? 0));
    const margin = last ? "" : " ";
    // Lines have no trailing spaces, unless a mark stands behind them.
    const isShort = last && !continued && (line === undefined || right[column] !== true);
    const body = right[column] === true ? padding + text : text + padding;
    return ` ${isShort ? text : body}${continued ? "+" : margin}`;
  };
  if (columns.length > 0) {
    for (const row of rows) {
      const cells = row.map((value) => displayLines(valueText(value)));
      yield* alignedRow(cells, widths, dataCell);
    }
  }
  if (!tuplesOnly) yield footer(rows);
  yield "\n";
}

function widest(lines: readonly DisplayLine[]): number {
  return lines.reduce((width, line) => Math.max(width, line.width), 0);
}

interface CellPlace {
  readonly column: number;
  /** In the last column. */
  readonly last: boolean;
  /** A further line of the same cell follows. */
  readonly continued: boolean;
}

/** One line of one cell with its margins; `line` is undefined where the cell has fewer lines than its row. */
type CellPrinter = (line: DisplayLine | undefined, width: number, place: CellPlace) => string;

const headerCell: CellPrinter = (line, width, { continued }) => {
  const free = width - (line?.width ?? 0);
  const left = Math.floor(free / 2);
  return ` ${" ".repeat(left)}${line?.text ?? ""}${" ".repeat(free - left)}${continued ? "+" : " "}`;
};

function* alignedRow(
  cells: readonly DisplayLine[][],
  widths: readonly number[],
  print: CellPrinter,
): Generator<string, void, undefined> {
  const height = cells.reduce((lines, cell) => Math.max(lines, cell.length), 1);
  for (let index = 0; index < height; index++) {
    const texts = cells.map((cell, column) =>
      print(cell[index], widths[column] ?? 0, {
        column,
        last: column === cells.length - 1,
        continued: index + 1 < cell.length,
      }),
    );
    yield `${texts.join("|")}\n`;
  }
}

// Lines for programs.

function* unaligned(
  columns: readonly Column[],
  rows: readonly TextRow[],
  tuplesOnly: boolean,
): Generator<string, void, undefined> {
  if (!tuplesOnly) yield `${columns.map(({ name }) => name).join("|")}\n`;
  if (columns.length > 0) {
    for (const row of rows) yield `${row.map(valueText).join("|")}\n`;
  }
  if (!tuplesOnly) yield footer(rows);
}

function* csv(
  columns: readonly Column[],
  rows: readonly TextRow[],
  tuplesOnly: boolean,
): Generator<string, void, undefined> {
  if (!tuplesOnly) yield `${columns.map(({ name }) => csvField(name)).join(",")}\n`;
  if (columns.length === 0) return;
  for (const row of rows) yield `${row.map((value) => csvField(valueText(value))).join(",")}\n`;
}

/** In quotes where it must be; a lone `\.` too, which COPY would take for the end of the data. */
function csvField(text: string): string {
  return /[",\r\n]/.test(text) || text === "\\." ? `"${text.replaceAll('"', '""')}"` : text;
}

// JSON.

/**
 * One line with an array of objects. A JSON number is only what every reader of JSON keeps exactly: integers of
 * up to 32 bits and floating point numbers; int8, numeric and the rest are strings with the server's text.
 */
function* json(columns: readonly Column[], rows: readonly TextRow[]): Generator<string, void, undefined> {
  const fields = columns.map((column) => {
    const key = `${JSON.stringify(column.name)}:`;
    const encode = jsonEncoders.get(typeName(column)) ?? JSON.stringify;
    return (value: string | null): string => key + (value === null ? "null" : encode(value));
  });
  let separator = "";
  yield "[";
  for (const row of rows) {
    yield `${separator}{${fields.map((field, index) => field(row[index] ?? null)).join(",")}}`;
    separator = ",";
  }
  yield "]\n";
}

type JsonEncoder = (text: string) => string;

/** Not NaN and Infinity, which JSON does not have. */
const jsonNumber: JsonEncoder = (text) =>
  /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/.test(text) ? text : JSON.stringify(text);
const jsonBoolean: JsonEncoder = (text) => (text === "t" ? "true" : "false");
/** It is JSON already, and a line break can only stand between its tokens. */
const jsonItself: JsonEncoder = (text) => text.replaceAll(/[\r\n]+/g, " ");

const jsonEncoders: ReadonlyMap<string | undefined, JsonEncoder> = new Map([
  ...["int2", "int4", "oid", "xid", "cid", "float4", "float8"].map((name) => [name, jsonNumber] as const),
  ["bool", jsonBoolean],
  ["json", jsonItself],
  ["jsonb", jsonItself],
]);
