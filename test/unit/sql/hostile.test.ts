/** Texts that are meant to hurt: deep, long, many, and never the same. */
import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../../src/base/clock.ts";
import { Catalog, Classifier, Parser } from "../../../src/sql/index.ts";
import { classified, newClassifier, parser } from "./classifier-kit.ts";

/** Each nests or chains a construct of the grammar. */
const nesting: Readonly<Record<string, (depth: number) => string>> = {
  parentheses: (depth) => `SELECT ${"(".repeat(depth)}1${")".repeat(depth)}`,
  calls: (depth) => `SELECT ${"f(".repeat(depth)}1${")".repeat(depth)}`,
  subselects: (depth) => `SELECT ${"(SELECT ".repeat(depth)}1${")".repeat(depth)}`,
  "subselects in FROM": (depth) => `SELECT * FROM ${"(SELECT * FROM ".repeat(depth)}t${") a".repeat(depth)}`,
  EXISTS: (depth) => `SELECT ${"EXISTS(SELECT ".repeat(depth)}1${")".repeat(depth)}`,
  "common table expressions": (depth) =>
    `${"WITH a AS (".repeat(depth)}SELECT 1${") SELECT 1".repeat(depth)}`,
  arrays: (depth) => `SELECT ${"ARRAY[".repeat(depth)}1${"]".repeat(depth)}`,
  rows: (depth) => `SELECT ${"ROW(".repeat(depth)}1${")".repeat(depth)}`,
  CASE: (depth) => `SELECT ${"CASE WHEN x THEN ".repeat(depth)}1${" END".repeat(depth)}`,
  "CASE behind AND": (depth) => `SELECT ${"CASE WHEN x AND ".repeat(depth)}1${" THEN 1 END".repeat(depth)}`,
  "CASE with fields called end": (depth) =>
    `SELECT ${"CASE WHEN t.end THEN ".repeat(depth)}1${" END".repeat(depth)}`,
  NOT: (depth) => `SELECT ${"NOT ".repeat(depth)}true`,
  signs: (depth) => `SELECT ${"- ".repeat(depth)}x`,
  "signs in one": (depth) => `SELECT ${"+-+@ ".repeat(depth)}x`,
  sums: (depth) => `SELECT 1${"+1".repeat(depth)}`,
  casts: (depth) => `SELECT x${"::int".repeat(depth)}`,
  COLLATE: (depth) => `SELECT x${' COLLATE "C"'.repeat(depth)}`,
  "AT TIME ZONE": (depth) => `SELECT x${" AT TIME ZONE y".repeat(depth)}`,
  "sums in parentheses": (depth) => `SELECT ${"(a + b + ".repeat(depth)}c${")".repeat(depth)}`,
  "AND in parentheses": (depth) => `SELECT ${"(a AND ".repeat(depth)}b${")".repeat(depth)}`,
  UNION: (depth) => `SELECT 1${" UNION ALL SELECT 1".repeat(depth)}`,
  EXCEPT: (depth) => `SELECT 1${" EXCEPT SELECT 1".repeat(depth)}`,
  joins: (depth) => `SELECT 1 FROM a${" JOIN b ON x AND y".repeat(depth)}`,
  "joins in parentheses": (depth) => `SELECT * FROM ${"(".repeat(depth)}a${" JOIN b ON true)".repeat(depth)}`,
  JSON_OBJECT: (depth) => `SELECT ${"JSON_OBJECT(a: ".repeat(depth)}1${")".repeat(depth)}`,
};

describe.each(Object.keys(nesting))("%s", (name) => {
  const build = nesting[name] as (depth: number) => string;

  test("is understood in depths that people write", () => {
    expect(String(classified(build(100)).opaque)).not.toMatch(/^(?:too_|unparsable|parser_)/);
  });

  test("is refused before the parser where that could fail", () => {
    const failures = parser.failures;
    const classifier = newClassifier({ textBytesMax: 10_000_000, tokensMax: 10_000_000 });
    for (const depth of [1000, 100_000]) {
      expect(classifier.classify(build(depth), Catalog.assumed).opaque).toBe("too_deep");
    }
    expect(classifier.statistics().parses).toBe(0);
    expect(parser.failures).toBe(failures);
  });
});

