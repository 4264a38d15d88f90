import { expect, test } from "vitest";
import { randomFaults, shrink, simulate } from "../../kit/simulation/run.ts";

/** As many as fit into this, `seedsMax` at most; `npm run simulate` takes more. */
const budgetMs = 8000;
const seedsMax = 10_000;

test("no seed of crashes, partitions, promotions and returns breaks what is promised of nodes", () => {
  const startedAt = performance.now();
  let seeds = 0;
  const sums = { written: 0, readFromStandbys: 0, failovers: 0 };
  for (; seeds < seedsMax && performance.now() - startedAt < budgetMs; seeds++) {
    const outcome = simulate(seeds);
    if (outcome.violation !== undefined) {
      const { trace } = shrink(seeds, randomFaults(seeds, 3));
      expect.unreachable(`seed ${seeds}: ${outcome.violation}\n${trace.join("\n")}`);
    }
    sums.written += outcome.written;
    sums.readFromStandbys += outcome.readFromStandbys;
    sums.failovers += outcome.failovers;
  }
  console.log(`${seeds} seeds of the simulation: ${JSON.stringify(sums)}`);
  // It would be easy to break no promise by doing nothing.
  expect(sums.written).toBeGreaterThan(seeds * 10);
  expect(sums.readFromStandbys).toBeGreaterThan(seeds * 10);
  expect(sums.failovers).toBeGreaterThan(seeds);
});

test("a seed repeats everything", () => {
  const { trace } = simulate(41);
  expect(trace.length).toBeGreaterThan(10);
  expect(simulate(41).trace).toEqual(trace);
});
