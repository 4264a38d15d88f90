/**
 * Compares the relay's variants under pgbench: processor microseconds per transaction of the relay process.
 *
 *   node --import tsx bench/micro/relay-bench.ts --port 5432 --user postgres --database bench
 *     [--pgbench PATH] [--script select-only|tpcb-like] [--clients 1,16,64] [--seconds 2] [--rounds 3] [--only NAME,NAME]
 *
 * The database needs the tables of `pgbench -i`. Rounds are interleaved: each round runs every variant once,
 * so that a busy spell of the machine hits all of them. The medians are printed, and the least.
 */
import { type ChildProcess, execFile, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import type { RelayOptions } from "./relay.ts";

type Variant = Omit<RelayOptions, "port">;
interface Sample {
  readonly tps: number;
  readonly cpuMicros: number;
  readonly systemMicros: number;
  /** Of variants that count them: calls by the FFI, and system calls. */
  readonly calls: string;
}
interface Usage {
  readonly user: number;
  readonly system: number;
  readonly counts?: { readonly ffi: number; readonly system: number };
}

const plain: Variant = { accepted: "data", connected: "data", write: "chunk", noDelay: true };
const variants: Record<string, Variant> = {
  "data/data": plain,
  "data/onread": { ...plain, connected: "onread" },
  "data/shared": { ...plain, connected: "shared" },
  "onread/onread": { ...plain, accepted: "onread", connected: "onread" },
  "shared/shared": { ...plain, accepted: "shared", connected: "shared" },
  "patch/shared": { ...plain, accepted: "shared-patch", connected: "shared" },
  "hook/shared": { ...plain, accepted: "shared-hook", connected: "shared" },
  "shared/shared copy": { ...plain, accepted: "shared", connected: "shared", write: "copy" },
  "shared/shared handle": { ...plain, accepted: "shared", connected: "shared", write: "handle" },
  "shared/shared cork": { ...plain, accepted: "shared", connected: "shared", write: "cork" },
  "shared/shared concat": { ...plain, accepted: "shared", connected: "shared", write: "concat" },
  "shared/shared two": { ...plain, accepted: "shared", connected: "shared", write: "two" },
  "data/data delay": { ...plain, noDelay: false },
};
/** By file descriptors (descriptor-relay.ts). */
const descriptorVariants: Record<string, string> = {
  epoll: "epoll",
  "epoll gathered": "gathered",
  "epoll together": "together",
  "io_uring single": "single",
  "io_uring multishot": "multishot",
};

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "5432" },
    user: { type: "string", default: "postgres" },
    database: { type: "string", default: "bench" },
    pgbench: { type: "string", default: "pgbench" },
    script: { type: "string", default: "select-only" },
    clients: { type: "string", default: "1,16,64" },
    seconds: { type: "string", default: "2" },
    rounds: { type: "string", default: "3" },
    only: { type: "string" },
  },
});

await main();

async function main(): Promise<void> {
  const names = values.only?.split(",") ?? Object.keys({ ...variants, ...descriptorVariants });
  for (const clients of values.clients.split(",").map(Number)) {
    const samples = new Map<string, Sample[]>(names.map((name) => [name, []]));
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const name of names) samples.get(name)?.push(await measure(name, clients));
    }
    console.log(`\n${clients} clients               tps   µs/tx   least  (kernel)`);
    for (const [name, list] of samples) {
      const cells = [
        median(list.map((sample) => sample.tps))
          .toFixed(0)
          .padStart(8),
        median(list.map((sample) => sample.cpuMicros))
          .toFixed(1)
          .padStart(8),
        Math.min(...list.map((sample) => sample.cpuMicros))
          .toFixed(1)
          .padStart(8),
        median(list.map((sample) => sample.systemMicros))
          .toFixed(1)
          .padStart(8),
      ];
      console.log(`${name.padEnd(22)}${cells.join("")}${list.at(-1)?.calls}`);
    }
  }
}

async function measure(name: string, clients: number): Promise<Sample> {
  const child = start(name);
  const [{ port }] = (await once(child, "message")) as [{ port: number }];
  await pgbench(port, clients, "1");
  const before = await usage(child);
  const output = await pgbench(port, clients, values.seconds);
  const after = await usage(child);
  child.disconnect();
  await once(child, "exit");
  const transactions = Number(/actually processed: (\d+)/.exec(output)?.[1]);
  return {
    tps: Number(/tps = ([\d.]+)/.exec(output)?.[1]),
    cpuMicros: (after.user + after.system - before.user - before.system) / transactions,
    systemMicros: (after.system - before.system) / transactions,
    calls: callsPerTransaction(before, after, transactions),
  };
}

function start(name: string): ChildProcess {
  const program = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
  const kind = descriptorVariants[name];
  if (kind !== undefined) return fork(program("./descriptor-relay.ts"), [kind, values.port]);
  const variant = variants[name];
  if (variant === undefined) throw new Error(`no variant ${name}`);
  const options: RelayOptions = { ...variant, port: Number(values.port) };
  return fork(program("./relay.ts"), [JSON.stringify(options)]);
}

function callsPerTransaction(before: Usage, after: Usage, transactions: number): string {
  if (before.counts === undefined || after.counts === undefined) return "";
  const ffi = (after.counts.ffi - before.counts.ffi) / transactions;
  const system = (after.counts.system - before.counts.system) / transactions;
  return `   ${ffi.toFixed(1)} calls, ${system.toFixed(1)} of the system`;
}

async function usage(child: ChildProcess): Promise<Usage> {
  child.send("usage");
  const [answer] = (await once(child, "message")) as [Usage];
  return answer;
}

async function pgbench(port: number, clients: number, seconds: string): Promise<string> {
  const { stdout } = await promisify(execFile)(values.pgbench, [
    "--no-vacuum",
    `--builtin=${values.script}`,
    "--host=127.0.0.1",
    `--port=${port}`,
    `--username=${values.user}`,
    `--client=${clients}`,
    "--jobs=1",
    `--time=${seconds}`,
    values.database,
  ]);
  return stdout;
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
