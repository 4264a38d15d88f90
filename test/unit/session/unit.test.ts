import { expect, test } from "vitest";
import { completesUnit, giveUnit, isShareable, takeUnit, Unit } from "../../../src/session/unit.ts";
import { Frontend } from "../../../src/wire/constants.ts";
import { Frame } from "../../../src/wire/framer.ts";

test("messages come back as they were put in", () => {
  const unit = new Unit();
  const chunk = Buffer.from("0123456789");
  expect(unit.empty).toBe(true);
  unit.push(Frame.whole, Frontend.parse, chunk, 1, 4);
  unit.push(Frame.head, Frontend.query, chunk, 4, 10);
  expect(unit.length).toBe(2);
  expect(unit.empty).toBe(false);
  expect([unit.kind(0), unit.type(0), unit.start(0), unit.end(0)]).toEqual([
    Frame.whole,
    Frontend.parse,
    1,
    4,
  ]);
  expect([unit.kind(1), unit.type(1), unit.start(1), unit.end(1)]).toEqual([
    Frame.head,
    Frontend.query,
    4,
    10,
  ]);
  expect(unit.buffer(1)).toBe(chunk);
});

test("it is full at 64 KB, and empty again when it was cleared", () => {
  const unit = new Unit();
  const chunk = Buffer.alloc(64 * 1024);
  unit.push(Frame.whole, Frontend.bind, chunk, 0, chunk.length - 1);
  expect(unit.full).toBe(false);
  unit.push(Frame.whole, Frontend.bind, chunk, 0, 1);
  expect(unit.full).toBe(true);
  unit.clear();
  expect(unit.full).toBe(false);
  expect(unit.length).toBe(0);
  expect(unit.buffer(0), "chunks are let go").toBeUndefined();
});

test("a unit that is given back is used again, without what was in it", () => {
  const unit = takeUnit();
  unit.push(Frame.whole, Frontend.query, Buffer.from("x"), 0, 1);
  giveUnit(unit);
  const again = takeUnit();
  expect(again).toBe(unit);
  expect(again.empty).toBe(true);
  expect(takeUnit()).not.toBe(unit);
});

test("a unit can run with everything but the middle of a batch", () => {
  const incomplete = [Frontend.parse, Frontend.bind, Frontend.describe, Frontend.execute, Frontend.close];
  for (const [name, type] of Object.entries(Frontend)) {
    expect(completesUnit(type), name).toBe(!(incomplete as number[]).includes(type));
  }
});

test.each([
  ["a Bind", Frontend.bind, Buffer.from("B\0\0\0\x0aportal\0s\0..", "latin1"), true],
  [
    "a Bind without an end of the statement's name",
    Frontend.bind,
    Buffer.from("B\0\0\0\x0aportal\0s", "latin1"),
    false,
  ],
  ["a Describe", Frontend.describe, Buffer.from("D\0\0\0\x06S\0", "latin1"), true],
  ["a Describe without an end of the name", Frontend.describe, Buffer.from("D\0\0\0\x06Ss", "latin1"), false],
])("%s can be sent between the units of others or not", (_name, type, message, shareable) => {
  const unit = new Unit();
  unit.push(Frame.whole, type, message, 0, message.length);
  unit.push(Frame.whole, Frontend.sync, Buffer.from("S\0\0\0\x04", "latin1"), 0, 5);
  expect(isShareable(unit)).toBe(shareable);
});
