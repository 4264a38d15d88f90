/**
 * The file with our process id (`pidfile`), by PgBouncer's rules: one that a living process holds refuses the start,
 * as does one with something else in it; what a dead process has left is replaced; ours is removed at the end.
 */
import { readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { OperationError } from "../base/errors.ts";

/**
 * Writes our process id to the file at `path`, and removes it when the process ends, in whatever way it can.
 * Throws OperationError `cli.pidfile_in_use` or `cli.pidfile`. An empty path: nothing is done.
 */
export function claimPidFile(path: string): void {
  if (path === "") return;
  removeStale(path);
  try {
    writeFileSync(path, `${process.pid}\n`, { flag: "wx", mode: 0o644 });
  } catch (error) {
    throw pidFileFailed(`cannot be written: ${(error as Error).message}`, path, error);
  }
  process.once("exit", () => unlinkQuietly(path));
}

function removeStale(path: string): void {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw pidFileFailed(`cannot be read: ${(error as Error).message}`, path, error);
  }
  const pid = /^\d+\s*$/.test(text) ? Number(text) : 0;
  if (pid === 0 || isAlive(pid)) {
    throw new OperationError(`pidfile '${path}' exists, another instance running?`, {
      code: "cli.pidfile_in_use",
      sqlstate: "F0000",
      source: "internal",
      hint: "Stop the other one, choose another pidfile, or remove it if it is not a pooler's.",
    });
  }
  try {
    unlinkSync(path);
  } catch (error) {
    throw pidFileFailed(
      `of a process that is gone cannot be removed: ${(error as Error).message}`,
      path,
      error,
    );
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, and is somebody else's.
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Removed by somebody else, or the folder is not ours to change.
  }
}

function pidFileFailed(what: string, path: string, cause: unknown): OperationError {
  return new OperationError(`pidfile ${path} ${what}`, {
    code: "cli.pidfile",
    sqlstate: "F0000",
    source: "internal",
    cause,
  });
}
