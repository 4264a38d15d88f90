/**
 * What Node itself allows: a relay that only passes bytes on (relay.ts) and a multiplexer that only pipelines
 * (bare-multiplexer.ts), beside this package's build, PgBouncer and a direct connection; the same load on all, interleaved.
 *
 *   npm run build && node --import tsx bench/micro/bounds.ts [--seconds 5] [--rounds 3] [--cells select-simple:1,select-simple:64,tpcb:16]
 *
 * Needs pgbench; PgBouncer is left out if it is missing. The relay has a server connection for each client, as a direct
 * connection has; the bare multiplexer knows no transactions, and has only selects.
 */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ordinaryAccount } from "../../src/lab/account.ts";
import { startBenchDatabase } from "../../src/lab/bench/database.ts";
import { measure, type Sample } from "../../src/lab/bench/measure.ts";
import { type BenchMode, benchDefaults, type ScenarioName } from "../../src/lab/bench/options.ts";
import { directPeer, type Peer, startPgbouncer, startPgsluice } from "../../src/lab/bench/peers.ts";
import { RunningProcess } from "../../src/lab/bench/processes.ts";
import { median } from "../../src/lab/bench/results.ts";
import { findTool } from "../../src/lab/bench/tools.ts";
import { freePort } from "../../src/lab/ports.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "5" },
    rounds: { type: "string", default: "3" },
    cells: {
      type: "string",
      default: "select-simple:1,select-simple:16,select-simple:64,select-simple:500,tpcb:16,tpcb:64",
    },
  },
});

const clientsMax = 600;
const folder = await mkdtemp(path.join(os.tmpdir(), "pgsluice-bounds-"));
const options = { ...benchDefaults, poolSize: 20 };
const database = await startBenchDatabase(
  // The relay needs a server for each client.
  { ...options, poolSize: clientsMax },
  { onProgress: (text) => process.stderr.write(`${text}\n`) },
);
const peers = new Map<string, Peer>();
try {
  await startPeers();
  for (const cell of values.cells.split(",")) {
    const [scenario = "", clients = ""] = cell.split(":");
    await runCell(scenario as ScenarioName, Number(clients));
  }
} finally {
  for (const peer of peers.values()) await peer.process?.stop();
  await database.stop();
  await rm(folder, { recursive: true, force: true });
}

async function startPeers(): Promise<void> {
  const settings = (mode: BenchMode) => ({
    folder,
    upstream: { host: database.host, port: database.port },
    user: database.user,
    mode,
    poolSize: options.poolSize,
    workers: 1,
    multiplex: true,
    clientsMax,
    busyClientsMax: clientsMax,
  });
  const account = await ordinaryAccount(folder);
  peers.set("direct", directPeer({ ...settings("auto"), account }));
  const pgbouncer = await findTool("pgbouncer");
  if (pgbouncer === undefined) process.stderr.write("PgBouncer is not installed: left out\n");
  else peers.set("PgBouncer", await startPgbouncer({ ...settings("auto"), account }, pgbouncer));
  peers.set("relay", await startProgram("relay", (port) => ["relay.ts", relayOptions(), String(port)]));
  peers.set(
    "bare multiplexer",
    await startProgram("bare-multiplexer", (listen) => ["bare-multiplexer.ts", bareOptions(listen)]),
  );
  peers.set("pgsluice, auto", await startPgsluice({ ...settings("auto"), account }));
}

function relayOptions(): string {
  return JSON.stringify({
    accepted: "shared",
    connected: "shared",
    write: "chunk",
    noDelay: true,
    port: database.port,
  });
}

function bareOptions(listen: number): string {
  const { port, user, name } = database;
  return JSON.stringify({ port, listen, user, database: name, servers: 4, depth: 16 });
}

async function startProgram(name: string, args: (port: number) => string[]): Promise<Peer> {
  const port = await freePort();
  const [file = "", ...rest] = args(port);
  const program = fileURLToPath(new URL(`./${file}`, import.meta.url));
  const loader = import.meta.resolve("tsx");
  const running = await RunningProcess.start({
    name,
    command: process.execPath,
    args: ["--import", loader, program, ...rest],
    folder,
    ownsFolder: false,
    port,
    account: undefined,
  });
  return { name: "direct", host: "127.0.0.1", port, process: running };
}

/** All rounds of one scenario; the medians are printed. */
async function runCell(scenario: ScenarioName, clients: number): Promise<void> {
  const pgbench = await findTool("pgbench");
  const { scale } = options;
  const seconds = Number(values.seconds);
  const samples = new Map<string, Sample[]>();
  for (let round = 0; round <= Number(values.rounds); round++) {
    for (const [name, peer] of peers) {
      if (name === "bare multiplexer" && scenario !== "select-simple") continue;
      const { user, name: databaseName } = database;
      const sample = await measure(peer, {
        scenario,
        clients,
        seconds,
        warmUp: round === 0,
        connectSeconds: 0,
        scale,
        copySize: options.copySize,
        user,
        database: databaseName,
        folder,
        pgbench,
      });
      if (round > 0) samples.set(name, [...(samples.get(name) ?? []), sample]);
    }
  }
  const tps = (name: string): number =>
    median((samples.get(name) ?? []).flatMap((sample) => sample.tps ?? [])) ?? Number.NaN;
  console.log(`\n${scenario}, ${clients} clients            tps  of PgBouncer   µs of CPU`);
  for (const [name, list] of samples) {
    const cpu = median(list.flatMap((sample) => sample.cpuMicrosPerTx ?? [])) ?? Number.NaN;
    const ratio = tps(name) / tps("PgBouncer");
    console.log(
      `${name.padEnd(22)}${tps(name).toFixed(0).padStart(12)}${ratio.toFixed(2).padStart(14)}${cpu.toFixed(1).padStart(12)}`,
    );
  }
}
