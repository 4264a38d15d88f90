/**
 * What systemd is told of this process (man 3 sd_notify), where its unit says Type=notify: that it is ready, that it
 * reloads and since when, that it stops. Node has no Unix datagram sockets, which NOTIFY_SOCKET is, so the program
 * systemd-notify carries the words; the unit needs NotifyAccess=all, because that is a process of its own.
 */
import { spawn } from "node:child_process";
import type { Logger } from "../base/log.ts";

const program = "systemd-notify";
/** A service manager that does not listen holds nobody up longer. */
const timeoutMs = 5_000;

export class ServiceManager {
  readonly #listens: boolean;
  readonly #logger: Logger;
  /** What was said last; words arrive in the order in which they were said. */
  #last: Promise<void> = Promise.resolve();
  #stopping = false;

  /** `environment`: where NOTIFY_SOCKET is, if somebody listens. */
  constructor(environment: NodeJS.ProcessEnv, logger: Logger) {
    this.#listens = (environment["NOTIFY_SOCKET"] ?? "") !== "";
    this.#logger = logger;
  }

  /** Clients can connect. */
  ready(status: string): void {
    this.#say("READY=1", `STATUS=${status}`);
  }

  /** Tells of a reload from its beginning to its end, however it ends. */
  async reloading(reload: () => Promise<void>): Promise<void> {
    // CLOCK_MONOTONIC, by which systemd knows that this is not an earlier one.
    this.#say("RELOADING=1", `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
    try {
      await reload();
    } finally {
      if (!this.#stopping) this.#say("READY=1");
    }
  }

  stopping(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#say("STOPPING=1");
  }

  /** Resolves when everything has been said. */
  get done(): Promise<void> {
    return this.#last;
  }

  #say(...assignments: string[]): void {
    if (!this.#listens) return;
    this.#last = this.#last.then(async () => {
      const failure = await run(assignments);
      if (failure !== undefined) this.#logger.warn({ reason: failure }, "systemd was not told");
    });
  }
}

/** Why it failed; undefined if it did not. */
function run(assignments: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program, assignments, { stdio: "ignore", timeout: timeoutMs });
    child.once("error", (error: NodeJS.ErrnoException) => {
      resolve(error.code === "ENOENT" ? `the program ${program} is missing` : error.message);
    });
    child.once("exit", (code, signal) => {
      resolve(code === 0 ? undefined : `${program} ended with ${signal ?? `exit code ${code}`}`);
    });
  });
}
