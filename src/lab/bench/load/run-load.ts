/**
 * The own driver's runs: a number of clients for a number of seconds, each starting its next transaction as
 * soon as the last is done, or at a fixed rate, or on a new connection each time.
 */
import { LoadConnection, type LoadTarget } from "./connection.ts";
import { copyData, copyPieces, type QueryProtocol, query } from "./protocol.ts";
import { type Workload, type WorkloadName, workload } from "./workloads.ts";

export interface LoadOptions {
  readonly target: LoadTarget;
  /** `idle` holds the clients until standard input ends. */
  readonly kind: WorkloadName | "copy" | "copy-out" | "copy-in" | "idle";
  readonly protocol: QueryProtocol;
  readonly clients: number;
  readonly seconds: number;
  readonly scale: number;
  /** Of one COPY of `copy-out` and `copy-in`. */
  readonly copyBytes: number;
  /** A connection per transaction. */
  readonly reconnect: boolean;
  /** Transactions per second of all clients together; latency counts from when one was due. */
  readonly rate: number | undefined;
}

export interface LoadResult {
  readonly transactions: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Payload of COPY, in both directions. */
  readonly copiedBytes: number;
  /** How long the clients took to connect, which is not part of `seconds`. */
  readonly connectSeconds: number;
}

/** What `idle` says once all clients are in. */
export interface HeldClients {
  /** How long they took, with a first query each. */
  readonly connectMs: number;
}

/** Rows of one COPY. */
const copyRows = 10_000;
const loginsAtOnce = 50;

/** Runs until the time is up and every client has finished its transaction; rejects at the first error. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const openedMs = performance.now();
  const connections = options.reconnect ? [] : await openAll(options);
  const run: Run = { options, latenciesMs: [], copiedBytes: 0, startMs: performance.now() };
  const clients = Array.from({ length: options.clients }, (_, index) =>
    driveClient(run, connections[index], index),
  );
  await Promise.all(clients);
  const seconds = (performance.now() - run.startMs) / 1000;
  for (const connection of connections) connection.close();
  const latencies = Float64Array.from(run.latenciesMs).sort();
  return {
    transactions: latencies.length,
    seconds,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    copiedBytes: run.copiedBytes,
    connectSeconds: (run.startMs - openedMs) / 1000,
  };
}

/** Opens all clients, a few at a time, and lets each run one query. */
export async function openAll(options: LoadOptions): Promise<LoadConnection[]> {
  const connections: LoadConnection[] = [];
  let started = 0;
  const openSome = async (): Promise<void> => {
    while (started++ < options.clients) {
      const connection = await LoadConnection.open(options.target);
      connections.push(connection);
      await connection.request(query("SELECT 1"));
    }
  };
  await Promise.all(Array.from({ length: Math.min(loginsAtOnce, options.clients) }, openSome));
  return connections;
}

/** The value below which a share of the sorted numbers lies. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

interface Run {
  readonly options: LoadOptions;
  readonly latenciesMs: number[];
  copiedBytes: number;
  readonly startMs: number;
}

async function driveClient(run: Run, connection: LoadConnection | undefined, index: number): Promise<void> {
  if (run.options.kind === "copy") {
    if (connection === undefined) throw new Error("copy has no connection per transaction");
    return copyClient(run, connection);
  }
  if (run.options.kind === "copy-out" || run.options.kind === "copy-in") {
    if (connection === undefined) throw new Error("copy has no connection per transaction");
    return longCopyClient(run, connection, run.options.kind === "copy-out");
  }
  const load = workload(run.options.kind as WorkloadName, run.options.protocol, run.options.scale);
  if (connection === undefined) return reconnectingClient(run, load);
  for (const request of load.setup) await connection.request(request);
  if (run.options.rate === undefined) return busyClient(run, connection, load);
  return ratedClient(run, connection, load, run.options.rate, index);
}

/** The hot loop: one transaction after the other without promises. */
function busyClient(run: Run, connection: LoadConnection, load: Workload): Promise<void> {
  return new Promise((resolve, reject) => {
    const endMs = run.startMs + run.options.seconds * 1000;
    let startedMs = performance.now();
    let requests = load.next();
    let sent = 0;
    const advance = (error: string | undefined): void => {
      if (error !== undefined) return reject(new Error(error));
      let request = requests[sent++];
      if (request === undefined) {
        const nowMs = performance.now();
        run.latenciesMs.push(nowMs - startedMs);
        if (nowMs >= endMs) return resolve();
        startedMs = nowMs;
        requests = load.next();
        sent = 1;
        request = requests[0];
      }
      if (request !== undefined) connection.send(request, advance);
    };
    advance(undefined);
  });
}

