/**
 * Many seeds of the simulation of several nodes: `npm run simulate -- [SEEDS] [FIRST]`, or `--seeds N --first N`. Stops at the
 * first seed that goes wrong, with the fewest faults that do it and everything that happened.
 */
import { parseArgs } from "node:util";
import { randomFaults } from "../test/kit/simulation/faults.ts";
import { shrink, simulate } from "../test/kit/simulation/run.ts";

const { values, positionals } = parseArgs({
  options: { seeds: { type: "string" }, first: { type: "string" } },
  allowPositionals: true,
});
const count = wholeNumber(values.seeds ?? positionals[0] ?? "100000");
const first = wholeNumber(values.first ?? positionals[1] ?? "1");
const startedAt = performance.now();
let written = 0;
let readFromStandbys = 0;
let failovers = 0;
for (let seed = first; seed < first + count; seed++) {
  const outcome = simulate(seed);
  written += outcome.written;
  readFromStandbys += outcome.readFromStandbys;
  failovers += outcome.failovers;
  if (outcome.violation === undefined) continue;
  const least = shrink(seed, randomFaults(seed, 3));
  console.log(`seed ${seed}: ${outcome.violation}\n${least.trace.join("\n")}`);
  process.exit(1);
}
const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
console.log(
  `${count} seeds from ${first} in ${seconds} s: ${written} writes, ${readFromStandbys} reads from standbys, ${failovers} primaries; nothing went wrong`,
);

function wholeNumber(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  console.error(`"${text}" is no number of seeds`);
  process.exit(2);
}
