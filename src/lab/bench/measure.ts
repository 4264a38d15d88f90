/**
 * One measured run: the load against one peer, by pgbench or the own driver, and what the peer's processes
 * used meanwhile.
 *
 * Processor time is taken before the load starts and after it has ended, so that it includes the clients'
 * logins; per transaction they weigh little, except in `connect`, where they are the point.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { OperationError } from "../../base/errors.ts";
import { cleanEnvironment } from "../processes.ts";
import { LoadConnection, type LoadTarget } from "./load/connection.ts";
import { query } from "./load/protocol.ts";
import { type HeldClients, type LoadOptions, type LoadResult, quantile } from "./load/run-load.ts";
import { copies, latencyRate, type ScenarioName } from "./options.ts";
import type { Peer } from "./peers.ts";
import type { ProcessUsage } from "./processes.ts";
import type { Tool } from "./tools.ts";

/** One run's figures; undefined where something cannot be measured or has no meaning. */
export interface Sample {
  readonly tps: number | undefined;
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
  /** Of the pooler's processes; undefined for `direct`. */
  readonly cpuMicrosPerTx: number | undefined;
  /** The most memory that the pooler's processes held during the run. */
  readonly rssBytes: number | undefined;
  /** What they held before and after it. */
  readonly rssBeforeBytes?: number | undefined;
  readonly rssAfterBytes?: number | undefined;
  /** `idle` only: growth of that memory, per client. */
  readonly bytesPerClient: number | undefined;
  /** `idle` only: from the start of the process until a client had its first answer. */
  readonly readyMs: number | undefined;
  /** `idle` only: until all clients, 50 at a time, were logged in and had an answer. */
  readonly crowdMs: number | undefined;
  /** Of the scenarios of COPY only: rows, in `copy` those of both directions. */
  readonly copiedBytesPerSecond: number | undefined;
  /** How long the clients took to connect: what a following run by pgbench has to be longer for. */
  readonly connectSeconds: number;
}

export interface RunSettings {
  readonly scenario: ScenarioName;
  readonly clients: number;
  readonly seconds: number;
  /** Not for its figures: a number of transactions, whatever the time. */
  readonly warmUp: boolean;
  /** Of a run before. */
  readonly connectSeconds: number;
  readonly scale: number;
  /** Megabytes of one COPY of `copy-out` and `copy-in`. */
  readonly copySize: number;
  readonly user: string;
  readonly database: string;
  /** For pgbench's logs. */
  readonly folder: string;
  /** undefined: the own driver. */
  readonly pgbench: Tool | undefined;
}

/** A peer that takes longer than this over the time it was given hangs. */
const graceSeconds = 60;
/** How long memory gets to settle when all idle clients are in. */
const settleMs = 2000;
const leaveMs = 10_000;
const idleWarmUpClients = 200;
const warmUpTransactions = 2000;
/** Of a long COPY a warm-up does this part. */
const warmUpCopyShare = 16;

/**
 * Runs one scenario against one peer.
 * @throws {OperationError} `bench.run_failed` with the load driver's last words, for example because the peer
 * does not support what the scenario does.
 */
export async function measure(peer: Peer, settings: RunSettings): Promise<Sample> {
  if (settings.scenario === "idle") return measureIdle(peer, settings);
  await peer.process?.resetPeak();
  const before = await peer.process?.usage();
  const load = await runDriver(peer, settings);
  const after = await peer.process?.usage();
  return {
    tps: load.transactions / load.seconds,
    p50Ms: load.p50Ms,
    p99Ms: load.p99Ms,
    cpuMicrosPerTx: cpuBetween(before, after, load.transactions),
    rssBytes: after?.peakBytes,
    rssBeforeBytes: before?.rssBytes,
    rssAfterBytes: after?.rssBytes,
    bytesPerClient: undefined,
    readyMs: undefined,
    crowdMs: undefined,
    copiedBytesPerSecond: load.copiedBytes > 0 ? load.copiedBytes / load.seconds : undefined,
    connectSeconds: load.connectSeconds,
  };
}

function cpuBetween(
  before: ProcessUsage | undefined,
  after: ProcessUsage | undefined,
  transactions: number,
): number | undefined {
  return before === undefined || after === undefined
    ? undefined
    : (after.cpuMicros - before.cpuMicros) / transactions;
}

