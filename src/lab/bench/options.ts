/** What a benchmark run is asked for: names, defaults, checks. */
import { OperationError } from "../../base/errors.ts";

/**
 * What is run. `select-*`: one row by key, in the simple protocol, the extended one, or with a prepared
 * statement. `tpcb`: pgbench's transaction of seven statements. `mixed`: four selects to one update.
 * `connect`: a connection per select. `idle`: clients that are only there. `copy`: 10,000 rows out and in.
 * `copy-out`, `copy-in`: a gigabyte in one COPY. `latency`: selects at a fixed rate well below what the machine can do.
 */
export const scenarioNames = [
  "select-simple",
  "select-extended",
  "select-prepared",
  "tpcb",
  "mixed",
  "connect",
  "idle",
  "copy",
  "copy-out",
  "copy-in",
  "latency",
] as const;
export type ScenarioName = (typeof scenarioNames)[number];

/** `transaction-mode`: pgsluice once more, in the mode `transaction`; what the other mode costs beside it. */
export const peerNames = ["pgsluice", "direct", "pgbouncer", "pgpool", "transaction-mode"] as const;
export type PeerName = (typeof peerNames)[number];

export const benchModes = ["auto", "transaction", "session", "statement"] as const;
export type BenchMode = (typeof benchModes)[number];

/** Who makes the load: pgbench, or this package's own driver where there is no pgbench. */
export const driverNames = ["pgbench", "own"] as const;
export type DriverName = (typeof driverNames)[number];

export interface BenchOptions {
  readonly scenarios: readonly ScenarioName[];
  /** Numbers of clients to run each scenario with; undefined: each scenario's own (see {@link clientsOf}). */
  readonly clients: readonly number[] | undefined;
  readonly mode: BenchMode;
  /** Without pgsluice, which always runs. */
  readonly peers: readonly Exclude<PeerName, "pgsluice">[];
  readonly seconds: number;
  readonly rounds: number;
  /** Server connections per pool, the same for every pooler. */
  readonly poolSize: number;
  /** Processes of pgsluice (its setting of that name). */
  readonly workers: number;
  /** Whether reads share servers in auto mode (pgsluice's setting of that name). */
  readonly multiplex: boolean;
  /** pgbench's scale factor: 100,000 accounts each. */
  readonly scale: number;
  /** Megabytes of one COPY of `copy-out` and `copy-in`. */
  readonly copySize: number;
  /** Milliseconds by which the network between the poolers and PostgreSQL is made late, in each direction. */
  readonly delay: number;
  /** undefined: pgbench if it is installed. */
  readonly driver: DriverName | undefined;
  /** A PostgreSQL to use instead of starting one; it must let `user` in without a password. */
  readonly upstream: BenchUpstream | undefined;
}

export interface BenchUpstream {
  readonly host: string;
  readonly port: number;
  readonly user: string;
}

export const benchDefaults: BenchOptions = {
  scenarios: scenarioNames,
  clients: undefined,
  mode: "transaction",
  peers: ["direct", "pgbouncer", "pgpool"],
  seconds: 5,
  rounds: 3,
  poolSize: 20,
  workers: 1,
  multiplex: true,
  scale: 10,
  copySize: 1024,
  delay: 0,
  driver: undefined,
  upstream: undefined,
};

/** Transactions per second of the scenario `latency`, all clients together. */
export const latencyRate = 500;

const defaultClients: Readonly<Record<ScenarioName, readonly number[]>> = {
  "select-simple": [1, 16, 64, 500],
  "select-extended": [1, 16, 64, 500],
  "select-prepared": [1, 16, 64, 500],
  tpcb: [1, 16, 64],
  mixed: [1, 16, 64],
  connect: [1, 16],
  idle: [10_000],
  copy: [1, 4],
  "copy-out": [1],
  "copy-in": [1],
  latency: [16],
};

export function copies(scenario: ScenarioName): scenario is "copy" | "copy-out" | "copy-in" {
  return scenario === "copy" || scenario === "copy-out" || scenario === "copy-in";
}

/** The numbers of clients that a scenario is run with. */
export function clientsOf(options: BenchOptions, scenario: ScenarioName): readonly number[] {
  return options.clients ?? defaultClients[scenario];
}

/** The largest number of clients of any scenario that keeps all of them busy (so not `idle`). */
export function busiestClients(options: BenchOptions): number {
  const busy = options.scenarios.filter((name) => name !== "idle");
  return Math.max(1, ...busy.flatMap((name) => clientsOf(options, name)));
}

/**
 * Server connections per pool. In the mode `session` a client keeps its server, so with fewer servers than
 * clients the rest would wait until the end: there the pool is as large as the largest number of clients.
 */
export function effectivePoolSize(options: BenchOptions): number {
  return options.mode === "session" ? Math.max(options.poolSize, busiestClients(options)) : options.poolSize;
}

/** @throws {OperationError} `bench.bad_option` if a number is out of its range. */
export function checkBenchOptions(options: BenchOptions): void {
  requireRange("seconds", options.seconds, 0.5, 3600);
  requireRange("rounds", options.rounds, 1, 100);
  requireRange("pool size", options.poolSize, 1, 1000);
  requireRange("number of workers", options.workers, 1, 64);
  requireRange("scale", options.scale, 1, 1000);
  requireRange("size of a COPY", options.copySize, 1, 100_000);
  requireRange("delay", options.delay, 0, 1000);
  for (const clients of options.clients ?? []) requireRange("number of clients", clients, 1, 20_000);
}

function requireRange(what: string, value: number, minimum: number, maximum: number): void {
  if (value >= minimum && value <= maximum) return;
  throw new OperationError(`the ${what} must be from ${minimum} to ${maximum}, not ${value}`, {
    code: "bench.bad_option",
    sqlstate: "22023",
    source: "client",
  });
}
