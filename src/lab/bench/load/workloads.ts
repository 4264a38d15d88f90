/**
 * What one client of the own driver does per transaction: a list of requests, each sent when the one before
 * is answered. The statements are pgbench's built-in scripts.
 */
import { prepare, type QueryProtocol, query, queryParams, queryPrepared } from "./protocol.ts";

export type WorkloadName = "select" | "tpcb" | "mixed";

/** Makes the requests of transactions. */
export interface Workload {
  /** Sent once per connection, before the first transaction. */
  readonly setup: readonly Buffer[];
  next(): readonly Buffer[];
}

const selectSql = "SELECT abalance FROM pgbench_accounts WHERE aid = ";

/** One of five transactions of the mixed workload writes. */
const mixedPeriod = 5;

export function workload(name: WorkloadName, protocol: QueryProtocol, scale: number): Workload {
  switch (name) {
    case "select":
      return select(protocol, scale);
    case "tpcb":
      return { setup: [], next: () => tpcb(scale, true) };
    case "mixed":
      return mixed(scale);
  }
}

function select(protocol: QueryProtocol, scale: number): Workload {
  const account = (): string => String(randomBelow(100_000 * scale) + 1);
  if (protocol === "simple") return { setup: [], next: () => [query(`${selectSql}${account()};`)] };
  if (protocol === "extended") {
    return { setup: [], next: () => [queryParams(`${selectSql}$1;`, [account()])] };
  }
  return { setup: [prepare("P_0", `${selectSql}$1;`)], next: () => [queryPrepared("P_0", [account()])] };
}

function mixed(scale: number): Workload {
  const reads = select("simple", scale);
  // Clients start at different places, so that they do not all write at once.
  let count = randomBelow(mixedPeriod);
  return { setup: [], next: () => (count++ % mixedPeriod === 0 ? tpcb(scale, false) : reads.next()) };
}

/** pgbench's tpcb-like script; without `hotRows` its simple-update, which leaves tellers and branches alone. */
function tpcb(scale: number, hotRows: boolean): readonly Buffer[] {
  const account = randomBelow(100_000 * scale) + 1;
  const branch = randomBelow(scale) + 1;
  const teller = randomBelow(10 * scale) + 1;
  const delta = randomBelow(10_001) - 5000;
  const history = `(tid, bid, aid, delta, mtime) VALUES (${teller}, ${branch}, ${account}, ${delta}, CURRENT_TIMESTAMP)`;
  return [
    "BEGIN;",
    `UPDATE pgbench_accounts SET abalance = abalance + ${delta} WHERE aid = ${account};`,
    `${selectSql}${account};`,
    ...(hotRows ? [`UPDATE pgbench_tellers SET tbalance = tbalance + ${delta} WHERE tid = ${teller};`] : []),
    ...(hotRows ? [`UPDATE pgbench_branches SET bbalance = bbalance + ${delta} WHERE bid = ${branch};`] : []),
    `INSERT INTO pgbench_history ${history};`,
    "END;",
  ].map((sql) => query(sql));
}

function randomBelow(limit: number): number {
  return Math.floor(Math.random() * limit);
}