function runDriver(peer: Peer, settings: RunSettings): Promise<LoadResult> {
  const { pgbench, scenario } = settings;
  // pgbench has no script for COPY, and with -C it connects one client at a time and leaves that out of latency.
  if (pgbench === undefined || copies(scenario) || scenario === "connect") {
    return runOwnDriver(ownOptions(peer, settings));
  }
  return runPgbench(peer, settings, pgbench);
}

async function runPgbench(peer: Peer, settings: RunSettings, tool: Tool): Promise<LoadResult> {
  const folder = await mkdtemp(path.join(settings.folder, "pgbench-"));
  const args = [
    `--host=${peer.host}`,
    `--port=${peer.port}`,
    `--username=${settings.user}`,
    `--client=${settings.clients}`,
    "--jobs=1",
    ...lengthArguments(settings),
    "--no-vacuum",
    "--log",
    `--log-prefix=${path.join(folder, "log")}`,
    ...scenarioArguments(settings.scenario),
    settings.database,
  ];
  try {
    const { stdout } = await promisify(execFile)(tool.path, args, {
      timeout: Math.ceil(settings.seconds + settings.connectSeconds + graceSeconds) * 1000,
      env: { ...cleanEnvironment(), PGSSLMODE: "disable", PGGSSENCMODE: "disable" },
    });
    return await pgbenchResult(stdout, folder);
  } catch (error) {
    throw runFailed("pgbench", error);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** pgbench's clock runs while its clients connect, which takes 500 of them seconds without a pooler. */
function lengthArguments(settings: RunSettings): string[] {
  if (!settings.warmUp) return [`--time=${Math.ceil(settings.seconds + settings.connectSeconds)}`];
  return [`--transactions=${Math.max(10, Math.ceil(warmUpTransactions / settings.clients))}`];
}

function scenarioArguments(scenario: ScenarioName): string[] {
  switch (scenario) {
    case "select-simple":
      return ["-S", "-M", "simple"];
    case "select-extended":
      return ["-S", "-M", "extended"];
    case "select-prepared":
      return ["-S", "-M", "prepared"];
    case "tpcb":
      return ["-M", "simple"];
    case "mixed":
      return ["-M", "simple", "-b", "select-only@4", "-b", "simple-update@1"];
    case "latency":
      return ["-S", "-M", "simple", "-R", String(latencyRate)];
    case "connect":
    case "idle":
    case "copy":
    case "copy-out":
    case "copy-in":
      throw new Error(`pgbench does not do ${scenario}`);
  }
}

async function pgbenchResult(stdout: string, folder: string): Promise<LoadResult> {
  const transactions = Number(/actually processed: (\d+)/.exec(stdout)?.[1]);
  if (transactions === 0) throw new Error("no transaction was done in time");
  const tps = Number(/^tps = ([\d.]+)/m.exec(stdout)?.[1]);
  const latencies: number[] = [];
  for (const name of await readdir(folder)) {
    // Lines are: client, transaction, latency in microseconds, script, time (documentation of pgbench, "Logging").
    for (const line of (await readFile(path.join(folder, name), "utf8")).split("\n")) {
      if (line !== "") latencies.push(Number(line.split(" ", 3)[2]) / 1000);
    }
  }
  const sorted = Float64Array.from(latencies).sort();
  return {
    transactions,
    // pgbench takes the time for the first connections out of its rate.
    seconds: transactions / tps,
    p50Ms: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
    copiedBytes: 0,
    connectSeconds: Number(/^initial connection time = ([\d.]+) ms/m.exec(stdout)?.[1] ?? 0) / 1000,
  };
}

function ownOptions(peer: Peer, settings: RunSettings): LoadOptions {
  const { scenario } = settings;
  return {
    target: targetOf(peer, settings),
    kind:
      scenario === "tpcb" || scenario === "mixed" || copies(scenario) || scenario === "idle"
        ? scenario
        : "select",
    protocol:
      scenario === "select-extended" ? "extended" : scenario === "select-prepared" ? "prepared" : "simple",
    clients: settings.clients,
    seconds: settings.warmUp ? Math.min(1, settings.seconds) : settings.seconds,
    scale: settings.scale,
    copyBytes: (settings.copySize * 1024 * 1024) / (settings.warmUp ? warmUpCopyShare : 1),
    reconnect: scenario === "connect",
    rate: scenario === "latency" ? latencyRate : undefined,
  };
}

function targetOf(peer: Peer, settings: RunSettings): LoadTarget {
  return { host: peer.host, port: peer.port, user: settings.user, database: settings.database };
}

/** The driver's program and what Node needs to run it: from the source it needs the loader that we have. */
function driverArguments(options: LoadOptions): string[] {
  const fromSource = import.meta.url.endsWith(".ts");
  const file = fileURLToPath(new URL(`./load/main.${fromSource ? "ts" : "js"}`, import.meta.url));
  return [...(fromSource ? ["--import", "tsx"] : []), file, JSON.stringify(options)];
}

async function runOwnDriver(options: LoadOptions): Promise<LoadResult> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, driverArguments(options), {
      timeout: Math.ceil(options.seconds + graceSeconds) * 1000,
    });
    return JSON.parse(stdout) as LoadResult;
  } catch (error) {
    throw runFailed("the load driver", error);
  }
}

