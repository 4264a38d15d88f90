/**
 * What a view of a buffer costs, and what an array that is emptied in each turn: `node --import tsx bench/micro/views.ts`. Nanoseconds,
 * the least of some rounds of a million.
 */
import { ReadBuffer } from "../../src/base/read-buffer.ts";

const rounds = 15;
const operations = 1_000_000;
const bytes = Buffer.allocUnsafeSlow(64 * 1024);
const target = Buffer.allocUnsafeSlow(64 * 1024);
const reads = new ReadBuffer(64 * 1024);
const kept = bytes.subarray(0, 80);
const emptied: object[] = [];
const filled: (object | undefined)[] = [];
let filledCount = 0;
let sum = 0;

/** So that nothing is left out as unused. */
let last: unknown;

const ways: Record<string, (index: number) => void> = {
  "subarray of 80 bytes": (index) => {
    last = bytes.subarray(index & 63, (index & 63) + 80);
  },
  "the same, kept": (index) => {
    last = reads.first(80 + (index & 63));
  },
  "copy of 80 bytes of a longer buffer": () => {
    bytes.copy(target, 0, 0, 80);
  },
  "set with a kept view of them": () => {
    target.set(kept, 0);
  },
  "Buffer.allocUnsafe(80)": () => {
    last = Buffer.allocUnsafe(80);
  },
  "an array of four, emptied by its length": () => {
    for (let i = 0; i < 4; i++) emptied.push(bytes);
    emptied.length = 0;
  },
  "an array of four, emptied by a count": () => {
    for (let i = 0; i < 4; i++) filled[filledCount++] = bytes;
    for (let i = 0; i < filledCount; i++) filled[i] = undefined;
    filledCount = 0;
  },
  "performance.now, the global": () => {
    sum += performance.now();
  },
  "performance.now, kept": () => {
    sum += timer.now();
  },
};
const timer = performance;

for (const [name, way] of Object.entries(ways)) {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = process.hrtime.bigint();
    for (let index = 0; index < operations; index++) way(index);
    least = Math.min(least, Number(process.hrtime.bigint() - start) / operations);
  }
  process.stdout.write(`${name}: ${least.toFixed(0)}\n`);
}
if (last === undefined || sum === 0) throw new Error("nothing was measured");
