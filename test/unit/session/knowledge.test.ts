import { expect, test } from "vitest";
import { knowledgeOf, Mark, unknownStatement } from "../../../src/session/auto/knowledge.ts";
import { Catalog, Classifier, Parser, ShapeTrail } from "../../../src/sql/index.ts";

const parser = await Parser.load();

const texts: readonly [text: string, mayEnd: boolean][] = [
  ["SELECT 1", false],
  ["UPDATE t SET a = 'COMMIT; END'", false],
  ["/* COMMIT */ INSERT INTO t VALUES (1)", false],
  ["PREPARE s AS SELECT 1", false],
  ["COMMIT", true],
  ["end work", true],
  ["/* over */ COMMIT AND CHAIN", true],
  ["PREPARE TRANSACTION 'one'", true],
  ["SELECT 1; COMMIT", true],
  ["SELECT FROM WHERE", true],
];

test("what may end a transaction is told by its class", () => {
  const classifier = new Classifier(parser, { now: () => 0 });
  const found = texts.map(([text]) => [
    text,
    (knowledgeOf(classifier.classify(text, Catalog.assumed)).marks & Mark.mayEnd) !== 0,
  ]);
  expect(found).toEqual(texts);
  expect(unknownStatement.marks & Mark.mayEnd).not.toBe(0);
});

test("a text to which its client's trail leads has the class of its shape in the catalog asked for", () => {
  const classifier = new Classifier(parser, { now: () => 0 });
  const trail = new ShapeTrail();
  const text = Buffer.from("SELECT one(1)");
  const look = () => classifier.expected(text, 0, text.length, trail);
  expect(look()).toBeUndefined();
  for (let i = 0; i < 2; i++)
    classifier.classifySpan(text, 0, text.length, Catalog.assumed, undefined, trail);
  const expected = look();
  if (expected === undefined) throw new Error("the trail leads to the text");
  for (const catalog of [Catalog.assumed, Catalog.unknown]) {
    expect(classifier.classOf(expected, catalog)).toEqual(classifier.classify(text, catalog));
  }
});
