/**
 * Operating system processes by number: run one to its end, ask whether one lives, find and end a tree.
 *
 * A process number alone proves nothing, because numbers are used again; with the time the process started
 * it names one process. Everything reads /proc where there is one and asks `ps` elsewhere.
 */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { Account } from "./account.ts";
import { labError } from "./errors.ts";

const execute = promisify(execFile);
const hasProc: boolean = process.platform === "linux";
const outputBytesMax = 16 * 1024 * 1024;
const pollMs = 10;

export interface RunOptions {
  /** Whom to run it as; ourselves if undefined. */
  readonly account?: Account | undefined;
  readonly folder?: string | undefined;
}

/**
 * The environment of PostgreSQL's programs. Nothing is inherited but the search path: a PGPORT or PGSSLMODE
 * of the caller would change what they do, and messages are matched in English.
 */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C" };
}

/** Runs a program to its end and returns its standard output; rejects if it fails. */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { stdout } = await execute(file, [...args], {
    env: cleanEnvironment(),
    cwd: options.folder ?? "/",
    maxBuffer: outputBytesMax,
    ...(options.account === undefined ? {} : { uid: options.account.uid, gid: options.account.gid }),
  });
  return stdout;
}

/** Whether the process runs; one that has ended and was not yet collected by its parent does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return !hasProc || statFields(pid)?.[0] !== "Z";
}

/** Sends a signal; a process that is gone already is no error. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Opaque text that is the same as long as `pid` means the same process; undefined if there is none. */
export async function startToken(pid: number): Promise<string | undefined> {
  if (hasProc) return statFields(pid)?.[19];
  const text = await run("ps", ["-o", "lstart=", "-p", String(pid)]).catch(() => "");
  return text.trim() === "" ? undefined : text.trim();
}

/** Waits until none of the processes lives. Rejects with `lab.timeout`. */
export async function untilGone(pids: readonly number[], timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (pids.some(isAlive)) {
    if (performance.now() > deadline) {
      throw labError("lab.timeout", `processes ${pids.filter(isAlive).join(", ")} did not end`);
    }
    await sleep(pollMs);
  }
}

/** Ends a process and everything below it at once, and waits until they are gone. */
export async function killTree(root: number): Promise<void> {
  // Held still, it cannot start another child between our look and its end.
  signalProcess(root, "SIGSTOP");
  const pids = [root, ...(await descendants(root))];
  for (const pid of pids) signalProcess(pid, "SIGKILL");
  await untilGone(pids, 10_000);
}

/** Numbers of all processes below `root`. */
export async function descendants(root: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const [pid, parent] of await parents()) {
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [pid]);
    else siblings.push(pid);
  }
  const found: number[] = [];
  const open = [root];
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    const below = children.get(pid) ?? [];
    found.push(...below);
    open.push(...below);
  }
  return found;
}

/**
 * Processes of PostgreSQL that work in `dataFolder`: the postmaster and its children all make it their
 * working folder. Where there is no /proc, only `candidate` is looked at, by its command line.
 */
export async function processesIn(dataFolder: string, candidate: number | undefined): Promise<number[]> {
  if (!hasProc) {
    if (candidate === undefined) return [];
    const command = await run("ps", ["-o", "command=", "-p", String(candidate)]).catch(() => "");
    return command.includes(dataFolder) ? [candidate] : [];
  }
  const folder = realpath(dataFolder);
  return allPids().filter((pid) => workingFolder(pid) === folder && isAlive(pid));
}

async function parents(): Promise<[pid: number, parent: number][]> {
  if (hasProc) return allPids().map((pid) => [pid, Number(statFields(pid)?.[1] ?? 0)]);
  const lines = (await run("ps", ["-A", "-o", "pid=,ppid="])).trim().split("\n");
  return lines.map((line) => {
    const [pid, parent] = line.trim().split(/\s+/);
    return [Number(pid), Number(parent)];
  });
}

function allPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function workingFolder(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

function realpath(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return folder;
  }
}

/** Fields of /proc/PID/stat from the third on: state, parent, … (man 5 proc). */
function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field, the name, may hold anything; it ends with the last parenthesis.
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}
