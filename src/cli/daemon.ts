/**
 * Running in the background (`--daemon`). The process that was called starts another one in a session of its own
 * and stays until that one can be connected to, so that what is wrong is told to whoever called; PgBouncer leaves
 * at once. As with PgBouncer there must be a pid file, and a log file or syslog.
 */
import { spawn } from "node:child_process";
import { Failure, OperationError } from "../base/errors.ts";
import type { Settings } from "../config/schema.ts";

/** The flag, never shown, by which a process knows that it is the one in the background. */
export const detachedFlag = "--detached";

/** What it tells the one that waits. */
type Report = { readonly ready: true } | { readonly message: string; readonly hint?: string | undefined };

/**
 * Starts this command line again, in the background. Rejects with OperationError `cli.daemon` if it cannot be, or if
 * that process ends before clients can connect.
 */
export async function startInBackground(settings: Settings): Promise<void> {
  if (settings.pidfile === "") throw daemonFailed("--daemon needs the setting pidfile");
  if (settings.logfile === "" && !settings.syslog)
    throw daemonFailed("--daemon needs the setting logfile or syslog");
  const [, script = "", ...args] = process.argv;
  const child = spawn(process.execPath, [...process.execArgv, script, ...args, detachedFlag], {
    detached: true,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  const report = await new Promise<Report>((resolve, reject) => {
    let said: Report | undefined;
    child.once("message", (message) => {
      said = message as Report;
      if ("ready" in said) resolve(said);
    });
    child.once("error", (error) => reject(daemonFailed(`could not start: ${error.message}`)));
    // A start that has failed is over when its process has ended, and its pid file is gone with it.
    child.once("exit", (code, signal) => {
      const end = `the process in the background ended with ${signal ?? `exit code ${code}`}`;
      const settle = (): void => resolve(said ?? { message: end });
      // What it had to say may still be on its way: the channel ends behind it.
      if (child.connected) child.once("disconnect", settle);
      else settle();
    });
  });
  child.unref();
  if ("message" in report) throw daemonFailed(report.message, report.hint);
}

/** In the background process: clients can connect. */
export function reportReady(): void {
  send({ ready: true });
}

/** In the background process: the start failed. */
export function reportFailure(error: unknown): void {
  if (error instanceof Failure) send({ message: error.message, hint: error.hint });
  else send({ message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}

function send(report: Report): void {
  // Whoever waited may be gone.
  if (process.connected) process.send?.(report, () => process.disconnect());
}

function daemonFailed(message: string, hint?: string): OperationError {
  return new OperationError(message, {
    code: "cli.daemon",
    sqlstate: "F0000",
    source: "internal",
    ...(hint === undefined ? {} : { hint }),
  });
}
