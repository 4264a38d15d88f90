/**
 * The benchmark: starts the database and the peers, runs every scenario in interleaved rounds, ends everything.
 *
 * All peers stay up for the whole run; in each round every peer runs once, so that a busy spell of the machine
 * hits all of them alike. Before the rounds each peer gets a short run that is not counted: connections are
 * opened, caches filled, and code compiled.
 */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { Failure } from "../../base/errors.ts";
import { ordinaryAccount } from "../account.ts";
import { FaultProxy } from "../fault-proxy.ts";
import { type BenchDatabase, startBenchDatabase } from "./database.ts";
import { describeMachine, describeVersions } from "./machine.ts";
import { measure, type RunSettings, type Sample } from "./measure.ts";
import {
  type BenchOptions,
  busiestClients,
  checkBenchOptions,
  clientsOf,
  effectivePoolSize,
  type PeerName,
  type ScenarioName,
} from "./options.ts";
import {
  directPeer,
  type Peer,
  type PeerSettings,
  startPgbouncer,
  startPgpool,
  startPgsluice,
} from "./peers.ts";
import { type BenchReport, type CellSamples, type ScenarioResult, summarise } from "./results.ts";
import { findTool, installHints, type Tool, type ToolName } from "./tools.ts";

export interface BenchListener {
  /** What is going on, a line for people. */
  onProgress(text: string): void;
  /** Something that was asked for is left out, and why. */
  onWarning(text: string): void;
  onScenario(result: ScenarioResult): void;
}

type Tools = Readonly<Record<ToolName, Tool | undefined>>;

/** More logins than places: PgBouncer counts clients that are leaving. */
const spareClients = 1000;

/**
 * Runs the benchmark. `version` is this package's.
 * @throws {OperationError} if an option is out of range, or the database or pgsluice cannot be started. A peer
 * that cannot be started, or fails in a scenario, is left out and named.
 */
