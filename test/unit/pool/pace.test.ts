/** Which statements are brief enough to share a server. */
import { describe, expect, test } from "vitest";
import { Pace } from "../../../src/pool/pace.ts";

const limitMs = 2;

function paced(...times: readonly number[]): Pace {
  const pace = new Pace();
  for (const ms of times) pace.observe(ms, 100, limitMs);
  return pace;
}

const often = (ms: number, count: number): number[] => Array.from({ length: count }, () => ms);

describe("a statement is brief", () => {
  test("after three quick runs, not before", () => {
    expect(paced(0.1, 0.1).isBrief(limitMs)).toBe(false);
    expect(paced(0.1, 0.1, 0.1).isBrief(limitMs)).toBe(true);
  });

  test("though the first run was slow, or the machine is so busy that most are", () => {
    expect(paced(50, 0.2, 0.2, 0.2).isBrief(limitMs)).toBe(true);
    const busy = paced(0.2);
    for (let round = 0; round < 100; round++)
      for (const ms of [...often(9, 19), 0.3]) busy.observe(ms, 100, limitMs);
    expect(busy.isBrief(limitMs)).toBe(true);
  });

  test("not if a server needs long for it", () => {
    expect(paced(...often(limitMs, 100)).isBrief(limitMs)).toBe(false);
    expect(paced(30, 31, 32).isBrief(limitMs)).toBe(false);
    expect(paced(0.1, ...often(5, 2000)).isBrief(limitMs), "it has become slow").toBe(false);
  });

  test("not if every tenth run takes much longer, until that has stopped", () => {
    const pace = paced(0.1, 0.1, 0.1);
    for (let round = 0; round < 50; round++)
      for (const ms of [...often(0.1, 9), 40]) pace.observe(ms, 100, limitMs);
    expect(pace.isBrief(limitMs)).toBe(false);
    for (const ms of often(0.1, 300)) pace.observe(ms, 100, limitMs);
    expect(pace.isBrief(limitMs)).toBe(true);
  });

  test("not while a large result is fresh", () => {
    const pace = paced(0.1, 0.1, 0.1);
    pace.observe(0.1, 200_000, limitMs);
    expect(pace.isBrief(limitMs)).toBe(false);
    for (const ms of often(0.1, 100)) pace.observe(ms, 100, limitMs);
    expect(pace.isBrief(limitMs)).toBe(true);
  });

  test("by the limit that holds", () => {
    const pace = paced(3, 3, 3);
    expect(pace.isBrief(2)).toBe(false);
    expect(pace.isBrief(4)).toBe(true);
    for (let round = 0; round < 50; round++) for (const ms of [...often(0.1, 9), 3]) pace.observe(ms, 100, 4);
    expect(pace.isBrief(4), "one in ten takes 3 ms, which is no more than the limit").toBe(true);
    expect(paced(0, 0, 0).isBrief(0)).toBe(false);
  });
});

describe("when 99 of 100 are answered", () => {
  /** Answers of 0.1 to 0.2 ms, and of every `nth` after 10. */
  const answered = (nth: number): number => {
    const pace = new Pace();
    pace.observeAnswer(5);
    for (let i = 0; i < 20_000; i++) pace.observeAnswer(i % nth === 0 ? 10 : 0.1 + (i % 10) / 100);
    return pace.answeredMs;
  };

  test("the few that are slower do not count", () => {
    expect(answered(1000)).toBeGreaterThan(0.15);
    expect(answered(1000)).toBeLessThan(0.3);
  });

  test("those that are as slow as that do", () => {
    expect(answered(20)).toBeGreaterThan(5);
  });
});
