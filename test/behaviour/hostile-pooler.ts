/**
 * The watched pooler of the hostile tests: a process of its own in front of a real PostgreSQL or a server
 * that a test plays, and somebody innocent who works through it while it is attacked.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { Pooler } from "../../src/server/app.ts";
import type { Place } from "../kit/byte-stream.ts";
import { loader } from "../kit/program.ts";
import { type RawClient, type RawStartup, rawClient } from "../kit/raw-client.ts";
import { waitToSee, waitUntil, within } from "../kit/wait.ts";

type Table = Readonly<Record<string, unknown>>;

export interface HostileConfig {
  /** [pgsluice] */
  readonly settings?: Table;
  /** [nodes]; databases lead to `main` unless they name another. */
  readonly nodes: Readonly<Record<string, Table>>;
  readonly databases?: Readonly<Record<string, Table>>;
  readonly users?: Readonly<Record<string, Table>>;
  /** How many files it may have open. */
  readonly openFilesMax?: number;
}

/** What the program of hostile-program.mjs says of itself when it is asked. */
interface Answers {
  readonly counts: Pooler["counts"];
  /** Objects that something still refers to, after a full garbage collection. */
  readonly alive: Readonly<
    Record<"Login" | "Session" | "Pool" | "Server" | "Transport" | "SharedStatement", number>
  >;
  /** What it logged as errors: mistakes of its own, and refused connections. */
  readonly errors: readonly string[];
  readonly delays: Delays;
}

/** How late its event loop was: at least 5 ms, the time between two looks. */
interface Delays {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const program = fileURLToPath(new URL("hostile-program.mjs", import.meta.url));
/** For what a busy machine does slowly. */
export const patienceMs = 50_000;
const bytesPerMb = 1024 * 1024;

export class PoolerProcess implements AsyncDisposable {
  readonly place: { readonly host: string; readonly port: number };
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  private constructor(child: ChildProcess, place: { host: string; port: number }) {
    this.#child = child;
    this.place = place;
    this.#ended = once(child, "exit");
  }

