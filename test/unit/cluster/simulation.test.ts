import { expect, test } from "vitest";
import { randomFaults } from "../../kit/simulation/faults.ts";
import { shrink, simulate } from "../../kit/simulation/run.ts";

/** `npm run simulate` takes more. */
const seedsCount = 10_000;
/** On a quiet machine it takes a thirtieth of this. */
const timeoutMs = 300_000;

test("no seed of crashes, partitions, promotions and returns breaks what is promised of nodes", {
  timeout: timeoutMs,
}, () => {
  const sums = { written: 0, readFromStandbys: 0, failovers: 0 };
  for (let seed = 0; seed < seedsCount; seed++) {
    const outcome = simulate(seed);
    if (outcome.violation !== undefined) {
      const { trace } = shrink(seed, randomFaults(seed, 3));
      expect.unreachable(`seed ${seed}: ${outcome.violation}\n${trace.join("\n")}`);
    }
    sums.written += outcome.written;
    sums.readFromStandbys += outcome.readFromStandbys;
    sums.failovers += outcome.failovers;
  }
  // It would be easy to break no promise by doing nothing.
  expect(sums.written).toBeGreaterThan(seedsCount * 10);
  expect(sums.readFromStandbys).toBeGreaterThan(seedsCount * 10);
  expect(sums.failovers).toBeGreaterThan(seedsCount);
});

test.each([40, 41])("seed %i repeats everything", (seed) => {
  const faults = randomFaults(seed, 3);
  const { trace } = simulate(seed, faults, true);
  expect(trace.length).toBeGreaterThan(10);
  expect(simulate(seed, faults, true).trace).toEqual(trace);
});
