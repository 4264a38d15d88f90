/**
 * How the answers of several workers to one statement become one answer. What names connections is listed one worker after the other; what counts is added
 * up; what all of them know alike is asked of one, and so is not in here. RELOAD, SET and SHUTDOWN are not either: their hands reach all processes.
 */
import { Failure, type OperationError } from "../base/errors.ts";
import { consoleDatabase, isConsoleDatabase } from "../config/reserved.ts";
import { canceledByUser } from "../session/replies.ts";
import { type Answer, consoleError } from "./command.ts";
import type { WorkerAnswer } from "./context.ts";
import type { Cell, Row } from "./result.ts";

/** Has every worker run another statement. */
export type Ask = (text: string) => Promise<readonly WorkerAnswer[]>;

export interface Merge {
  /** Each row says at its end which worker it is of. */
  readonly namesWorker?: true;
  /** `argument`: what the command was about. */
  merge(answers: readonly WorkerAnswer[], ask: Ask, argument: unknown): Answer | Promise<Answer>;
}

/** Undefined: the process that is asked answers for all of them. */
export function mergeOf(command: string): Merge | undefined {
  return merges.get(command);
}

/** How the cells of one column become one. */
type Combine = (a: Cell, b: Cell) => Cell;

const sum: Combine = (a, b) => Number(a) + Number(b);
const largest: Combine = (a, b) => Math.max(Number(a), Number(b));
/** Columns of type int4 hold no more. */
const int4Max = 2 ** 31 - 1;
const int4Sum: Combine = (a, b) => Math.min(int4Max, Number(a) + Number(b));

/** By column. */
type Columns = Readonly<Record<number, Combine>>;

function columnsFrom(first: number, count: number, combine: Combine): Columns {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [first + index, combine]));
}

const stats = 12;
/** Of the cells of statistics, averages over what: transactions, queries, server assignments (statistics.ts). */
const averagedBy: Readonly<Record<number, number>> = { 5: 1, 6: 2, 7: 0 };

const merges: ReadonlyMap<string, Merge> = new Map<string, Merge>([
  ...["CLIENTS", "SERVERS", "SOCKETS", "ACTIVE_SOCKETS", "RESERVATIONS", "DISCOVERY"].map(
    (name): [string, Merge] => [`SHOW ${name}`, listed(true)],
  ),
  // What they list has process ids of its own.
  ...["POOL_PROCESSES", "POOL_POOLS", "LISTENERS"].map((name): [string, Merge] => [
    `SHOW ${name}`,
    listed(false),
  ]),
  ["SHOW POOLS", grouped(2, poolRow, consoleDatabase)],
  ["SHOW DATABASES", grouped(1, byColumn({ 12: sum, 14: sum, 15: largest, 16: largest }), consoleDatabase)],
  ["SHOW USERS", grouped(1, byColumn({ 5: sum, 7: sum }))],
  ["SHOW MULTIPLEX", grouped(3, byColumn({ ...columnsFrom(3, 9, sum), 12: largest }))],
  ["SHOW CLASSIFIER", grouped(0, byColumn(columnsFrom(0, 12, sum)))],
  ["SHOW RESERVATION_STATS", grouped(3, byColumn(columnsFrom(3, 2, sum)))],
  ["SHOW PEER_POOLS", grouped(1, byColumn(columnsFrom(1, 4, sum)))],
  ["SHOW MEM", inOrder(1, { 2: int4Sum, 3: int4Sum, 4: int4Sum })],
  ["SHOW LOGIN_LATENCY", inOrder(2, { 2: sum, 3: sum })],
  ["SHOW STATS", grouped(1, (rows) => statisticsRow(rows, 1, 1 + stats))],
  ["SHOW STATS_TOTALS", grouped(1, (rows) => statisticsRow(rows, 1, undefined))],
  ["SHOW STATS_AVERAGES", grouped(1, (rows) => statisticsRow(rows, undefined, 1))],
  ["SHOW TOTALS", { merge: totals }],
  ["SHOW LISTS", { merge: lists }],
  ["SHOW STATE", { merge: state }],
  ["SHOW POOL_NODES", { merge: poolNodes }],
  ["SHOW NODES", grouped(1, byColumn({ 16: sum }))],
  ...["ATTACH", "DETACH", "DRAIN", "QUARANTINE", "FENCE", "UNFENCE", "ACCEPT"].map(
    (name): [string, Merge] => [name, { merge: allOf }],
  ),
  ["KILL", { merge: kill }],
  // The client is at one of them.
  ["KILL_CLIENT", { merge: anyOf }],
  ["PAUSE", { merge: pause }],
  ...["RESUME", "DISABLE", "ENABLE", "RECONNECT", "WAIT_CLOSE"].map((name): [string, Merge] => [
    name,
    { merge: allOf },
  ]),
]);

