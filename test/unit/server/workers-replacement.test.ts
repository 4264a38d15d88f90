/** When a worker that has died is replaced. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { silentLogger } from "../../../src/base/log.ts";
import type { Member } from "../../../src/server/workers/member.ts";
import { Replacement } from "../../../src/server/workers/replacement.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function replacementOf(): { replacement: Replacement; begun: number[]; given: string[] } {
  const begun: number[] = [];
  const given: string[] = [];
  const replacement = new Replacement({
    logger: silentLogger,
    begin: (slot) => begun.push(slot),
    giveUp: ({ message }) => given.push(message),
  });
  return { replacement, begun, given };
}

function dead(ageMs: number, wasReady: boolean): Member {
  return { slot: 1, pid: 7, ageMs, connections: 0, wasReady, failure: undefined } as unknown as Member;
}

test("one that dies again and again is replaced after pauses that double, up to ten seconds", () => {
  const { replacement, begun, given } = replacementOf();
  const pauses: number[] = [];
  for (let i = 0; i < 10; i++) {
    replacement.onExit(dead(50, true), "SIGSEGV");
    let waitedMs = 0;
    for (; begun.length === i; waitedMs += 100) vi.advanceTimersByTime(waitedMs === 0 ? 0 : 100);
    pauses.push(Math.max(0, waitedMs - 100));
  }
  expect(pauses).toEqual([0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  expect(given).toEqual([]);
  expect(replacement.countOf(1)).toBe(10);
});

test("one that lived for long is replaced at once, and those before it are forgotten", () => {
  const { replacement, begun } = replacementOf();
  for (let i = 0; i < 4; i++) replacement.onExit(dead(50, true), "SIGSEGV");
  vi.advanceTimersByTime(1000);
  replacement.onExit(dead(20_000, true), "SIGSEGV");
  vi.advanceTimersByTime(0);
  expect(begun).toHaveLength(5);
});

test("one that cannot be started is given up after five times, and says why", () => {
  const { replacement, begun, given } = replacementOf();
  for (let i = 0; i < 5; i++) {
    replacement.onExit(dead(50, false), "exit code 1");
    vi.advanceTimersByTime(10_000);
  }
  expect(begun).toHaveLength(4);
  expect(given).toEqual(["worker 2 could not be started 5 times in a row: exit code 1"]);
});
