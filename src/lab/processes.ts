/**
 * Operating system processes by number: run one to its end, find and end a tree.
 *
 * A process number alone proves nothing, because numbers are used again; with the time the process started
 * it names one process. Everything reads /proc where there is one and asks `ps` elsewhere.
 */
import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { allPids, hasProc, isAlive, statFields } from "../backup/processes.ts";
import type { Account } from "./account.ts";
import { labError } from "./errors.ts";

const execute = promisify(execFile);
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

async function parents(): Promise<[pid: number, parent: number][]> {
  if (hasProc) return allPids().map((pid) => [pid, Number(statFields(pid)?.[1] ?? 0)]);
  const lines = (await run("ps", ["-A", "-o", "pid=,ppid="])).trim().split("\n");
  return lines.map((line) => {
    const [pid, parent] = line.trim().split(/\s+/);
    return [Number(pid), Number(parent)];
  });
}
