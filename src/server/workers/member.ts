/** One worker, as the primary process sees it. */
import { type ChildProcess, fork } from "node:child_process";
import { type Handlers, Link, otherSideGone } from "./link.ts";
import type { ToPrimary, ToWorker, WorkerStatus } from "./protocol.ts";

/** A worker that takes so long to take a connection is passed over for the next ones. */
const handingMsMax = 250;

export class Member {
  /** From 0. */
  readonly slot: number;
  readonly link: Link<ToWorker, ToPrimary>;
  readonly startedAtEpochMs: number = Date.now();
  #ready = false;
  #wasReady = false;
  #silent = false;
  /** Calls that are not waited for once it is silent. */
  readonly #impatient = new Set<() => void>();
  /** Connections on their way to it, and since when it has confirmed none of them. */
  #handed = 0;
  #handedSinceMs = 0;
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

  /** It has not answered for a while. */
  get silent(): boolean {
    return this.#silent;
  }

  set silent(silent: boolean) {
    this.#silent = silent;
    if (silent) for (const giveUp of [...this.#impatient]) giveUp();
  }

  /** It can be asked now, and will answer soon. */
  get answers(): boolean {
    return this.#ready && !this.#silent;
  }

  /** As `link.call`, but one that is silent, or falls silent, is given up as if it were gone. */
  ask<K extends keyof ToWorker>(
    name: K,
    ask: ToWorker[K]["ask"],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<ToWorker[K]["answer"]> {
    if (this.#silent) return Promise.reject(otherSideGone());
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        this.#impatient.delete(giveUp);
        reject(otherSideGone());
      };
      this.#impatient.add(giveUp);
      void this.link
        .call(name, ask, options)
        .then(resolve, reject)
        .finally(() => this.#impatient.delete(giveUp));
    });
  }

  /** How it is doing, as soon as it says so. */
  async askStatus(): Promise<void> {
    this.status = await this.link.call("status", null);
  }

  /** Gives it a connection; resolves when it has taken it. */
  async hand(local: boolean, handle: object): Promise<void> {
    this.connections++;
    if (this.#handed === 0) this.#handedSinceMs = performance.now();
    this.#handed++;
    await this.link.call("connection", { local }, { handle });
    this.#handed--;
    this.#handedSinceMs = performance.now();
  }

  /** It takes longer than it should to take what it was given. */
  get slow(): boolean {
    return this.#handed > 0 && performance.now() - this.#handedSinceMs > handingMsMax;
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
