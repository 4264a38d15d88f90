/**
 * Statistics of every database, and their averages: at the end of each `stats_period` the counts are put aside, and
 * what was counted since the period before last is divided by the time, so that an average never stands on a few
 * moments (PgBouncer does the same).
 */
import type { Clock } from "../base/clock.ts";
import { Statistics } from "../pool/statistics.ts";

/** What the line of statistics in the log says, in the order of PgBouncer's. */
export function statisticsFields(averages: Statistics): Record<string, number> {
  const fields = {
    xactsPerSecond: averages.xactCount,
    queriesPerSecond: averages.queryCount,
    clientParsesPerSecond: averages.clientParseCount,
    serverParsesPerSecond: averages.serverParseCount,
    bindsPerSecond: averages.bindCount,
    receivedBytesPerSecond: averages.receivedBytes,
    sentBytesPerSecond: averages.sentBytes,
    xactMicros: averages.xactMs * 1000,
    queryMicros: averages.queryMs * 1000,
    waitMicros: averages.waitMs * 1000,
  };
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, Math.floor(value)]));
}

interface Entry {
  readonly totals: Statistics;
  /** As they were at the end of the last period, and of the one before it. */
  newer: Statistics;
  older: Statistics;
  /** When the database was last asked for. */
  usedAtMs: number;
}

/** Databases that nobody has asked for in so long are forgotten: PgBouncer's autodb_idle_timeout. */
const forgetMs = 3600_000;
/** Names of databases are clients' to choose where `*` stands for all. */
const entriesMax = 10_000;

export class StatisticsTable {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  #newerAtMs: number;
  #olderAtMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#newerAtMs = clock.now();
    this.#olderAtMs = this.#newerAtMs - 1000;
  }

  /** Where what happens in a database is counted. */
  of(database: string): Statistics {
    let entry = this.#entries.get(database);
    if (entry === undefined) {
      entry = { totals: new Statistics(), newer: new Statistics(), older: new Statistics(), usedAtMs: 0 };
      this.#entries.set(database, entry);
    }
    entry.usedAtMs = this.#clock.now();
    return entry.totals;
  }

  get databases(): string[] {
    return [...this.#entries.keys()].sort();
  }

  get(database: string): { readonly totals: Statistics; readonly averages: Statistics } | undefined {
    const entry = this.#entries.get(database);
    if (entry === undefined) return undefined;
    return { totals: entry.totals, averages: this.#average(entry.totals, entry.older) };
  }

  /** Over all databases. */
  total(): { readonly totals: Statistics; readonly averages: Statistics } {
    const totals = new Statistics();
    const older = new Statistics();
    for (const entry of this.#entries.values()) {
      totals.add(entry.totals);
      older.add(entry.older);
    }
    return { totals, averages: this.#average(totals, older) };
  }

  /** Ends a period if it is over. Returns the averages over all databases if so. */
  tick(periodMs: number): Statistics | undefined {
    const nowMs = this.#clock.now();
    if (nowMs - this.#newerAtMs < periodMs) return undefined;
    this.#olderAtMs = this.#newerAtMs;
    this.#newerAtMs = nowMs;
    for (const entry of this.#entries.values()) {
      entry.older = entry.newer;
      entry.newer = entry.totals.copy();
    }
    return this.total().averages;
  }

  /** Forgets databases that nobody has used for long; `isUsed` says of which that cannot be. */
  forget(isUsed: (database: string) => boolean): void {
    const nowMs = this.#clock.now();
    const tooMany = this.#entries.size - entriesMax;
    let forgotten = 0;
    for (const [database, { usedAtMs }] of this.#entries) {
      if (nowMs - usedAtMs < forgetMs && forgotten >= tooMany) continue;
      if (isUsed(database)) continue;
      this.#entries.delete(database);
      forgotten++;
    }
  }

  #average(now: Statistics, before: Statistics): Statistics {
    const seconds = (this.#clock.now() - this.#olderAtMs) / 1000;
    const average = new Statistics();
    if (seconds <= 0) return average;
    const queries = now.queryCount - before.queryCount;
    const xacts = now.xactCount - before.xactCount;
    const assignments = now.serverAssignmentCount - before.serverAssignmentCount;
    average.queryCount = queries / seconds;
    average.xactCount = xacts / seconds;
    average.serverAssignmentCount = assignments / seconds;
    average.receivedBytes = (now.receivedBytes - before.receivedBytes) / seconds;
    average.sentBytes = (now.sentBytes - before.sentBytes) / seconds;
    average.clientParseCount = (now.clientParseCount - before.clientParseCount) / seconds;
    average.serverParseCount = (now.serverParseCount - before.serverParseCount) / seconds;
    average.bindCount = (now.bindCount - before.bindCount) / seconds;
    average.clientLoginCount = (now.clientLoginCount - before.clientLoginCount) / seconds;
    if (queries > 0) average.queryMs = (now.queryMs - before.queryMs) / queries;
    if (xacts > 0) average.xactMs = (now.xactMs - before.xactMs) / xacts;
    if (assignments > 0) average.waitMs = (now.waitMs - before.waitMs) / assignments;
    return average;
  }
}
