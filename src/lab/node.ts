/**
 * One PostgreSQL instance of a lab: started, stopped, killed, held still, promoted. Whether it is up is read
 * from postmaster.pid and pg_control, as pg_ctl does, so none of this needs a connection.
 */
import { existsSync } from "node:fs";
import { chown, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readPostmasterFile } from "../backup/data-folder.ts";
import { connectOptions } from "../client/conninfo/options.ts";
import { SimpleClient, type SimpleResult } from "../client/simple.ts";
import type { Account } from "./account.ts";
import type { Binaries } from "./binaries.ts";
import {
  endLeftovers,
  inProduction,
  type PostgresSettings,
  readControlFile,
  standbySignal,
  superuser,
  writeHostBasedAuthentication,
  writeOwned,
  writeSettings,
} from "./data-folder.ts";
import { labError } from "./errors.ts";
import { freePort } from "./ports.ts";
import { descendants, killTree, signalProcess } from "./processes.ts";
import { Supervised } from "./supervisor.ts";

export type NodeRole = "primary" | "standby";
/** As in PostgreSQL's manual, 18.5: wait for clients, end them, or end without a checkpoint. */
export type StopMode = "smart" | "fast" | "immediate";

const stopSignals = { smart: "SIGTERM", fast: "SIGINT", immediate: "SIGQUIT" } as const;
const startTimeoutMs = 60_000;
const pollMs = 10;
/** How often another port is tried when somebody took the one we found free. */
const startTries = 5;

/** What all nodes of a lab share. */
export interface LabContext {
  readonly binaries: Binaries;
  readonly account: Account | undefined;
  /** Short: a Unix socket's path has room for about 100 bytes. */
  readonly socketFolder: string;
  readonly settings: PostgresSettings;
  /** Lines of pg_hba.conf. */
  readonly auth: readonly string[];
  /** Whether data must survive a crash of the machine; says also how an orphan is stopped. */
  readonly durable: boolean;
  /** Removed by whoever stops the nodes if we end without having done it. */
  readonly orphanRemoves: string | undefined;
}

export class LabNode {
  readonly name: string;
  readonly dataFolder: string;
  readonly socketFolder: string;
  /** Standard output and error of the server, since it was made. */
  readonly logFile: string;
  readonly #context: LabContext;
  #port: number;
  /** Once it has started, others rely on its port. */
  #portIsKnown = false;
  #supervised: Supervised | undefined;
  #pid: number | undefined;
  /** Where a standby streams from. */
  #upstream: LabNode | undefined;

  /** @internal */
  constructor(context: LabContext, name: string, folder: string, port: number) {
    this.#context = context;
    this.name = name;
    this.dataFolder = path.join(folder, "data");
    this.logFile = path.join(folder, "postgresql.log");
    this.socketFolder = context.socketFolder;
    this.#port = port;
  }

  get host(): string {
    return "127.0.0.1";
  }

  get port(): number {
    return this.#port;
  }

  /** What it is now; a promotion changes it, also one by SQL. */
  get role(): NodeRole {
    return existsSync(path.join(this.dataFolder, standbySignal)) ? "standby" : "primary";
  }

  /** False also after the server ended by itself. */
  get isRunning(): boolean {
    return this.#supervised !== undefined && !this.#supervised.hasEnded;
  }

  /** Process number of the postmaster, while it runs. */
  get pid(): number | undefined {
    return this.isRunning ? this.#pid : undefined;
  }

  /** A connection URL over TCP. */
  url(user: string = superuser, database = "postgres"): string {
    return `postgres://${encodeURIComponent(user)}@${this.host}:${this.port}/${encodeURIComponent(database)}`;
  }

  /** Connects as superuser over the Unix socket, which pg_hba.conf always allows. */
  async connect(database = "postgres"): Promise<SimpleClient> {
    const hosts = [{ host: this.socketFolder, port: this.port }];
    return await SimpleClient.connect(
      connectOptions({ hosts, user: superuser, database, sslmode: "disable" }),
    );
  }

  /** Runs a query string as superuser, over a connection of its own. Rejects as {@link SimpleClient.query} does. */
  async query(sql: string, database = "postgres"): Promise<SimpleResult> {
    await using client = await this.connect(database);
    return await client.query(sql);
  }

  /**
   * Starts the server and waits until it accepts connections; a standby, until it can be read from. What an
   * earlier process left running on the folder is ended first. Rejects with `lab.start_failed`.
   */
  async start(): Promise<void> {
    if (this.isRunning) return;
    await endLeftovers(this.dataFolder);
    for (let attempt = 1; ; attempt++) {
      if (this.#port === 0) this.#port = await freePort();
      const failure = await this.#startOnce();
      if (failure === undefined) break;
      if (this.#portIsKnown || attempt === startTries || !/could not (bind|create any TCP)/.test(failure)) {
        throw labError("lab.start_failed", `PostgreSQL ${this.name} did not start`, { detail: failure });
      }
      this.#port = 0;
    }
    this.#portIsKnown = true;
  }

  /**
   * Stops the server and waits for its end; a mode waits for what it waits for in PostgreSQL, clients that
   * stay connected (smart) or standbys that do not receive (fast). Rejects with `lab.timeout`; it may still
   * end later, or be stopped in another mode.
   */
  async stop(mode: StopMode = "fast", options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const { pid } = this;
    if (pid === undefined) return;
    signalProcess(pid, stopSignals[mode]);
    const deadline = performance.now() + (options.timeoutMs ?? 60_000);
    while (this.isRunning) {
      if (performance.now() > deadline) throw labError("lab.timeout", `${this.name} did not stop (${mode})`);
      await sleep(pollMs);
    }
  }

  /** Ends all its processes at once, as a crash of the machine would: nothing is flushed, nobody is told. */
  async kill(): Promise<void> {
    const { pid } = this;
    if (pid === undefined) return;
    await killTree(pid);
    while (this.isRunning) await sleep(pollMs);
  }

  /** Stops and starts, on the same port. */
  async restart(mode: StopMode = "fast"): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** Holds all its processes still: connections stay open, and nothing answers. Until {@link resume}. */
  async pause(): Promise<void> {
    await this.#signalAll("SIGSTOP");
  }

  async resume(): Promise<void> {
    await this.#signalAll("SIGCONT");
  }

  /** Makes a standby the primary of a new timeline, and waits until it can be written to. */
  async promote(): Promise<void> {
    const { pid } = this;
    if (pid === undefined || this.role === "primary") {
      throw labError("lab.start_failed", `${this.name} is not a running standby`);
    }
    // In one step: the server removes the file as soon as anything wakes it.
    const request = path.join(this.dataFolder, "promote");
    await writeOwned(`${request}.new`, "", this.#context.account);
    await rename(`${request}.new`, request);
    signalProcess(pid, "SIGUSR1");
    await this.#until("be promoted", async () => {
      return this.role === "primary" && (await readControlFile(this.dataFolder)).state === inProduction;
    });
  }

