/**
 * The processes under test: started without root's rights where they insist on it, measured by /proc, ended
 * by their process number, and supervised, so that they end when this process does.
 *
 * Processor time and memory are those of the whole tree of processes, because pgpool serves each client from
 * a child and a pooler may have workers. Linux only; elsewhere every figure is undefined.
 */
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../../base/errors.ts";
import type { Account } from "../account.ts";
import { descendants, killTree, signalProcess } from "../processes.ts";
import { Supervised } from "../supervisor.ts";

/** Linux reports processor time in these to user space, whatever the kernel was built with (man 5 proc). */
const ticksPerSecond = 100;
const startTimeLimitMs = 20_000;
/** How often it is seen whether it listens: what is late by that is late in the time that a start takes. */
const startPollMs = 5;
const stopTimeLimitMs = 10_000;

export interface ProcessOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** For its output; also its working folder. */
  readonly folder: string;
  /** Whether the folder goes with it if we end without having cleaned up. */
  readonly ownsFolder: boolean;
  /** Where it will listen. */
  readonly port: number;
  /** Whom to run it as; ourselves if undefined. */
  readonly account: Account | undefined;
}

export interface ProcessUsage {
  readonly cpuMicros: number;
  /** What the tree holds now. */
  readonly rssBytes: number;
  /** The most it held since {@link resetPeak}; of a tree with several processes the sum of now. */
  readonly peakBytes: number;
}

/** Writes the number of the process that the program then becomes. */
const startScript = 'echo $$ >"$1"; shift; exec "$@"';

export class RunningProcess {
  readonly #options: ProcessOptions;
  readonly #logFile: string;
  readonly #pidFile: string;
  #supervised: Supervised | undefined;
  #pid = 0;
  #startedAtMs = 0;

  private constructor(options: ProcessOptions) {
    this.#options = options;
    this.#logFile = path.join(options.folder, `${options.name}.log`);
    this.#pidFile = path.join(options.folder, `${options.name}.process`);
  }

  /**
   * Starts a program, its output going to a file in `folder`, and waits until `port` accepts connections.
   * @throws {OperationError} `bench.start_failed` if it ends or does not listen in time; the detail has the end
   * of its output.
   */
  static async start(options: ProcessOptions): Promise<RunningProcess> {
    const running = new RunningProcess(options);
    await running.#start();
    return running;
  }

  /** When it was started last, on the scale of `performance.now()`. */
  get startedAtMs(): number {
    return this.#startedAtMs;
  }

  /** Stops it and starts it again, on the same port. Rejects as {@link start} does. */
  async restart(): Promise<void> {
    await this.stop();
    await this.#start();
  }

  /** undefined where there is no /proc. */
  async usage(): Promise<ProcessUsage | undefined> {
    try {
      return await usageOfTree(this.#pid);
    } catch {
      return undefined;
    }
  }

  /** Forgets the peak of memory so far (man 5 proc, clear_refs). */
  async resetPeak(): Promise<void> {
    await writeFile(`/proc/${this.#pid}/clear_refs`, "5").catch(() => {});
  }

  /** Ends the process, first by asking. */
  async stop(): Promise<void> {
    const supervised = this.#supervised;
    if (supervised === undefined || supervised.hasEnded || this.#pid === 0) return;
    signalProcess(this.#pid, "SIGINT");
    const deadline = performance.now() + stopTimeLimitMs;
    while (performance.now() < deadline && !supervised.hasEnded) await sleep(20);
    if (!supervised.hasEnded) await killTree(this.#pid);
    while (!supervised.hasEnded) await sleep(20);
  }

  async #start(): Promise<void> {
    const { command, args, folder, account, port } = this.#options;
    this.#startedAtMs = performance.now();
    const supervised = new Supervised({
      command: ["/bin/sh", "-c", startScript, "sh", this.#pidFile, command, ...args],
      logFile: this.#logFile,
      folder,
      account,
      orphanSignal: "INT",
      orphanRemoves: this.#options.ownsFolder ? folder : undefined,
    });
    this.#supervised = supervised;
    this.#pid = 0;
    try {
      await untilListening(port, supervised);
      this.#pid = Number(await readFile(this.#pidFile, "utf8"));
    } catch (error) {
      this.#pid = Number(await readText(this.#pidFile));
      await this.stop();
      throw await this.#startFailure(error);
    }
  }

  async #startFailure(error: unknown): Promise<OperationError> {
    const log = await readText(this.#logFile);
    return new OperationError(`${this.#options.name} could not be started: ${(error as Error).message}`, {
      code: "bench.start_failed",
      sqlstate: "58000",
      source: "internal",
      detail: log.trim().split("\n").slice(-5).join("\n"),
      cause: error,
    });
  }
}

async function untilListening(port: number, supervised: Supervised): Promise<void> {
  const deadline = performance.now() + startTimeLimitMs;
  while (performance.now() < deadline) {
    if (supervised.hasEnded) throw new Error("it ended");
    if (await accepts(port)) return;
    await sleep(startPollMs);
  }
  throw new Error(`it does not listen on port ${port} after ${startTimeLimitMs / 1000} s`);
}

async function accepts(port: number): Promise<boolean> {
  const socket = net.connect({ host: "127.0.0.1", port });
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function usageOfTree(root: number): Promise<ProcessUsage> {
  const pids = await descendants(root);
  let cpuMicros = await cpuMicrosOf(root, true);
  for (const pid of pids) cpuMicros += await cpuMicrosOf(pid, false).catch(() => 0);
  if (pids.length === 0) {
    const status = await readFile(`/proc/${root}/status`, "utf8");
    return { cpuMicros, rssBytes: kilobytes(status, "VmRSS"), peakBytes: kilobytes(status, "VmHWM") };
  }
  // Pages that processes share must not be counted once for each of them.
  let bytes = 0;
  for (const pid of [root, ...pids]) {
    bytes += kilobytes(await readText(`/proc/${pid}/smaps_rollup`), "Pss");
  }
  return { cpuMicros, rssBytes: bytes, peakBytes: bytes };
}

/** User and kernel time of all threads; of the root also that of children which have ended. */
async function cpuMicrosOf(pid: number, withEndedChildren: boolean): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // The second field, the name, may contain anything but ends with the last ")". utime is the 14th field.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = fields.slice(11, withEndedChildren ? 15 : 13).reduce((sum, field) => sum + Number(field), 0);
  return (ticks * 1_000_000) / ticksPerSecond;
}

/** Empty if it cannot be read, for example because the process has ended. */
async function readText(file: string): Promise<string> {
  return readFile(file, "utf8").catch(() => "");
}

function kilobytes(text: string, key: string): number {
  return Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * 1024;
}
