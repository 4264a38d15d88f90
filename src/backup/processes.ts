/** Which processes there are, by number, and which of them are PostgreSQL's in a data folder. Reads /proc where there is one. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { promisify } from "node:util";

const execute = promisify(execFile);
export const hasProc: boolean = process.platform === "linux";

/**
 * Processes of PostgreSQL that work in `dataFolder`: the postmaster and its children all make it their
 * working folder. Where there is no /proc, only `candidate` is looked at, by its command line.
 */
export async function processesIn(dataFolder: string, candidate: number | undefined): Promise<number[]> {
  if (!hasProc) {
    if (candidate === undefined) return [];
    const args = ["-o", "command=", "-p", String(candidate)];
    const { stdout } = await execute("ps", args).catch(() => ({ stdout: "" }));
    return stdout.includes(dataFolder) ? [candidate] : [];
  }
  const folder = realpath(dataFolder);
  return allPids().filter((pid) => workingFolder(pid) === folder && isAlive(pid));
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

export function allPids(): number[] {
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
export function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field, the name, may hold anything; it ends with the last parenthesis.
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

/** The name of its program; empty if it cannot be told. */
export function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "latin1").trim();
  } catch {
    return "";
  }
}