export async function runBench(
  options: BenchOptions,
  version: string,
  listener: BenchListener,
): Promise<BenchReport> {
  checkBenchOptions(options);
  const tools = await findTools(options, listener);
  const folder = await mkdtemp(path.join(os.tmpdir(), "pgsluice-bench-"));
  const peers: Peer[] = [];
  let database: BenchDatabase | undefined;
  let network: FaultProxy | undefined;
  try {
    database = await startBenchDatabase(options, listener);
    if (options.delay > 0) {
      network = await FaultProxy.start(database);
      await network.set({ latencyMs: options.delay });
    }
    await startPeers(peers, options, { ...database, ...placeOf(network) }, folder, tools, listener);
    const scenarios: ScenarioResult[] = [];
    for (const scenario of options.scenarios) {
      for (const clients of clientsOf(options, scenario)) {
        const settings = runSettings(options, scenario, clients, database, folder, tools);
        // Memory per client shows only in a process that has not had any, and is not given back afterwards.
        if (scenario === "idle") await restartAll(peers, listener);
        const result = await runCell(settings, options, peers, listener);
        if (scenario === "idle") await restartAll(peers, listener);
        scenarios.push(result);
        listener.onScenario(result);
      }
    }
    return {
      date: new Date().toISOString(),
      machine: describeMachine(),
      versions: describeVersions(version, database, tools),
      settings: {
        seconds: options.seconds,
        rounds: options.rounds,
        scale: options.scale,
        copySize: options.copySize,
        poolSize: effectivePoolSize(options),
        workers: options.workers,
        multiplex: options.multiplex,
        delayMs: options.delay,
        driver: driverName(tools),
      },
      missing: missingTools(options, tools),
      scenarios,
    };
  } finally {
    for (const peer of peers) await peer.process?.stop();
    await network?.stop();
    await database?.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Where PostgreSQL is reached through a network that is made late. */
function placeOf(
  network: FaultProxy | undefined,
): { readonly host: string; readonly port: number } | undefined {
  return network === undefined ? undefined : { host: network.host, port: network.port };
}

async function restartAll(peers: readonly Peer[], listener: BenchListener): Promise<void> {
  listener.onProgress("starting the poolers anew");
  for (const peer of peers) await peer.process?.restart();
}

/** Looks for the programs; says what is missing and how to get it. */
async function findTools(options: BenchOptions, listener: BenchListener): Promise<Tools> {
  const wants = (name: ToolName): boolean =>
    name === "pgbench" ? options.driver !== "own" : options.peers.includes(name);
  const find = async (name: ToolName): Promise<Tool | undefined> =>
    wants(name) ? findTool(name) : undefined;
  const tools: Tools = {
    pgbench: await find("pgbench"),
    pgbouncer: await find("pgbouncer"),
    pgpool: await find("pgpool"),
  };
  for (const name of missingTools(options, tools)) {
    const consequence =
      name === "pgbench" ? "the own driver makes the load, which takes more processor time" : "left out";
    listener.onWarning(`${name} is not installed: ${consequence}. To install it: ${installHints[name]}`);
  }
  return tools;
}

function missingTools(options: BenchOptions, tools: Tools): ToolName[] {
  const wanted: ToolName[] = options.driver === "own" ? [] : ["pgbench"];
  wanted.push(...options.peers.filter(isTool));
  return wanted.filter((name) => tools[name] === undefined);
}

/** A program of another project. */
function isTool(peer: PeerName): peer is Extract<PeerName, ToolName> {
  return peer === "pgbouncer" || peer === "pgpool";
}

function driverName(tools: Tools): string {
  return tools.pgbench === undefined ? "own" : `pgbench ${tools.pgbench.version}`;
}

async function startPeers(
  peers: Peer[],
  options: BenchOptions,
  database: BenchDatabase,
  folder: string,
  tools: Tools,
  listener: BenchListener,
): Promise<void> {
  const busyClientsMax = busiestClients(options);
  const clientsMax =
    Math.max(...options.scenarios.flatMap((name) => clientsOf(options, name))) + spareClients;
  const settings: PeerSettings = {
    folder,
    upstream: { host: database.host, port: database.port },
    user: database.user,
    mode: options.mode,
    poolSize: effectivePoolSize(options),
    workers: options.workers,
    multiplex: options.multiplex,
    clientsMax,
    busyClientsMax,
    account: await ordinaryAccount(folder),
  };
  listener.onProgress("starting pgsluice");
  peers.push(await startPgsluice(settings));
  for (const name of options.peers) {
    const tool = isTool(name) ? tools[name] : undefined;
    if (name === "direct") peers.push(directPeer(settings));
    else if (name === "transaction-mode") peers.push(await startPgsluice(settings, name));
    else if (tool !== undefined) {
      listener.onProgress(`starting ${name}`);
      const start = name === "pgbouncer" ? startPgbouncer : startPgpool;
      await start(settings, tool).then(
        (peer) => peers.push(peer),
        (error: Failure) => listener.onWarning(`${error.message}: left out${detailOf(error)}`),
      );
    }
  }
}

function detailOf(error: Failure): string {
  return error.detail === undefined || error.detail === "" ? "" : `\n${error.detail}`;
}

function runSettings(
  options: BenchOptions,
  scenario: ScenarioName,
  clients: number,
  database: BenchDatabase,
  folder: string,
  tools: Tools,
): RunSettings {
  return {
    scenario,
    clients,
    seconds: options.seconds,
    warmUp: false,
    connectSeconds: 0,
    scale: options.scale,
    copySize: options.copySize,
    user: database.user,
    database: database.name,
    folder,
    pgbench: tools.pgbench,
  };
}

/** All rounds of one scenario with one number of clients. */
async function runCell(
  settings: RunSettings,
  options: BenchOptions,
  peers: readonly Peer[],
  listener: BenchListener,
): Promise<ScenarioResult> {
  const { scenario, clients } = settings;
  const cell = new Map<PeerName, { samples: Sample[]; error: string | undefined; connectSeconds: number }>();
  for (const peer of peers) {
    const error = reasonToLeaveOut(peer.name, scenario, options);
    if (error !== undefined) listener.onWarning(`${scenario}: ${peer.name} is left out: ${error}`);
    cell.set(peer.name, { samples: [], error, connectSeconds: 0 });
  }
  // Memory hardly varies, and ten thousand clients take their time.
  const rounds = scenario === "idle" ? 1 : options.rounds;
  for (let round = scenario === "idle" ? 1 : 0; round <= rounds; round++) {
    for (const peer of peers) {
      const entry = cell.get(peer.name);
      if (entry === undefined || entry.error !== undefined) continue;
      const step = round === 0 ? "warm-up" : `round ${round} of ${rounds}`;
      listener.onProgress(`${scenario}, ${clients} clients, ${step}: ${peer.name}`);
      try {
        const { connectSeconds } = entry;
        const sample = await measure(peer, { ...settings, warmUp: round === 0, connectSeconds });
        entry.connectSeconds = sample.connectSeconds;
        if (round > 0) entry.samples.push(sample);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        entry.error = error.message;
        listener.onWarning(
          `${scenario}, ${clients} clients: ${peer.name} gives no figures: ${error.message}`,
        );
      }
    }
  }
  return summarise(scenario, clients, options.mode, cell satisfies CellSamples);
}

/** Not every peer can do everything. */
function reasonToLeaveOut(peer: PeerName, scenario: ScenarioName, options: BenchOptions): string | undefined {
  if (scenario === "idle" && peer === "direct") return "PostgreSQL would need a process per client";
  if (scenario === "idle" && peer === "pgpool") return "it needs a process per client";
  const blocks = scenario === "tpcb" || scenario === "mixed" || scenario === "copy";
  if (options.mode === "statement" && blocks && (peer === "pgsluice" || peer === "pgbouncer")) {
    return "the mode statement has no transaction blocks";
  }
  return undefined;
}
