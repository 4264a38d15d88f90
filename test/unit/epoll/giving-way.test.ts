/** When the loop lets others have the processor first. */
import { beforeEach, describe, expect, test } from "vitest";
import { GivingWay } from "../../../src/epoll/giving-way.ts";

describe("giving way", () => {
  let nowMs = 0;
  let takesMs = 0;
  let given = 0;
  let way: GivingWay;

  beforeEach(() => {
    nowMs = 1000;
    takesMs = 0;
    given = 0;
    way = new GivingWay(
      () => {
        given++;
        nowMs += takesMs;
      },
      () => nowMs,
    );
  });

  test("is for turns in which several have come", () => {
    way.beforeWaiting(0);
    way.beforeWaiting(1);
    expect(given).toBe(0);
    way.beforeWaiting(2);
    way.beforeWaiting(500);
    expect(given).toBe(2);
  });

  test("goes on while it is short", () => {
    takesMs = 0.9;
    for (let i = 0; i < 100; i++) way.beforeWaiting(3);
    expect(given).toBe(100);
  });

  test("rests for many times as long as a long one took", () => {
    takesMs = 3;
    way.beforeWaiting(3);
    nowMs = 1000 + 3 * 64 - 0.1;
    way.beforeWaiting(3);
    expect(given).toBe(1);
    nowMs = 1000 + 3 * 64;
    way.beforeWaiting(3);
    expect(given).toBe(2);
  });

  test("loses no more than a small part of the time to one that computes", () => {
    takesMs = 4;
    const begun = nowMs;
    while (nowMs < begun + 60_000) {
      way.beforeWaiting(2);
      nowMs += 0.1;
    }
    expect((given * takesMs) / (nowMs - begun)).toBeLessThan(1 / 60);
  });
});
