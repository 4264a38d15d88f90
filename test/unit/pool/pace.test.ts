/** Which statements are brief enough to share a server. */
import { describe, expect, test } from "vitest";
import { briefMsMax, Pace } from "../../../src/pool/pace.ts";

function paced(...times: readonly number[]): Pace {
  const pace = new Pace();
  for (const ms of times) pace.observe(ms, 100);
  return pace;
}

const often = (ms: number, count: number): number[] => Array.from({ length: count }, () => ms);

describe("a statement is brief", () => {
  test("after three quick runs, not before", () => {
    expect(paced(0.1, 0.1).brief).toBe(false);
    expect(paced(0.1, 0.1, 0.1).brief).toBe(true);
  });

  test("though the first run was slow, or the machine is so busy that most are", () => {
    expect(paced(50, 0.2, 0.2, 0.2).brief).toBe(true);
    const busy = paced(0.2);
    for (let round = 0; round < 100; round++) for (const ms of [...often(9, 19), 0.3]) busy.observe(ms, 100);
    expect(busy.brief).toBe(true);
  });

  test("not if a server needs long for it", () => {
    expect(paced(...often(briefMsMax, 100)).brief).toBe(false);
    expect(paced(30, 31, 32).brief).toBe(false);
    expect(paced(0.1, ...often(5, 2000)).brief, "it has become slow").toBe(false);
  });

  test("not if every tenth run takes much longer, until that has stopped", () => {
    const pace = paced(0.1, 0.1, 0.1);
    for (let round = 0; round < 50; round++) for (const ms of [...often(0.1, 9), 40]) pace.observe(ms, 100);
    expect(pace.brief).toBe(false);
    for (const ms of often(0.1, 300)) pace.observe(ms, 100);
    expect(pace.brief).toBe(true);
  });

  test("not while a large result is fresh", () => {
    const pace = paced(0.1, 0.1, 0.1);
    pace.observe(0.1, 200_000);
    expect(pace.brief).toBe(false);
    for (const ms of often(0.1, 100)) pace.observe(ms, 100);
    expect(pace.brief).toBe(true);
  });
});