async function reconnectingClient(run: Run, load: Workload): Promise<void> {
  const endMs = run.startMs + run.options.seconds * 1000;
  for (let nowMs = performance.now(); nowMs < endMs; ) {
    const startedMs = nowMs;
    const connection = await LoadConnection.open(run.options.target);
    for (const request of [...load.setup, ...load.next()]) await connection.request(request);
    connection.close();
    nowMs = performance.now();
    run.latenciesMs.push(nowMs - startedMs);
  }
}

async function ratedClient(
  run: Run,
  connection: LoadConnection,
  load: Workload,
  rate: number,
  index: number,
): Promise<void> {
  const intervalMs = (1000 * run.options.clients) / rate;
  const endMs = run.startMs + run.options.seconds * 1000;
  // Spread over the interval, so that the clients do not come all together.
  let dueMs = run.startMs + (intervalMs * index) / run.options.clients;
  for (; dueMs < endMs; dueMs += intervalMs) {
    const waitMs = dueMs - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    // A timer may be a millisecond late, which is the driver's fault and not the server's.
    const startedMs = waitMs > 0 ? performance.now() : dueMs;
    for (const request of load.next()) await connection.request(request);
    run.latenciesMs.push(performance.now() - startedMs);
  }
}

/** A transaction is: rows out, the same rows in, and rolled back. */
async function copyClient(run: Run, connection: LoadConnection): Promise<void> {
  const endMs = run.startMs + run.options.seconds * 1000;
  const out = query(`COPY (SELECT * FROM pgbench_accounts WHERE aid <= ${copyRows}) TO STDOUT`);
  for (let nowMs = performance.now(); nowMs < endMs; ) {
    const startedMs = nowMs;
    const rows: Buffer[] = [];
    await copied(connection, out, undefined, (data) => rows.push(data));
    const data = Buffer.concat(rows);
    await connection.request(query("BEGIN"));
    await copied(connection, query("COPY bench_copy FROM STDIN"), copyPieces(data), undefined);
    await connection.request(query("ROLLBACK"));
    run.copiedBytes += 2 * data.length;
    nowMs = performance.now();
    run.latenciesMs.push(nowMs - startedMs);
  }
}

/** A row of the long COPY: what fits into the column `filler`. */
const longCopyRow = `${"x".repeat(83)}\n`;
/** Rows of one of its messages towards the server. */
const longCopyRowsAtOnce = 400;

/** A transaction is one COPY in one direction. PostgreSQL reads all rows that come in, and keeps none of them. */
async function longCopyClient(run: Run, connection: LoadConnection, out: boolean): Promise<void> {
  const endMs = run.startMs + run.options.seconds * 1000;
  const messages = Math.ceil(run.options.copyBytes / (longCopyRowsAtOnce * longCopyRow.length));
  const rows = messages * longCopyRowsAtOnce;
  const request = query(
    out
      ? `COPY (SELECT repeat('x', 83) FROM generate_series(1, ${rows})) TO STDOUT`
      : "COPY bench_copy (filler) FROM STDIN WHERE false",
  );
  for (let nowMs = performance.now(); nowMs < endMs; ) {
    const startedMs = nowMs;
    await copied(connection, request, out ? undefined : longCopyMessages(messages), undefined);
    run.copiedBytes += rows * longCopyRow.length;
    nowMs = performance.now();
    run.latenciesMs.push(nowMs - startedMs);
  }
}

function* longCopyMessages(count: number): Generator<Buffer> {
  const message = copyData(Buffer.from(longCopyRow.repeat(longCopyRowsAtOnce)));
  for (let i = 0; i < count; i++) yield message;
}

function copied(
  connection: LoadConnection,
  request: Buffer,
  source: Iterable<Buffer> | undefined,
  target: ((data: Buffer) => void) | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const onReady = (error: string | undefined): void =>
      error === undefined ? resolve() : reject(new Error(error));
    connection.copy(request, onReady, source, target);
  });
}
