/** Averages by PgBouncer's arithmetic (stats.c, calc_average and refresh_stats), to the last digit. */
import { expect, test } from "vitest";
import { cellsOf, counterNames } from "../../../src/admin/statistics.ts";
import { VirtualClock } from "../../../src/base/clock.ts";
import { StatisticsTable } from "../../../src/server/statistics.ts";

const periodMs = 60_000;

function averages(table: StatisticsTable, database: string): Record<string, number> {
  const counted = table.get(database);
  if (counted === undefined) throw new Error("the database is known");
  const cells = cellsOf(counted.averages);
  return Object.fromEntries(counterNames.map((name, index) => [name, cells[index] ?? Number.NaN]));
}

test("since the end of the period before last; counts per second, times per query, transaction, assignment", () => {
  const clock = new VirtualClock();
  const table = new StatisticsTable(clock);
  const counts = table.of("app");
  // A first period, whose counts are in no later average.
  counts.queryCount = 1000;
  counts.queryMs = 5000;
  clock.advance(periodMs);
  expect(table.tick(periodMs)).toBeDefined();
  clock.advance(1000);
  expect(table.tick(periodMs)).toBeUndefined();
  clock.advance(periodMs - 1000);
  expect(table.tick(periodMs)).toBeDefined();
  // The period that has just ended was empty, and of the one that is under way 10 seconds have passed.
  Object.assign(counts, {
    ...{ queryCount: 1000 + 299, queryMs: 5000 + 1000, xactCount: 141, xactMs: 705.5 },
    ...{ serverAssignmentCount: 139, waitMs: 1390, receivedBytes: 7000, sentBytes: 139_999 },
    ...{ clientParseCount: 70, serverParseCount: 69, bindCount: 140, clientLoginCount: 7 },
  });
  clock.advance(10_000);
  expect(averages(table, "app")).toEqual({
    // Over 70 seconds, the rest cut off.
    query_count: 4, // 299 / 70
    xact_count: 2, // 141 / 70
    server_assignment_count: 1, // 139 / 70
    received: 100,
    sent: 1999, // 139,999 / 70
    client_parse_count: 1,
    server_parse_count: 0,
    bind_count: 2,
    client_login_count: 0,
    query_time: 3344, // 1,000,000 µs / 299
    xact_time: 5003, // 705,500 µs / 141
    wait_time: 10_000, // 1,390,000 µs / 139
  });
});

test("what did not happen has no average", () => {
  const clock = new VirtualClock();
  const table = new StatisticsTable(clock);
  table.of("app").waitMs = 100;
  clock.advance(5000);
  expect(new Set(Object.values(averages(table, "app")))).toEqual(new Set([0]));
});

test("of all databases together: from the sums, not from the averages", () => {
  const clock = new VirtualClock();
  const table = new StatisticsTable(clock);
  Object.assign(table.of("one"), { queryCount: 1, queryMs: 100 });
  Object.assign(table.of("two"), { queryCount: 9, queryMs: 100 });
  clock.advance(1000);
  // 200,000 µs for 10 queries, in the 2 seconds that the first average stands on.
  expect(table.total().averages).toMatchObject({ queryMs: 20, queryCount: 5 });
});
