/** The quick way to a text's shape, held to the thorough one. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { lex } from "../../../src/sql/lex.ts";
import { ShapeIndex, ShapeTrail } from "../../../src/sql/shape-index.ts";

const bounds = { tokensMax: 8192, depthMax: 400, operatorBytesMax: 1024 * 1024 };
const around = 3;

function quickShape(text: Buffer): string | undefined {
  const index = new ShapeIndex<number>(1000);
  // Bytes before and behind the text are none of its own.
  const buffer = Buffer.concat([Buffer.from("e'1"), text, Buffer.from("1'.")]);
  index.find(buffer, around, around + text.length);
  return index.shape;
}

function agrees(text: Buffer): boolean {
  const quick = quickShape(text);
  if (quick === undefined) return false;
  const { shape, wellFormed, backslashes, hintComments } = lex(text, bounds);
  expect({ shape, wellFormed, backslashes, hintComments }).toEqual({
    shape: quick,
    wellFormed: true,
    backslashes: false,
    hintComments: [],
  });
  return true;
}

const pieces =
  `SELECT a e u U n x b ( ) [ ] , ; ' '' " "" $$ $a$ $1 $ e' E' U&" U&' N'a' -- /* */ \n \\ :: . .5 1 12 1.5 1. 1..2 1e 0x 1_0 123456789
  1234567890 + - * / & % ^ | \` ? # ~ ! @ < > = 'x' 'é' "é" é \u0001 \u0000 { } pgsluice: primary 'a'\n'b' \t`
    .split(" ")
    .concat(" ", " ", "\n");

test("a plain text has the shape that the lexer gives it", () => {
  let plain = 0;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 8 }), fc.boolean(), (picked, spaced) => {
      if (agrees(Buffer.from(picked.join(spaced ? " " : "")))) plain += 1;
    }),
    { numRuns: 10_000 },
  );
  expect(plain).toBeGreaterThan(500);
});

test("so has any text of bytes", () => {
  const byte = fc.oneof(fc.constantFrom(...Buffer.from("a1'\"$.-/*& \n")), fc.nat(255));
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 12 }), (bytes) => {
      agrees(Buffer.from(bytes));
    }),
    { numRuns: 10_000 },
  );
});

test("common statements are plain", () => {
  for (const text of [
    "SELECT abalance FROM pgbench_accounts WHERE aid = 42;",
    "UPDATE pgbench_accounts SET abalance = abalance + -4000 WHERE aid = 42;",
    "INSERT INTO t (a, \"B\") VALUES ($1, 'it''s', 'é', 1.5) RETURNING *",
    "SELECT a.b::text, c->>'d' FROM s.a WHERE x IN (1,2) AND y LIKE '%z%'",
  ]) {
    expect(agrees(Buffer.from(text)), text).toBe(true);
  }
});

test("what was added is found by other literals, and by nothing else", () => {
  const index = new ShapeIndex<string>(100_000);
  const find = (text: string): string | undefined => {
    const bytes = Buffer.from(text);
    return index.find(bytes, 0, bytes.length);
  };
  expect(find("SELECT 1, 'a'")).toBeUndefined();
  expect(index.isPlain).toBe(true);
  index.add("found", 0);
  expect(find("SELECT 27, 'it''s'")).toBe("found");
  for (const other of [
    "SELECT 1, 2",
    "SELECT 1.0, 'a'",
    "select 1, 'a'",
    "SELECT 1,  'a'",
    "SELECT 1, e'a'",
  ]) {
    expect(find(other), other).toBeUndefined();
  }
});

test("a text is found by the shape that is expected if that is its own, and then only", () => {
  const literals = [
    "1",
    "12",
    "1.5",
    "1.",
    "'x'",
    "'it''s'",
    "'é'",
    "''",
    "a1",
    '"a"',
    '"\u0002"',
    "-",
    "'a' 'b'",
    "$1",
  ];
  const spacings = fc.array(
    fc.constantFrom("a", "+", " ", ",", "-", "(", ".", "e", "'", '"é"', ...literals),
    { minLength: 1, maxLength: 6 },
  );
  let expected = 0;
  fc.assert(
    fc.property(
      spacings,
      spacings,
      fc.nat(5),
      fc.constantFrom(...literals),
      (picked, others, at, literal) => {
        const first = Buffer.from(picked.join(""));
        const similar = Buffer.from(picked.with(Math.min(at, picked.length - 1), literal).join(""));
        const shape = quickShape(first);
        if (shape === undefined) return;
        const index = new ShapeIndex<string>(100_000);
        index.find(first, 0, first.length);
        index.add("found", 0);
        for (const second of [first, similar, Buffer.from(others.join(""))]) {
          const trail = new ShapeTrail();
          for (let i = 0; i < 2; i += 1) lookUp(index, first, 0, first.length, trail);
          const buffer = Buffer.concat([Buffer.from("e'1"), second, Buffer.from("1'.")]);
          const found = lookUp(index, buffer, around, around + second.length, trail);
          expect(found).toBe(quickShape(second) === shape ? "found" : undefined);
          if (found !== undefined && second !== first) expected += 1;
        }
      },
    ),
    { numRuns: 5_000 },
  );
  expect(expected).toBeGreaterThan(100);
});

test("who sends other texts than before is led to them the next time", () => {
  const index = new ShapeIndex<string>(100_000);
  const texts = ["BEGIN;", "SELECT 1", "UPDATE t SET a = 1", "END;"].map((text) => Buffer.from(text));
  for (const text of texts) {
    index.find(text, 0, text.length);
    index.add(text.toString(), 0);
  }
  const trail = new ShapeTrail();
  for (const order of [texts, texts, texts.toReversed(), texts, texts]) {
    for (const text of order) expect(lookUp(index, text, 0, text.length, trail)).toBe(text.toString());
  }
  const afterEnd = trail.next;
  lookUp(index, texts[0] as Buffer, 0, 6, trail);
  expect(trail.last).toBe(afterEnd);
});

/** By the trail, or else by the shape. */
function lookUp(
  index: ShapeIndex<string>,
  text: Buffer,
  start: number,
  end: number,
  trail: ShapeTrail,
): string | undefined {
  return index.expected(text, start, end, trail)?.value ?? index.find(text, start, end, trail);
}
