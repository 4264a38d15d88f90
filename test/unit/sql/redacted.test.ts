/** What operators see of statements: no literal, wherever the text is cut off. */
import { expect, test } from "vitest";
import { redacted } from "../../../src/sql/index.ts";

test.each([
  ["select  'a', \"b c\", 1.5e3, x1\n from t", 'select ?, "b c", ?, x1 from t'],
  ["select pg_advisory_lock(42) -- 'why'", "select pg_advisory_lock(?)"],
  ["select /* 'a */ 1", "select ?"],
  ["select /* /* 'a */ 'secret' */ 1", "select"],
  ["do $x$ begin perform 'secret'; end $x$", "do ?"],
  ["do $$ begin", "do ?"],
  ["select $1, $2", "select $1, $2"],
  ["select 'it''s', a", "select ?, a"],
  ["select 'unfinished", "select ?"],
  ["select e'it\\'s', secret", "select e?"],
  ["select '\\', 'secret'", "select ?"],
  ["set my.key = secret", "set my.key = ?"],
  ["SET LOCAL my.key to secret", "SET LOCAL my.key to ?"],
  ["set time zone secret", "set time ?"],
  ["create role x password 'secret'", "create role x password ?"],
  [`select ${"a, ".repeat(100)}b`, `select ${"a, ".repeat(31)}…`],
])("%j", (text, expected) => {
  expect(redacted(text)).toBe(expected);
});

test("a text that is cut off anywhere shows no more than the whole", () => {
  const text = "select 'secret' , $a$ secret $a$, e'secret\\' secret', -- secret\n 'secret'";
  for (let end = 0; end <= text.length; end++) expect(redacted(text.slice(0, end))).not.toContain("sec");
});
