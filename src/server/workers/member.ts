/** One worker, as the primary process sees it. */
import { type ChildProcess, fork } from "node:child_process";
import { type Handlers, Link } from "./link.ts";
import type { ToPrimary, ToWorker, WorkerStatus } from "./protocol.ts";

export class Member {
  /** From 0. */
  readonly slot: number;
  readonly link: Link<ToWorker, ToPrimary>;
  readonly startedAtEpochMs: number = Date.now();
  #ready = false;
  #wasReady = false;
  /** Whether and why it could not be started is known. */
  begun: Promise<void> = Promise.resolve();
  /** Connections that it was given and has not told the end of. */
  connections = 0;
  status: WorkerStatus = { connections: 0, clients: 0, servers: 0, waiting: 0 };
  /** Why it could not be started. */
  failure: unknown;
  readonly #child: ChildProcess;
  readonly #startedAtMs = performance.now();

  /** `onExit`: how it has ended, once. */
  constructor(
    slot: number,
    file: string,
    handlers: (member: Member) => Handlers<ToPrimary>,
    onExit: (member: Member, how: string) => void,
  ) {
    this.slot = slot;
    this.#child = fork(file, { stdio: ["ignore", "inherit", "inherit", "ipc"], env: ownEnvironment() });
    this.link = new Link(this.#child, handlers(this));
    let over = false;
    const end = (how: string): void => {
      if (over) return;
      over = true;
      this.ready = false;
      this.link.close();
      onExit(this, how);
    };
    this.#child.once("exit", (code, signal) => end(signal ?? `exit code ${code}`));
    this.#child.once("error", (error) => end(error.message));
  }

  /** It can be given connections. */
  get ready(): boolean {
    return this.#ready;
  }

  set ready(ready: boolean) {
    this.#ready = ready;
    this.#wasReady ||= ready;
  }

  /** It could once. */
  get wasReady(): boolean {
    return this.#wasReady;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get ageMs(): number {
    return performance.now() - this.#startedAtMs;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

/** What the service manager says is for the primary alone. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET: _, ...environment } = process.env;
  return environment;
}
