/** Tables as psql prints them; the behaviour tests compare with psql itself, where there is one. */
import { expect, test } from "vitest";
import { type OutputFormat, printedResult } from "../../../src/cli/query-output.ts";
import type { Column, Result } from "../../../src/client/index.ts";

const int4 = 23;
const text = 25;

function column(name: string, typeOid: number): Column {
  return { name, typeOid, typeModifier: -1, tableOid: 0, tableColumn: 0 };
}

function result(
  columns: readonly Column[],
  rows: readonly (string | null)[][],
  command = "SELECT",
): Result<unknown> {
  return { command, rowCount: rows.length, rows: [...rows], columns };
}

function printed(of: Result<unknown>, format: Partial<OutputFormat> = {}): string {
  return [...printedResult(of, { format: "aligned", tuplesOnly: false, ...format })].join("");
}

test("an aligned table: headers in the middle, numbers right, lines of a value below each other", () => {
  const columns = [column("x\nyy", text), column("n", int4), column("t", text), column("u", text)];
  const table = printed(
    result(columns, [
      ["a\nbcd\ne", "1", "\tq\x1bz\r", "a\n"],
      [null, "-20", "é漢", ""],
    ]),
  );
  expect(table.split("\n")).toEqual([
    "  x +|  n  |        t         | u ",
    " yy  |     |                  |   ",
    "-----+-----+------------------+---",
    " a  +|   1 |         q\\x1Bz\\r | a+",
    " bcd+|     |                  | ",
    " e   |     |                  | ",
    "     | -20 | é漢              | ",
    "(2 rows)",
    "",
    "",
  ]);
});

test("no columns are a row of nothing", () => {
  const nothing = result([], [[], []]);
  expect(printed(nothing)).toBe("--\n(2 rows)\n\n");
  expect(printed(nothing, { tuplesOnly: true })).toBe("\n");
  expect(printed(nothing, { format: "unaligned" })).toBe("\n(2 rows)\n");
  expect(printed(nothing, { format: "csv" })).toBe("\n");
  expect(printed(nothing, { format: "json" })).toBe("[{},{}]\n");
});

test("the tag follows what returns no rows, and what changes some", () => {
  const none = { rows: [], columns: [] };
  expect(printed({ command: "INSERT", rowCount: 5, ...none })).toBe("INSERT 0 5\n");
  expect(printed({ command: "CREATE TABLE", rowCount: null, ...none }, { tuplesOnly: true })).toBe(
    "CREATE TABLE\n",
  );
  expect(printed({ command: "UPDATE", rowCount: 0, ...none }, { format: "json" })).toBe("[]\n");
  expect(printed({ command: "", rowCount: null, ...none })).toBe("");
  const returning = result([column("a", int4)], [["1"]], "DELETE");
  expect(printed(returning, { format: "unaligned", tuplesOnly: true })).toBe("1\nDELETE 1\n");
});

test("CSV quotes what must be quoted and nothing else", () => {
  const columns = [column("a,b", text), column("c", text)];
  const rows = [
    ['"', "x\r"],
    [null, ""],
    ["\\.", " |"],
  ];
  expect(printed(result(columns, rows), { format: "csv" })).toBe('"a,b",c\n"""","x\r"\n,\n"\\.", |\n');
});