  /**
   * Makes it a standby of `upstream`: a running standby changes over at once, a stopped node at its next start. It must
   * hold nothing that `upstream` lacks; else use Lab.rejoin. Of `undefined`: a standby that receives nothing, so that
   * what it has can be compared with others'.
   */
  async follow(upstream: LabNode | undefined): Promise<void> {
    if (this.isRunning && this.role === "primary") {
      throw labError("lab.start_failed", `${this.name} is a running primary: stop it first`);
    }
    this.#upstream = upstream;
    await writeOwned(path.join(this.dataFolder, standbySignal), "", this.#context.account);
    await this.#writeConfiguration();
    await this.reload();
  }

  /** Makes the server read its configuration again. Does not wait until it has. */
  async reload(): Promise<void> {
    if (this.pid !== undefined) signalProcess(this.pid, "SIGHUP");
  }

  /** Text written to the log since a position, which is a number of bytes. */
  async log(from = 0): Promise<string> {
    const bytes = await readFile(this.logFile).catch(() => Buffer.alloc(0));
    return bytes.toString("utf8", Math.min(from, bytes.length));
  }

  /** One attempt; returns the server's output if it ended. */
  async #startOnce(): Promise<string | undefined> {
    const { binaries, account, durable, orphanRemoves } = this.#context;
    await this.#writeConfiguration();
    await this.#clearSockets();
    await writeFile(this.logFile, "", { flag: "a" });
    if (account !== undefined) await chown(this.logFile, account.uid, account.gid);
    const logStart = (await stat(this.logFile)).size;
    const before = (await readPostmasterFile(this.dataFolder))?.identity;
    this.#supervised = new Supervised({
      command: [binaries.postgres, "-D", this.dataFolder],
      logFile: this.logFile,
      folder: path.dirname(this.dataFolder),
      account,
      orphanSignal: durable ? "INT" : "QUIT",
      orphanRemoves,
    });
    try {
      await this.#until("start", async () => {
        const file = await readPostmasterFile(this.dataFolder);
        if (file === undefined || file.identity === before) return !this.isRunning;
        this.#pid = file.pid;
        return file.status === "ready" || !this.isRunning;
      });
    } catch (error) {
      await this.kill();
      throw error;
    }
    if (this.isRunning) return undefined;
    const { failure } = this.#supervised;
    if (failure !== undefined) return failure.message;
    return (await this.log(logStart)).trim().split("\n").slice(-20).join("\n");
  }

  async #writeConfiguration(): Promise<void> {
    const { account, auth, settings } = this.#context;
    const upstream = this.#upstream;
    const own: Record<string, string> = {
      port: String(this.port),
      unix_socket_directories: this.socketFolder,
    };
    if (upstream !== undefined) {
      own["primary_conninfo"] =
        `host=${conninfoValue(upstream.socketFolder)} port=${upstream.port} user=${superuser} application_name=${this.name}`;
    }
    await writeSettings(this.dataFolder, { listen_addresses: this.host, ...settings, ...own }, account);
    await writeHostBasedAuthentication(this.dataFolder, auth, account);
  }

  /** A server that was killed leaves its socket and the lock beside it; the lock's number may be in use again. */
  async #clearSockets(): Promise<void> {
    const socket = path.join(this.socketFolder, `.s.PGSQL.${this.port}`);
    await rm(socket, { force: true });
    await rm(`${socket}.lock`, { force: true });
  }

  async #signalAll(signal: "SIGSTOP" | "SIGCONT"): Promise<void> {
    const { pid } = this;
    if (pid === undefined) return;
    // The postmaster first when stopping, so that it starts no further child.
    signalProcess(pid, signal);
    for (const child of await descendants(pid)) signalProcess(child, signal);
  }

  async #until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + startTimeoutMs;
    while (!(await condition())) {
      if (performance.now() > deadline) {
        throw labError("lab.timeout", `${this.name} did not ${what} in ${startTimeoutMs / 1000} s`, {
          detail: (await this.log()).slice(-2000),
        });
      }
      await sleep(pollMs);
    }
  }
}

/** A value in a connection string (libpq's conninfo_parse): quoted, `'` and `\` escaped. */
function conninfoValue(text: string): string {
  return `'${text.replaceAll(/['\\]/g, (character) => `\\${character}`)}'`;
}
