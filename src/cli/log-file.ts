/**
 * The log file (`logfile`): appended to line by line, and opened anew at every reload, so that it can be renamed
 * before. A full disk loses lines, never the process.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { OperationError } from "../base/errors.ts";

export class LogFile {
  #descriptor: number | undefined;

  /**
   * Appends to the file at `path` from now on; an empty path: to none. Throws OperationError `cli.logfile` if it
   * cannot be opened, and then goes on with the one that it had.
   */
  open(path: string): void {
    const before = this.#descriptor;
    this.#descriptor = path === "" ? undefined : openForAppending(path);
    if (before !== undefined) closeSync(before);
  }

  write(lines: string): void {
    if (this.#descriptor === undefined) return;
    try {
      writeSync(this.#descriptor, lines);
    } catch {
      // Nobody could be told of it but through the log.
    }
  }
}

function openForAppending(path: string): number {
  try {
    return openSync(path, "a", 0o644);
  } catch (error) {
    throw new OperationError(`logfile ${path} cannot be opened: ${(error as Error).message}`, {
      code: "cli.logfile",
      sqlstate: "F0000",
      source: "internal",
      hint: "It is opened by the user that the pooler runs as.",
      cause: error,
    });
  }
}