test("what the grammar keeps flat may be long", () => {
  for (const text of [
    `SELECT 1 FROM t WHERE ${Array.from({ length: 1000 }, (_, index) => `a = ${index} + 1`).join(" OR ")}`,
    `INSERT INTO t VALUES ${Array.from({ length: 500 }, () => "(1, -2, 3 + 4)").join(", ")}`,
    `SELECT 1 FROM t WHERE a IN (${Array.from({ length: 2000 }, (_, index) => `$${index + 1}`).join(", ")})`,
    `SELECT ${Array.from({ length: 300 }, () => "CASE WHEN a THEN b END").join(", ")}`,
  ]) {
    expect(classified(text).opaque, text.slice(0, 40)).toBe(false);
  }
});

test("a text of a megabyte is unknown, and costs nothing", () => {
  const classifier = newClassifier();
  const found = classifier.classify(Buffer.alloc(1024 * 1024, "SELECT 1; "));
  expect(found).toMatchObject({ kind: "unknown", opaque: "too_long", route: "unknown" });
  expect(classifier.statistics()).toMatchObject({ parses: 0, textEntries: 0, unknown: { too_long: 1 } });
});

test("so is a short text of very many tokens, while a long literal is no trouble", () => {
  expect(classified(`SELECT 1${",1".repeat(20_000)}`).opaque).toBe("too_long");
  expect(classified(`SELECT '${"x".repeat(60_000)}'`)).toMatchObject({ opaque: false, shareable: true });
});

/** The parser's lexer reads each of these with the square of its length. */
const rereadTexts: Readonly<Record<string, (times: number) => string>> = {
  "comments in each other's ends": (times) => `SELECT 1 ${"/*/**/*/".repeat(times)}, a`,
  "comments without a space between them": (times) => `SELECT 1 ${"/**/".repeat(2 * times)}, a`,
  "comments that nest": (times) => `SELECT 1 ${"/*".repeat(2 * times)}${"*/".repeat(2 * times)}, a`,
  "operators before comments": (times) => `SELECT ${"+/**/".repeat(times)}1`,
};

test.each(Object.keys(rereadTexts))(
  "comments that the parser reads again and again are too much: %s",
  (name) => {
    const build = rereadTexts[name] as (times: number) => string;
    const classifier = newClassifier();
    expect(classifier.classify(build(20), Catalog.assumed).opaque).toBe(false);
    expect(classifier.classify(build(7000), Catalog.assumed).opaque).toMatch(/^too_/);
    expect(classifier.statistics().parses).toBe(1);
  },
);

test("banners and rulers of comments are read", () => {
  const ruler = `/${"*".repeat(200)}/\n--${"-".repeat(200)}\n/* ${"=+".repeat(100)} */\n`;
  expect(classified(`${ruler.repeat(20)} SELECT 1`)).toMatchObject({ opaque: false, shareable: true });
  expect(classified(`SELECT 1 /* ${"<*>".repeat(10_000)} */`)).toMatchObject({
    opaque: false,
    shareable: true,
  });
});

test("unique texts without end stay within the memory that was set", () => {
  const cacheBytesMax = 1024 * 1024;
  const classifier = newClassifier({ cacheBytesMax, parseBurstMs: Number.POSITIVE_INFINITY });
  for (let index = 0; index < 10_000; index += 1) {
    classifier.classify(`SELECT column_${index} FROM table_${index % 7} WHERE a = ${index}`, Catalog.assumed);
    const { textBytes, shapeBytes } = classifier.statistics();
    expect(textBytes + shapeBytes).toBeLessThanOrEqual(cacheBytesMax);
  }
  const { textEntries, shapeEntries } = classifier.statistics();
  expect(shapeEntries).toBeGreaterThan(100);
  expect(textEntries + shapeEntries).toBeLessThan(5000);
  // And what came last is still there.
  classifier.classify("SELECT column_9999 FROM table_3 WHERE a = 9999", Catalog.assumed);
  expect(classifier.statistics().shapeHits).toBe(1);
});

