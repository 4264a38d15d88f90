/** When it is worth looking whether others have changed the catalogs, and reading them again. */
import { expect, test } from "vitest";
import { CatalogWatch } from "../../../src/session/auto/catalog-watch.ts";

const statistics = { receivedBytes: 0 };

function readAt(beganAtMs: number, endedAtMs: number): CatalogWatch {
  const watch = new CatalogWatch(statistics);
  watch.asking(beganAtMs);
  watch.read("7", endedAtMs);
  return watch;
}

test("who uses the database is looked for every second, who does not every half minute", () => {
  const watch = readAt(100_000, 100_010);
  expect(watch.due(129_999)).toBe(false);
  expect(watch.due(130_000)).toBe(true);
  statistics.receivedBytes += 50;
  expect(watch.due(100_999)).toBe(false);
  expect(watch.due(101_000)).toBe(true);
  watch.asking(101_000);
  expect(watch.due(102_000)).toBe(false);
});

test("where the catalogs were not read, or nothing is counted, nobody looks", () => {
  const watch = new CatalogWatch(statistics);
  expect(watch.due(1_000_000)).toBe(false);
  watch.asking(1_000_000);
  watch.read(undefined, 1_000_010);
  expect(watch.due(2_000_000)).toBe(false);
});

test("another count tells of DDL, as soon as the last reading is long enough ago", () => {
  const watch = readAt(100_000, 100_010);
  expect(watch.tells("7", 200_000)).toBe(false);
  expect(watch.tells("8", 105_009)).toBe(false);
  expect(watch.tells("8", 105_010)).toBe(true);
});

test("a reading that takes long is paid for by a longer pause", () => {
  const watch = readAt(100_000, 102_000);
  expect(watch.tells("8", 141_999)).toBe(false);
  expect(watch.tells("8", 142_000)).toBe(true);
});
