/**
 * A primary and two standbys behind pgsluice and pgpool-II: what reads gain from the standbys, what finding the node costs each
 * statement, and how long nobody can write when the primary is killed. Needs pgbench and psql, and the build.
 *
 *   npm run bench:clusters                                        all of it
 *   npm run bench:clusters -- --seconds 5 --rounds 3 --clients 64
 *   npm run bench:clusters -- --only failover --rounds 5 --json
 */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import pg from "pg";
import { startBenchDatabase } from "../../src/lab/bench/database.ts";
import { describeMachine } from "../../src/lab/bench/machine.ts";
import { measure } from "../../src/lab/bench/measure.ts";
import { benchDefaults } from "../../src/lab/bench/options.ts";
import { findTool } from "../../src/lab/bench/tools.ts";
import { Lab } from "../../src/lab/index.ts";
import { type Pooler, type PoolerName, poolerNames, startPooler } from "./poolers.ts";

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "64" },
    seconds: { type: "string", default: "5" },
    rounds: { type: "string", default: "3" },
    scale: { type: "string", default: "5" },
    only: { type: "string", default: "" },
    json: { type: "boolean", default: false },
  },
});
const clients = Number(values.clients);
const rounds = Number(values.rounds);
const scenarios = ["select-simple", "select-prepared"] as const;
/** Whoever follows nobody waits for ever. */
const followers = ["reads", "pgpool"] as const satisfies readonly PoolerName[];
const failoverMs = 120_000;
const writePauseMs = 10;

interface Reads {
  readonly scenario: string;
  readonly pooler: string;
  readonly tps: number | undefined;
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
  /** Of the pooler's processes. */
  readonly cpuMicrosPerTx: number | undefined;
}

interface Failover {
  readonly pooler: string;
  /** From kill -9 of the primary to the first write that was answered. */
  readonly firstWriteMs: number | undefined;
  readonly allMs: readonly number[];
}

async function startLab(): Promise<Lab> {
  const connections = { max_connections: "500", shared_buffers: "256MB", synchronous_commit: "local" };
  return await Lab.start({ standbys: 2, settings: { ...connections, autovacuum: "off" } });
}

async function reads(): Promise<readonly Reads[]> {
  const pgbench = await findTool("pgbench");
  await using lab = await startLab();
  const { host, port } = lab.primary;
  const options = {
    ...benchDefaults,
    scale: Number(values.scale),
    upstream: { host, port, user: "postgres" },
  };
  const database = await startBenchDatabase(options, { onProgress: progress });
  await lab.untilReplayed();
  const folder = await mkdtemp(path.join(os.tmpdir(), "pgsluice-bench-"));
  const poolers = await started(poolerNames, lab);
  const samples = new Map<string, Reads[]>();
  try {
    for (const scenario of scenarios) {
      for (let round = 0; round <= rounds; round++) {
        for (const pooler of poolers) {
          progress(`${scenario}, round ${round} of ${rounds}: ${pooler.name}`);
          const peer = { ...pooler, name: "pgsluice" as const };
          const { tps, p50Ms, p99Ms, cpuMicrosPerTx } = await measure(peer, {
            ...options,
            ...{ scenario, clients, seconds: Number(values.seconds), warmUp: round === 0 },
            ...{ connectSeconds: 0, user: "postgres", database: database.name, folder, pgbench },
          });
          if (round === 0) continue;
          const key = `${scenario} ${pooler.name}`;
          const sample = { scenario, pooler: pooler.name, tps, p50Ms, p99Ms, cpuMicrosPerTx };
          samples.set(key, [...(samples.get(key) ?? []), sample]);
        }
      }
    }
  } finally {
    for (const pooler of poolers) await pooler.process?.stop();
    await rm(folder, { recursive: true, force: true });
  }
  return [...samples.values()].flatMap((one) => medianOf(one, ({ tps }) => tps) ?? []);
}

async function failovers(): Promise<readonly Failover[]> {
  const results: Failover[] = [];
  for (const name of followers) {
    const times: number[] = [];
    for (let round = 1; round <= rounds; round++) {
      progress(`kill -9, round ${round} of ${rounds}: ${name}`);
      const ms = await failover(name);
      if (ms !== undefined) times.push(ms);
    }
    results.push({ pooler: name, firstWriteMs: medianOf(times, (ms) => ms), allMs: times });
  }
  return results;
}

/** Undefined if it is not installed. */
async function failover(name: PoolerName): Promise<number | undefined> {
  await using lab = await startLab();
  await lab.primary.query("create table written (id int)");
  await lab.untilReplayed();
  const [pooler] = await started([name], lab);
  if (pooler === undefined) return undefined;
  try {
    const write = writer(pooler);
    for (let i = 0; i < 20; i++) if (!(await write())) i--;
    // Verdicts about nodes need their time.
    await sleep(3000);
    await lab.primary.kill();
    const killedMs = performance.now();
    while (!(await write())) {
      if (performance.now() - killedMs > failoverMs) throw new Error(`${name} does not follow`);
    }
    return performance.now() - killedMs;
  } finally {
    await pooler.process?.stop();
  }
}

/** A client that connects again whenever it has to, as an application's pool does. */
function writer({ host, port }: Pooler): () => Promise<boolean> {
  let client: pg.Client | undefined;
  return async () => {
    await sleep(writePauseMs);
    try {
      if (client === undefined) {
        const next = new pg.Client({ host, port, user: "postgres", database: "postgres" });
        next.on("error", () => {
          if (client === next) client = undefined;
        });
        await next.connect();
        client = next;
      }
      await client.query("insert into written values (1)");
      return true;
    } catch {
      void client?.end().catch(() => undefined);
      client = undefined;
      return false;
    }
  };
}

async function started(names: readonly PoolerName[], lab: Lab): Promise<Pooler[]> {
  const poolers: Pooler[] = [];
  for (const name of names) {
    const pooler = await startPooler(name, lab);
    if (pooler === undefined) progress(`${name} is not installed: left out`);
    else poolers.push(pooler);
  }
  return poolers;
}

function medianOf<T>(values: readonly T[], by: (value: T) => number | undefined): T | undefined {
  const sorted = [...values].sort((a, b) => (by(a) ?? 0) - (by(b) ?? 0));
  return sorted[Math.floor(sorted.length / 2)];
}

function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}

function rounded(value: number | undefined, digits = 0): string {
  return value === undefined ? "-" : value.toFixed(digits);
}

const all = values.only === "";
const report = {
  date: new Date().toISOString(),
  machine: describeMachine(),
  settings: { clients, rounds, seconds: Number(values.seconds), scale: Number(values.scale) },
  reads: all || values.only === "reads" ? await reads() : [],
  failovers: all || values.only === "failover" ? await failovers() : [],
};
if (values.json) console.log(JSON.stringify(report, null, 2));
else {
  console.table(
    report.reads.map(({ scenario, pooler, tps, p50Ms, p99Ms, cpuMicrosPerTx }) => ({
      scenario,
      pooler,
      "statements/s": rounded(tps),
      "p50 ms": rounded(p50Ms, 2),
      "p99 ms": rounded(p99Ms, 2),
      "CPU µs": rounded(cpuMicrosPerTx, 1),
    })),
  );
  console.table(
    report.failovers.map(({ pooler, firstWriteMs, allMs }) => ({
      pooler,
      "first write after ms": rounded(firstWriteMs),
      all: allMs.map((ms) => rounded(ms)).join(", "),
    })),
  );
}
