import { describe, expect, test } from "vitest";
import { SharedLookups } from "../../../src/server/shared-lookups.ts";

/** Answers are given when the test wants them. */
class Oracle {
  readonly asked: { readonly answer: (value: string) => void; readonly fail: (error: Error) => void }[] = [];
  readonly ask = (): Promise<string> =>
    new Promise((answer, fail) => {
      this.asked.push({ answer, fail });
    });
}

function lookups(limits: { entriesMax?: number; ageMaxMs?: number } = {}) {
  const time = { now: 0 };
  const shared = new SharedLookups<string>({
    entriesMax: () => limits.entriesMax ?? 10,
    ageMaxMs: () => limits.ageMaxMs ?? 100,
    now: () => time.now,
  });
  const oracle = new Oracle();
  return {
    time,
    shared,
    oracle,
    get: (key: string) => shared.get(key, oracle.ask),
  };
}

describe("SharedLookups", () => {
  test("asks once for all who wait, and not again until the answer is too old", async () => {
    const { time, oracle, get } = lookups();
    const waiting = [get("a"), get("a")];
    expect(oracle.asked).toHaveLength(1);
    oracle.asked[0]?.answer("yes");
    for (const answer of waiting) expect(await answer).toBe("yes");
    time.now = 99;
    expect(get("a")).toBe("yes");
    time.now = 100;
    void get("a");
    expect(oracle.asked).toHaveLength(2);
  });

  test("keeps no failures", async () => {
    const { shared, oracle, get } = lookups();
    const first = get("a");
    oracle.asked[0]?.fail(new Error("it does not answer"));
    await expect(first).rejects.toThrow("it does not answer");
    expect(shared.size).toBe(0);
    void get("a");
    expect(oracle.asked).toHaveLength(2);
  });

  test("forgets the one that was used least recently, the one that it is told to, and all", async () => {
    const { shared, oracle, get } = lookups({ entriesMax: 2 });
    for (const [index, key] of ["a", "b"].entries()) {
      const answer = get(key);
      oracle.asked[index]?.answer(key);
      await answer;
    }
    expect(get("a")).toBe("a");
    const third = get("c");
    oracle.asked[2]?.answer("c");
    await third;
    expect(get("a")).toBe("a");
    expect(get("b")).toBeInstanceOf(Promise);
    shared.forget("a");
    expect(get("a")).toBeInstanceOf(Promise);
    shared.clear();
    expect(shared.size).toBe(0);
  });

  test("what was asked before everything was forgotten serves only those who wait for it", async () => {
    const { shared, oracle, get } = lookups();
    const before = get("a");
    shared.clear();
    const after = get("a");
    expect(oracle.asked).toHaveLength(2);
    oracle.asked[0]?.answer("old");
    expect(await before).toBe("old");
    expect(shared.size).toBe(0);
    oracle.asked[1]?.answer("new");
    expect(await after).toBe("new");
    expect(get("a")).toBe("new");
  });

  test("at an age of 0 only those who wait share an answer", async () => {
    const { shared, oracle, get } = lookups({ ageMaxMs: 0 });
    const waiting = [get("a"), get("a")];
    oracle.asked[0]?.answer("yes");
    for (const answer of waiting) expect(await answer).toBe("yes");
    expect(shared.size).toBe(0);
    expect(get("a")).toBeInstanceOf(Promise);
  });
});
