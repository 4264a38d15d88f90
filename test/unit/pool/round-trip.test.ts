/** What a network takes off the time that a statement is seen to take. */
import { expect, test } from "vitest";
import { RoundTrip } from "../../../src/pool/round-trip.ts";

test("nothing is taken off before it is measured, nor for what is no network", () => {
  const roundTrip = new RoundTrip();
  expect(roundTrip.without(20)).toBe(20);
  roundTrip.measure(0.4, 0);
  expect(roundTrip.ms).toBe(0);
  expect(roundTrip.without(20)).toBe(20);
});

test("what was measured is taken off, and the rest is not below nothing", () => {
  const roundTrip = new RoundTrip();
  roundTrip.measure(20, 0);
  expect(roundTrip.without(21)).toBe(1);
  expect(roundTrip.without(19)).toBe(0);
});

test("one measures at a time: again after a while, sooner if nothing came of it", () => {
  const roundTrip = new RoundTrip();
  expect(roundTrip.measured).toBe(false);
  expect(roundTrip.claim(0)).toBe(true);
  expect(roundTrip.claim(999)).toBe(false);
  expect(roundTrip.claim(1000), "the first one was prevented").toBe(true);
  roundTrip.measure(20, 1500);
  expect(roundTrip.measured).toBe(true);
  expect(roundTrip.claim(61_499)).toBe(false);
  expect(roundTrip.claim(61_500)).toBe(true);
});

test("what is answered sooner corrects it, what is answered later does not", () => {
  const roundTrip = new RoundTrip();
  roundTrip.answered(5);
  expect(roundTrip.ms, "not measured").toBe(0);
  roundTrip.measure(40, 0);
  roundTrip.answered(60);
  expect(roundTrip.ms).toBe(40);
  roundTrip.answered(20);
  expect(roundTrip.ms).toBe(20);
  roundTrip.measure(25, 0);
  expect(roundTrip.ms, "measured again").toBe(25);
});