test("a text that is nothing but words is found by its shape, and no other text with it", () => {
  const classifier = newClassifier();
  for (const text of ["BEGIN", "BEGIN", "SAVEPOINT one", "SAVEPOINT two", "SAVEPOINT one"]) {
    classifier.classify(text, Catalog.assumed);
  }
  expect(classifier.statistics()).toMatchObject({ shapeHits: 2, textHits: 0, scannerHits: 3 });
  classifier.classify("SET work_mem = 1", Catalog.assumed);
  classifier.classify("SET work_mem = 2", Catalog.assumed);
  expect(classifier.statistics(), "the value counts").toMatchObject({ shapeHits: 2 });
});

test("parsing has its share of the time, and not more", () => {
  const clock = new VirtualClock();
  let parseMs = 1;
  // Every look at the clock is a parse's beginning or end: time passes between the two.
  const now = (): number => {
    clock.advance(parseMs);
    return clock.now();
  };
  const classifier = new Classifier(parser, { now, parseBurstMs: 10, parseShare: 0.1 });
  const ask = (index: number): unknown => classifier.classify(`SELECT a${index}`, Catalog.assumed).opaque;
  let asked = 0;
  while (ask(asked) === false) asked += 1;
  // 0.5 ms and a little more for each token is the most that one parse is charged.
  expect(asked).toBeGreaterThan(15);
  expect(asked).toBeLessThan(60);
  // What needs no parser goes on.
  expect(classifier.classify("BEGIN").kind).toBe("transaction");
  expect(classifier.classify("SELECT a0", Catalog.assumed).shareable).toBe(true);
  expect(classifier.classify("SELECT   a0 -- the same, but for a comment", Catalog.assumed).opaque).toBe(
    "over_budget",
  );
  parseMs = 0;
  clock.advance(1000);
  expect(ask(100_000)).toBe(false);
});

test("a parser that has failed is replaced, and meanwhile everything is unknown", async () => {
  const own = await Parser.load();
  const classifier = new Classifier(own, { now: () => 0 });
  // What the bounds keep from it: JavaScript's stack runs out in the middle of a parse.
  const deep = Buffer.from(`SELECT 1${"+1".repeat(50_000)}`);
  expect(own.parse(deep).kind).toBe("unavailable");
  expect(own.failures).toBe(1);
  expect(classifier.classify("SELECT 1", Catalog.assumed).opaque).toBe("parser_unavailable");
  await own.ready();
  expect(classifier.classify("SELECT 1", Catalog.assumed).shareable).toBe(true);
});

test("texts that a session may read differently are unknown to it", () => {
  const classifier = newClassifier();
  const backslash = "SELECT 'a\\b'";
  const settings = { conformingStrings: false, asciiSafe: true };
  expect(classifier.classify(backslash, Catalog.assumed).shareable).toBe(true);
  expect(classifier.classify(backslash, Catalog.assumed, settings).opaque).toBe("encoding");
  expect(classifier.classify("SELECT 'a'", Catalog.assumed, settings).shareable).toBe(true);
  expect(classifier.classify("SELECT E'\\''", Catalog.assumed, settings).shareable).toBe(true);
  const sjis = { conformingStrings: true, asciiSafe: false };
  expect(classifier.classify("SELECT 'é'", Catalog.assumed, sjis).opaque).toBe("encoding");
  expect(classifier.classify("SELECT 'e'", Catalog.assumed, sjis).shareable).toBe(true);
  expect(classifier.classify(Buffer.from([0x53, 0xff]), Catalog.assumed).opaque).toBe("encoding");
  expect(classifier.classify("SELECT 1\0", Catalog.assumed).opaque).toBe("encoding");
});
