import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  AliasTable,
  type BalancePolicy,
  LatencyAverage,
  makeBalancer,
  type NodeLoad,
} from "../../../src/cluster/balance.ts";
import { seeded } from "../../kit/random.ts";

const draws = 100_000;
const idle: NodeLoad = { outstanding: () => 0, latencyMs: () => undefined };

/** Pearson's statistic of what was counted against what the weights say. */
function chiSquare(counts: readonly number[], weights: readonly number[]): number {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const total = counts.reduce((all, count) => all + count, 0);
  return counts.reduce((square, count, index) => {
    const expected = (total * (weights[index] ?? 0)) / sum;
    return expected === 0
      ? square + (count === 0 ? 0 : Infinity)
      : square + (count - expected) ** 2 / expected;
  }, 0);
}

const nodes = (...weights: readonly number[]) =>
  weights.map((weight, index) => ({ name: "abcdefgh"[index] ?? "", weight, zone: undefined }));

function counts(policy: BalancePolicy, weights: readonly number[], load: NodeLoad, seed: number): number[] {
  const balancer = makeBalancer(policy, nodes(...weights), undefined, load);
  const random = seeded(seed);
  const found = weights.map(() => 0);
  for (let draw = 0; draw < draws; draw++) {
    const index = "abcdefgh".indexOf(balancer?.pick(random) ?? "");
    found[index] = (found[index] ?? 0) + 1;
  }
  return found;
}

describe("by weight", () => {
  // 99.9 % of fair draws stay below these (tables of the chi-square distribution, 2 and 4 degrees of freedom).
  test("1:2:1 over 100,000 draws", () => {
    for (const seed of [1, 2, 3])
      expect(chiSquare(counts("weighted", [1, 2, 1], idle, seed), [1, 2, 1])).toBeLessThan(13.82);
  });

  test("weights are any positive reals, and relative", () => {
    const weights = [0.3, 17, 4.25, 1e-3, 9];
    expect(chiSquare(counts("weighted", weights, idle, 4), weights)).toBeLessThan(18.47);
    expect(counts("weighted", [1, 2, 1], idle, 5)).toEqual(counts("weighted", [100, 200, 100], idle, 5));
  });

  test("a node without weight is never drawn, and without any weight there is nobody", () => {
    expect(counts("weighted", [1, 0, 1], idle, 6)[1]).toBe(0);
    expect(makeBalancer("weighted", nodes(0, 0), undefined, idle)).toBeUndefined();
    expect(makeBalancer("weighted", [], undefined, idle)).toBeUndefined();
  });

  test("a seed repeats the draws", () => {
    const drawn = (seed: number) => {
      const random = seeded(seed);
      const table = new AliasTable([3, 1, 2]);
      return Array.from({ length: 50 }, () => table.draw(random));
    };
    expect(drawn(7)).toEqual(drawn(7));
    expect(drawn(7)).not.toEqual(drawn(8));
  });

  test("the table holds exactly the shares of the weights, whatever they are", () => {
    const weight = fc.double({ min: 0, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(fc.array(weight, { minLength: 1, maxLength: 20 }), (weights) => {
        const sum = weights.reduce((total, one) => total + one, 0);
        fc.pre(sum > 1e-3);
        const table = new AliasTable(weights);
        // Over an even grid every draw comes as often as its share, but for the grid's coarseness.
        const grid = 20_000;
        const found = weights.map(() => 0);
        for (let point = 0; point < grid; point++) {
          const index = table.draw(() => (point + 0.5) / grid);
          found[index] = (found[index] ?? 0) + 1;
        }
        for (const [index, count] of found.entries()) {
          expect(Math.abs(count / grid - (weights[index] ?? 0) / sum)).toBeLessThan(0.01);
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe("by load", () => {
  test("least outstanding: the fewest per weight", () => {
    const load = { ...idle, outstanding: (name: string) => ({ a: 4, b: 2, c: 9 })[name] ?? 0 };
    const balancer = makeBalancer("least_outstanding", nodes(1, 1, 1), undefined, load);
    expect(balancer?.pick(seeded(1))).toBe("b");
    const heavy = makeBalancer("least_outstanding", nodes(1, 1, 10), undefined, load);
    expect(heavy?.pick(seeded(1))).toBe("c");
  });

  test("least outstanding: ties go round", () => {
    const found = counts("least_outstanding", [1, 1, 1], idle, 2);
    expect(chiSquare(found, [1, 1, 1])).toBeLessThan(13.82);
  });

  test("latency: a node ten times as slow gets what two draws of it get, and is not forgotten", () => {
    const load = { outstanding: () => 0, latencyMs: (name: string) => (name === "a" ? 50 : 5) };
    const [slow = 0] = counts("latency", [1, 1, 1], load, 3);
    expect(slow / draws).toBeGreaterThan(1 / 9 - 0.01);
    expect(slow / draws).toBeLessThan(1 / 9 + 0.01);
  });

  test("latency: statements that run there count", () => {
    const load = { outstanding: (name: string) => (name === "a" ? 20 : 0), latencyMs: () => 5 };
    const [busy = 0, free = 0] = counts("latency", [1, 1], load, 4);
    expect(busy).toBeLessThan(free / 2);
  });

  test("the average follows a slower node at once and a faster one within seconds", () => {
    const average = new LatencyAverage();
    expect(average.ms).toBeUndefined();
    average.note(5, 0);
    average.note(100, 10);
    expect(average.ms).toBe(100);
    average.note(5, 20);
    expect(average.ms).toBeGreaterThan(95);
    for (let now = 1000; now <= 6000; now += 500) average.note(5, now);
    expect(average.ms).toBeLessThan(6);
  });
});

describe("zones", () => {
  const zoned = [
    { name: "a", weight: 1, zone: "north" },
    { name: "b", weight: 1, zone: "south" },
    { name: "c", weight: 0, zone: "west" },
  ];
  const picked = (zone: string | undefined) => {
    const balancer = makeBalancer("weighted", zoned, zone, idle);
    const random = seeded(1);
    return new Set(Array.from({ length: 100 }, () => balancer?.pick(random)));
  };

  test("the own zone comes first, the others while it has nobody", () => {
    expect(picked("north")).toEqual(new Set(["a"]));
    expect(picked("west")).toEqual(new Set(["a", "b"]));
    expect(picked(undefined)).toEqual(new Set(["a", "b"]));
  });
});