async function measureIdle(peer: Peer, settings: RunSettings): Promise<Sample> {
  const readyMs = await untilReady(peer, settings);
  // What a process needs for its first clients (code, caches, server connections) is not the price of one more.
  const few = Math.min(idleWarmUpClients, settings.clients);
  await runOwnDriver({ ...ownOptions(peer, settings), kind: "select", clients: few, seconds: 1 });
  await sleep(settleMs);
  await peer.process?.resetPeak();
  const before = await peer.process?.usage();
  const driver = spawn(process.execPath, driverArguments(ownOptions(peer, settings)), {
    stdio: ["pipe", "pipe", "pipe"],
  });
  try {
    const crowdMs = await allClientsIn(driver);
    await sleep(settleMs);
    const after = await peer.process?.usage();
    return {
      tps: undefined,
      p50Ms: undefined,
      p99Ms: undefined,
      cpuMicrosPerTx: undefined,
      rssBytes: after?.peakBytes,
      bytesPerClient:
        before === undefined || after === undefined
          ? undefined
          : (after.rssBytes - before.rssBytes) / settings.clients,
      readyMs,
      crowdMs,
      copiedBytesPerSecond: undefined,
      connectSeconds: 0,
    };
  } finally {
    await endDriver(driver);
    // The peer notices ten thousand departures only after a while.
    await sleep(settleMs);
  }
}

/** Starts it anew, with a client that comes as soon as it listens and asks one question. */
async function untilReady(peer: Peer, settings: RunSettings): Promise<number | undefined> {
  if (peer.process === undefined) return undefined;
  await peer.process.restart();
  const connection = await LoadConnection.open(ownOptions(peer, settings).target);
  await connection.request(query("SELECT 1"));
  const readyMs = performance.now() - peer.process.startedAtMs;
  connection.close();
  return readyMs;
}

/** Lets the clients leave; a driver that still waits for them to get in has to be ended. */
async function endDriver(driver: ChildProcess): Promise<void> {
  if (driver.exitCode !== null || driver.signalCode !== null) return;
  const exited = once(driver, "exit");
  driver.stdin?.end();
  const outcome = await Promise.race([exited, sleep(leaveMs, "late" as const, { ref: false })]);
  if (outcome !== "late") return;
  driver.kill("SIGKILL");
  await exited;
}

/** Returns how long that took, in milliseconds. */
async function allClientsIn(driver: ChildProcess): Promise<number> {
  let complaint = "";
  driver.stderr?.on("data", (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  const lines = createInterface({ input: driver.stdout as NodeJS.ReadableStream });
  const outcome = await Promise.race([
    once(lines, "line").then(([line]: unknown[]) => JSON.parse(line as string) as HeldClients),
    once(driver, "exit").then(() => "ended" as const),
    sleep(graceSeconds * 1000, "late" as const, { ref: false }),
  ]);
  lines.close();
  if (typeof outcome === "object") return outcome.connectMs;
  throw runFailed("the load driver", {
    stderr: outcome === "late" ? "the clients are not all in after a minute" : complaint,
  });
}

/** The last line that says what was wrong is the one worth showing. */
function runFailed(who: string, error: unknown): OperationError {
  const {
    stderr = "",
    killed = false,
    message = "",
  } = error as { stderr?: string; killed?: boolean; message?: string };
  const lines = stderr.trim().split("\n");
  const telling = lines.find((line) => /ERROR|FATAL|error:/.test(line)) ?? lines.at(-1) ?? "";
  const text = killed ? "it did not end in time" : telling.replace(/^pgbench: (error: )?/, "") || message;
  return new OperationError(`${who} failed: ${text}`, {
    code: "bench.run_failed",
    sqlstate: "58000",
    source: "server",
    cause: error,
  });
}