/** The first failure if there is one, else the first answer. Throws if no worker is left. */
function allOf(answers: readonly WorkerAnswer[]): Answer {
  for (const { answer } of answers) if (answer instanceof Failure) throw answer;
  return anyOf(answers);
}

/** The first answer if there is one, else the first failure. */
function anyOf(answers: readonly WorkerAnswer[]): Answer {
  let failure: Failure | undefined;
  for (const { answer } of answers) {
    if (!(answer instanceof Failure)) return answer;
    failure ??= answer;
  }
  throw failure ?? nobodyAnswered();
}

function nobodyAnswered(): OperationError {
  return consoleError("no worker has answered", "57P03");
}

function rowsOf(answers: readonly WorkerAnswer[]): Row[] {
  allOf(answers);
  return answers.flatMap(({ answer }) => (answer instanceof Failure ? [] : (answer.rows ?? [])));
}

function listed(namesWorker: boolean): Merge {
  return {
    ...(namesWorker ? { namesWorker: true as const } : {}),
    merge(answers) {
      const { tag } = allOf(answers);
      const rows = answers.flatMap(({ worker, answer }) => {
        const own = answer instanceof Failure ? [] : (answer.rows ?? []);
        return namesWorker ? own.map((row) => [...row, worker]) : own;
      });
      return { tag, rows };
    },
  };
}

/** One row for those that begin with the same `keys` cells, in their order; where there is one of the console's own, that is `last`. */
function grouped(keys: number, combine: (rows: readonly Row[]) => Row, last?: string): Merge {
  return {
    merge: (answers) => {
      const rows = groups(rowsOf(answers), keys).map(combine);
      return {
        tag: "SHOW",
        rows: rows.toSorted((a, b) => order(a, last) - order(b, last) || compare(a, b, keys)),
      };
    },
  };
}

function order([name]: Row, last: string | undefined): number {
  return name === last ? 1 : 0;
}

/** As those who list them do: by their names. */
function compare(a: Row, b: Row, keys: number): number {
  const [first, second] = [a, b].map((row) => row.slice(0, keys).join("\0"));
  if (first === second) return 0;
  return (first ?? "") < (second ?? "") ? -1 : 1;
}

function groups(rows: readonly Row[], keys: number): Row[][] {
  const byKey = new Map<string, Row[]>();
  for (const row of rows) {
    const key = JSON.stringify(row.slice(0, keys));
    const group = byKey.get(key);
    if (group === undefined) byKey.set(key, [row]);
    else group.push(row);
  }
  return [...byKey.values()];
}

function byColumn(columns: Columns): (rows: readonly Row[]) => Row {
  return (rows) =>
    rows.reduce((merged, row) => merged.map((cell, index) => merge(cell, row[index], columns[index])));
}

function merge(a: Cell, b: Cell | undefined, combine: Combine | undefined): Cell {
  if (combine === undefined || b === undefined) return a;
  return combine(a, b);
}

/** One row for those that begin with the same `keys` cells, in the order of one process. */
function inOrder(keys: number, columns: Columns): Merge {
  return {
    merge: (answers) => ({ tag: "SHOW", rows: groups(rowsOf(answers), keys).map(byColumn(columns)) }),
  };
}

/** Everything but who waits longest is a count. */
function poolRow(rows: readonly Row[]): Row {
  const counts = byColumn(columnsFrom(2, 11, sum))(rows);
  const [longest] = rows.toSorted((a, b) => waited(b) - waited(a));
  return [...counts.slice(0, 13), ...(longest ?? counts).slice(13, 15), ...counts.slice(15)];
}

function waited(row: Row): number {
  return Number(row[13]) * 1_000_000 + Number(row[14]);
}

/** `totalsAt`, `averagesAt`: where twelve cells of statistics begin. Rates add up; times are averaged by how many there were. */
function statisticsRow(
  rows: readonly Row[],
  totalsAt: number | undefined,
  averagesAt: number | undefined,
): Row {
  const [first = []] = rows;
  const merged = first.map((cell, index) =>
    index === 0 ? cell : rows.reduce((total, row) => total + Number(row[index]), 0),
  );
  if (averagesAt === undefined) return merged;
  for (const [time, count] of Object.entries(averagedBy)) {
    const at = averagesAt + Number(time);
    merged[at] = weighted(rows.map((row) => [Number(row[at]), weight(row, averagesAt, totalsAt, count)]));
  }
  return merged;
}

