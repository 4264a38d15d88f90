/** What holds for every text: no throw, and the same answer by whichever layer it comes. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Catalog } from "../../../src/sql/index.ts";
import { classified, newClassifier } from "./classifier-kit.ts";

/** Texts with places for literals, `?`; a literal may matter or not. */
const templates = [
  "SELECT * FROM t WHERE id = ?",
  "select a from t where b = ? and c in (?, ?) limit ?",
  "INSERT INTO t (a, b) VALUES (?, ?), (?, ?)",
  "UPDATE t SET a = ? WHERE b LIKE ? ESCAPE ?",
  "DELETE FROM t WHERE a = ? OR b = -?",
  "SELECT set_config(?, ?, false)",
  "SELECT set_config(?, ?, true)",
  "SELECT nextval(?), upper(?)",
  "SELECT pg_advisory_lock(?)",
  "SELECT pg_notify(?, ?)",
  "SET work_mem = ?",
  "PREPARE p AS SELECT ?",
  "SELECT ?::text, ?::regclass, date ?, interval ?",
  "SELECT ? /* ? */ -- ?\n + ?",
  "SELECT ?; SELECT ?",
  "COPY t FROM ?",
  "NOTIFY a, ?",
  "SELECT ?\n?",
  "SELECT U&? UESCAPE ?",
  "SELECT x? FROM t",
  "SELECT $1?",
  "SELECT a.? , e?",
];

const literals = [
  "1",
  "42",
  "0",
  "1.5",
  ".5",
  "1e5",
  "0x1F",
  "1_000",
  "123456789",
  "1234567890",
  "99999999999999999999",
  "''",
  "'a'",
  "'it''s'",
  "'--'",
  "'/*'",
  "'a\\'",
  "'é'",
  "E'a\\'b'",
  "E'\\\\'",
  "$$a'b$$",
  "$x$ $$ ' $x$",
  "B'01'",
  "X'1F'",
  "N'a'",
  "U&'d\\0061t'",
  "'a' 'b'",
  "'a'\n'b'",
  "E'a'\n'b\\''",
  "NULL",
  "$1",
  "true",
  '"x"',
];

const filled = fc
  .constantFrom(...templates)
  .chain((template) =>
    fc
      .array(fc.constantFrom(...literals), { minLength: 4, maxLength: 4 })
      .map((chosen) => ({ template, chosen })),
  );

function fill(template: string, chosen: readonly string[]): string {
  let next = 0;
  return template.replaceAll("?", () => chosen[next++ % chosen.length] ?? "");
}

test("a literal that was replaced never changes a class", () => {
  const shared = newClassifier();
  fc.assert(
    fc.property(filled, ({ template, chosen }) => {
      const text = fill(template, chosen);
      expect(shared.classify(text, Catalog.assumed)).toEqual(classified(text));
    }),
    { numRuns: 3000 },
  );
  expect(shared.statistics().shapeHits).toBeGreaterThan(50);
});

const pieces =
  `SELECT FROM WHERE t a.b ( ) [ ] , ; ' '' " "" $$ $a$ $1 E' U&" -- /* */ \n \\ :: . 1 1.5 1e 0x + - * / < > = CASE
  WHEN THEN END AND OR NOT JOIN UNION ALL BEGIN COMMIT SET = TO é \u0001 \u0000 pgsluice: primary`
    .split(" ")
    .concat(" ", "\n");

test("any pieces in any order give a class, and the same one again", () => {
  const shared = newClassifier({ cacheBytesMax: 200_000 });
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 25 }), fc.boolean(), (picked, spaced) => {
      const text = picked.join(spaced ? " " : "");
      expect(shared.classify(text, Catalog.assumed)).toEqual(classified(text));
    }),
    { numRuns: 3000 },
  );
});

test("any bytes give a class", () => {
  const shared = newClassifier();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const found = shared.classify(Buffer.from(bytes), Catalog.assumed);
      if (found.shareable === true) expect(found.opaque).toBe(false);
    }),
    { numRuns: 3000 },
  );
});
