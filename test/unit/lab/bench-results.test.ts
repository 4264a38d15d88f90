import { expect, test } from "vitest";
import { quantile } from "../../../src/lab/bench/load/run-load.ts";
import type { Sample } from "../../../src/lab/bench/measure.ts";
import {
  benchDefaults,
  busiestClients,
  checkBenchOptions,
  clientsOf,
  effectivePoolSize,
} from "../../../src/lab/bench/options.ts";
import { median, summarise } from "../../../src/lab/bench/results.ts";

function sample(tps: number, cpuMicrosPerTx: number | undefined): Sample {
  return {
    tps,
    p50Ms: 1,
    p99Ms: 2,
    cpuMicrosPerTx,
    rssBytes: 1000,
    bytesPerClient: undefined,
    readyMs: undefined,
    crowdMs: undefined,
    copiedBytesPerSecond: undefined,
    connectSeconds: 0,
  };
}

test("the median of an even number of values is the mean of the middle two", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([])).toBeNull();
});

test("a quantile is one of the values", () => {
  expect(quantile([1, 2, 3, 4], 0.5)).toBe(3);
  expect(quantile([1, 2, 3, 4], 0.99)).toBe(4);
  expect(quantile([], 0.5)).toBeNaN();
});

test("a scenario has medians over its rounds, and ratios of pgsluice to each peer", () => {
  const summary = summarise(
    "select-simple",
    64,
    "transaction",
    new Map([
      ["pgsluice", { samples: [sample(90, 30), sample(110, 20), sample(100, 25)] }],
      ["direct", { samples: [sample(200, undefined)] }],
      ["pgbouncer", { samples: [], error: "no" }],
    ]),
  );
  expect(summary.results).toEqual([
    { peer: "pgsluice", tps: 100, p50Ms: 1, p99Ms: 2, cpuMicrosPerTx: 25, rssBytes: 1000 },
    { peer: "direct", tps: 200, p50Ms: 1, p99Ms: 2, cpuMicrosPerTx: null, rssBytes: 1000 },
    {
      peer: "pgbouncer",
      tps: null,
      p50Ms: null,
      p99Ms: null,
      cpuMicrosPerTx: null,
      rssBytes: null,
      error: "no",
    },
  ]);
  expect(summary.ratio).toEqual({ direct: 0.5, pgbouncer: null });
});

test("a COPY has the memory before and after it", () => {
  const samples = [1, 3, 2].map((n) => ({
    ...sample(0.1, undefined),
    rssBeforeBytes: 100 * n,
    rssAfterBytes: 200 * n,
  }));
  const cell = new Map([["pgsluice", { samples }]] as const);
  expect(summarise("copy-in", 1, "auto", cell).results).toMatchObject([
    { rssBeforeBytes: 200, rssBytes: 1000, rssAfterBytes: 400 },
  ]);
  expect(summarise("tpcb", 1, "auto", cell).results[0]).not.toHaveProperty("rssBeforeBytes");
});

test("a COPY of a gigabyte has a rate and a ratio, though it takes seconds", () => {
  const cell = new Map([
    ["pgsluice", { samples: [sample(0.1275, undefined)] }],
    ["direct", { samples: [sample(0.15, undefined)] }],
  ] as const);
  expect(summarise("copy-out", 1, "transaction", cell)).toMatchObject({
    results: [{ tps: 0.1275 }, { tps: 0.15 }],
    ratio: { direct: 0.85 },
  });
});

test("the pool is as large as the number of clients where clients keep their servers", () => {
  const options = { ...benchDefaults, scenarios: ["select-simple", "idle"] as const };
  expect(clientsOf(options, "idle")).toEqual([10_000]);
  expect(busiestClients(options)).toBe(500);
  expect(effectivePoolSize(options)).toBe(20);
  expect(effectivePoolSize({ ...options, mode: "session" })).toBe(500);
});

test("options out of range are refused by name", () => {
  checkBenchOptions(benchDefaults);
  expect(() => checkBenchOptions({ ...benchDefaults, rounds: 0 })).toThrow(
    "the rounds must be from 1 to 100, not 0",
  );
  expect(() => checkBenchOptions({ ...benchDefaults, clients: [0] })).toThrow("number of clients");
});