  /** In transaction mode, trusting everybody, unless told otherwise. */
  static async start(config: HostileConfig): Promise<PoolerProcess> {
    const tables = {
      pgsluice: {
        listen_port: 0,
        auth_type: "trust",
        pool_mode: "transaction",
        server_tls_sslmode: "disable",
        ...config.settings,
      },
      nodes: config.nodes,
      databases: config.databases ?? { "*": {} },
      users: config.users ?? {},
    };
    const args = ["--no-warnings", ...loader, program, JSON.stringify(tables)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const ended = once(child, "exit").then(() => {
      throw new Error("the pooler ended before it listened");
    });
    ended.catch(() => undefined);
    const [first] = (await within(
      Promise.race([once(child, "message"), ended]),
      "the pooler listens",
      patienceMs,
    )) as [{ listening: { host: string; port: number } }];
    const limit = config.openFilesMax;
    // Not before: to read its own modules it opens many files at once.
    if (limit !== undefined) execFileSync("prlimit", [`--pid=${child.pid}`, `--nofile=${limit}:${limit}`]);
    return new PoolerProcess(child, first.listening);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** A client that is logged in. */
  async connect(startup: RawStartup = {}): Promise<RawClient> {
    const client = await rawClient(this.place);
    try {
      await client.startup({ database: "postgres", ...startup });
      return client;
    } catch (error) {
      // It may have given up too early, and be counted for as long as it is there.
      client.destroy();
      throw error;
    }
  }

  counts(): Promise<Answers["counts"]> {
    return this.#ask("counts");
  }

  /** Since they were asked for last. */
  delays(): Promise<Delays> {
    return this.#ask("delays");
  }

  /** Costs garbage collections: about half a second of processor time. */
  alive(): Promise<Answers["alive"]> {
    return this.#ask("alive");
  }

  /** Nobody is counted any more but those who are meant to be. */
  async untilOnly(sessions: number): Promise<void> {
    await waitToSee(
      () => this.counts(),
      (counts) => counts.sessions === sessions && counts.logins === 0 && counts.waiting === 0,
      `${sessions} sessions are left and nobody else`,
      patienceMs,
    );
  }

  /** Nobody is here any more, and nothing of them is kept in memory. Costs garbage collections. */
  async untilForgotten(): Promise<Answers["alive"]> {
    await this.untilOnly(0);
    // Sockets linger for a moment.
    return await waitToSee(
      () => this.alive(),
      ({ Session, Login, Transport, Server }) => Session === 0 && Login === 0 && Transport === Server,
      "everybody is forgotten",
      patienceMs,
    );
  }

  /** From now on the peak of its memory is measured anew. */
  startMeasuring(): MemoryMeter {
    writeFileSync(`/proc/${this.pid}/clear_refs`, "5");
    const before = this.#memory("VmRSS");
    return { grownMb: () => Math.max(0, this.#memory("VmHWM") - before) };
  }

  get openFiles(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** Processor time it has used, in seconds. */
  get processorSeconds(): number {
    const fields = readFileSync(`/proc/${this.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** It must have survived, and have made no mistake that it knows of. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) {
      throw new Error(`the pooler has ended: exit code ${exitCode}, signal ${signalCode}`);
    }
    const errors = await this.#ask("errors");
    this.#child.kill("SIGKILL");
    await this.#ended;
    expect(errors.filter((text) => !text.startsWith("accept failed"))).toEqual([]);
  }

  async #ask<Q extends keyof Answers>(question: Q): Promise<Answers[Q]> {
    const answer = once(this.#child, "message");
    this.#child.send(question);
    const gone = this.#ended.then(() => {
      throw new Error("the pooler has ended");
    });
    const [said] = (await within(Promise.race([answer, gone]), `its ${question}`, patienceMs)) as [
      Pick<Answers, Q>,
    ];
    return said[question];
  }

  #memory(field: "VmRSS" | "VmHWM"): number {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1];
    return (Number(kilobytes) * 1024) / bytesPerMb;
  }
}

export interface MemoryMeter {
  /** How many MB it has grown by at most. */
  readonly grownMb: () => number;
}

/**
 * Somebody innocent: asks one question after the other, in every way, and checks each answer. What happens to
 * others must neither stop it nor show in its answers.
 */
export class Bystander implements AsyncDisposable {
  rounds = 0;
  readonly #client: RawClient;
  readonly #working: Promise<void>;
  #failure: Error | undefined;
  #leaving = false;

  private constructor(client: RawClient) {
    this.#client = client;
    this.#working = this.#work().catch((error: unknown) => {
      this.#failure = error instanceof Error ? error : new Error(String(error));
    });
  }

  static async start(place: Place, startup: RawStartup = {}): Promise<Bystander> {
    const client = await rawClient(place);
    await client.startup({ database: "postgres", ...startup });
    return new Bystander(client);
  }

  /** It has asked and been answered anew, so often, since now. */
  async works(rounds = 3): Promise<void> {
    const goal = this.rounds + rounds;
    await waitUntil(
      () => {
        if (this.#failure !== undefined) throw this.#failure;
        return this.rounds >= goal;
      },
      `a bystander is answered ${rounds} times`,
      patienceMs,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leaving = true;
    await this.#working;
    this.#client.destroy();
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #work(): Promise<void> {
    const client = this.#client;
    while (!this.#leaving) {
      const token = `round ${this.rounds}`;
      expect(await client.rows(`select '${token}'`)).toEqual([[token]]);
      await client.rows("begin");
      expect(await client.rows(`select '${token}, in a transaction'`)).toEqual([
        [`${token}, in a transaction`],
      ]);
      await client.rows("commit");
      client.send(
        { kind: "Parse", name: "", sql: "select $1::text", types: [] },
        {
          kind: "Bind",
          portal: "",
          statement: "",
          formats: [],
          values: [Buffer.from(token)],
          resultFormats: [],
        },
        { kind: "Execute", portal: "", maxRows: 0 },
        { kind: "Sync" },
      );
      const answers = await client.until("ReadyForQuery", patienceMs);
      const rows = answers.flatMap((message) => (message.kind === "DataRow" ? message.values : []));
      expect(rows.map(String)).toEqual([token]);
      expect(client.stream.available).toBe(0);
      this.rounds++;
    }
  }
}
