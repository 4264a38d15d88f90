/** Errors and notices as psql prints them. */
import { expect, test } from "vitest";
import { serverMessage } from "../../../src/cli/server-message.ts";

const missing = { severity: "ERROR", code: "42703", message: 'column "nosuch" does not exist' };

/** The lines behind the message. */
function marked(sql: string, position: number): string[] {
  const text = serverMessage({ ...missing, position: String(position) }, { sql, context: true });
  return text.trimEnd().split("\n").slice(1);
}

test("the fields come in order, each with its name", () => {
  const fields = { ...missing, detail: "d", hint: "h", where: "function f()" };
  const internal = { ...fields, internalQuery: "(select nosuch)", internalPosition: "9" };
  const lines = [
    'ERROR:  column "nosuch" does not exist',
    "LINE 1: (select nosuch)",
    "                ^",
    "DETAIL:  d",
    "HINT:  h",
    "QUERY:  (select nosuch)",
    "CONTEXT:  function f()",
    "",
  ];
  expect(serverMessage(internal, { sql: "select f()", context: true })).toBe(lines.join("\n"));
  const notice = { ...fields, severity: "NOTICE", severityLocalized: "HINWEIS" };
  expect(serverMessage(notice, { sql: "", context: false })).toBe(
    'HINWEIS:  column "nosuch" does not exist\nDETAIL:  d\nHINT:  h\n',
  );
  expect(serverMessage({ ...missing, position: "3" }, { sql: undefined, context: true })).toBe(
    'ERROR:  column "nosuch" does not exist at character 3\n',
  );
});

test("the caret stands under the place, whatever the characters before it", () => {
  expect(marked("select 1,\r\n\t'漢😀', nosuch,\r 3", 19)).toEqual([
    "LINE 2:  '漢😀', nosuch,",
    `${" ".repeat(17)}^`,
  ]);
  expect(marked("selec", 6)).toEqual(["LINE 1: selec", "             ^"]);
  expect(marked("select\n", 8)).toEqual(["LINE 2: ", "        ^"]);
  expect(marked("selec", 7)).toEqual([]);
});

test("of a long line sixty columns are shown", () => {
  const digits = "1".repeat(70);
  expect(marked(`select nosuch, ${digits}`, 8)).toEqual([
    `LINE 1: select nosuch, ${digits.slice(0, 45)}...`,
    "               ^",
  ]);
  expect(marked(`select ${digits}, nosuch, ${digits}`, 80)).toEqual([
    `LINE 1: ...${digits.slice(0, 48)}, nosuch, 11...`,
    `${" ".repeat(61)}^`,
  ]);
  expect(marked(`select ${digits}, nosuch`, 80)).toEqual([
    `LINE 1: ...${digits.slice(0, 52)}, nosuch`,
    `${" ".repeat(65)}^`,
  ]);
});