/** How much a worker has done in the period; where that is less than one a second, since its start. */
function weight(row: Row, averagesAt: number, totalsAt: number | undefined, count: number): number {
  return Number(row[averagesAt + count]) || (totalsAt === undefined ? 0 : Number(row[totalsAt + count]));
}

function weighted(values: readonly (readonly [value: number, weight: number])[]): number {
  // One that rounds to nothing still counts a little.
  const least = 1 / 1000;
  let [total, weights] = [0, 0];
  for (const [value, weight] of values) {
    if (value === 0) continue;
    total += value * Math.max(weight, least);
    weights += Math.max(weight, least);
  }
  return weights === 0 ? 0 : Math.floor(total / weights);
}

/** As SHOW STATS, but in lines: twelve totals, then twelve averages. */
function totals(answers: readonly WorkerAnswer[]): Answer {
  allOf(answers);
  const tables = answers.map(({ answer }) => (answer instanceof Failure ? [] : (answer.rows ?? [])));
  const [names = []] = tables;
  const across = tables.map((table) => ["", ...table.map((row) => row[1] ?? 0)]);
  const merged = statisticsRow(across, 1, 1 + stats);
  return { tag: "SHOW", rows: names.map((row, index) => [row[0] ?? "", merged[index + 1] ?? 0]) };
}

/** What several workers have of the same is counted once. */
async function lists(answers: readonly WorkerAnswer[], ask: Ask): Promise<Answer> {
  const rows = groups(rowsOf(answers), 1);
  const distinct = new Map<string, number>();
  for (const [list, command, keys] of [
    ["databases", "SHOW DATABASES", 1],
    ["users", "SHOW USERS", 1],
    ["pools", "SHOW POOLS", 2],
    ["peer_pools", "SHOW PEER_POOLS", 1],
  ] as const) {
    distinct.set(list, groups(rowsOf(await ask(command)), keys).length);
  }
  return {
    tag: "SHOW",
    rows: rows.map((group) => {
      const name = String(group[0]?.[0]);
      const counted = group.reduce((total, row) => total + Number(row[1]), 0);
      const same = name === "peers" ? Number(group[0]?.[1]) : undefined;
      return [name, distinct.get(name) ?? same ?? counted];
    }),
  };
}

/** Paused is what is paused everywhere. */
function state(answers: readonly WorkerAnswer[]): Answer {
  const paused = rowsOf(answers).every(([key, value]) => key !== "paused" || value === "yes");
  const rows: Row[] = [
    ["active", paused ? "no" : "yes"],
    ["paused", paused ? "yes" : "no"],
    ["suspended", "no"],
  ];
  return { tag: "SHOW", rows };
}

const nodeStatuses: readonly Cell[] = ["up", "down", "waiting"];

/** Of each node the row of whoever knows most of it: who is connected, before who cannot, before who has not tried. */
function poolNodes(answers: readonly WorkerAnswer[]): Answer {
  const rows = groups(rowsOf(answers), 1).flatMap((group) => {
    const [best] = group.toSorted(
      (a, b) => nodeStatuses.indexOf(a[3] ?? "") - nodeStatuses.indexOf(b[3] ?? ""),
    );
    return best === undefined ? [] : [best];
  });
  return { tag: "SHOW", rows };
}

/** What was cancelled while one worker still had servers is taken back where there were none any more. */
async function pause(answers: readonly WorkerAnswer[], ask: Ask, database: unknown): Promise<Answer> {
  const canceled = answers.some(
    ({ answer }) => answer instanceof Failure && answer.code === canceledByUser().code,
  );
  if (canceled) await ask(typeof database === "string" ? `RESUME ${quoted(database)}` : "RESUME");
  return allOf(answers);
}

/** Without a name it is every database that any worker has clients of, and each is to be paused in all of them. */
async function kill(answers: readonly WorkerAnswer[], ask: Ask, database: unknown): Promise<Answer> {
  const killed = allOf(answers);
  if (database !== undefined) return killed;
  const names = new Set(rowsOf(await ask("SHOW POOLS")).map(([name]) => String(name)));
  for (const name of names) {
    if (!isConsoleDatabase(name)) allOf(await ask(`KILL ${quoted(name)}`));
  }
  return killed;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
