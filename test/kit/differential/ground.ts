/**
 * Where scripts are compared: one PostgreSQL, and lanes that work side by side. A lane has a database, in which a
 * script runs directly and then through a pooler with as many servers as it needs, and through one with many; between
 * these everything it left behind is removed, so that the names, and with them the transcripts, are the same.
 * The poolers of a lane keep their servers from one script to the next: what leaks shows sooner.
 */
import { inspect } from "node:util";
import type { Logger } from "../../../src/base/log.ts";
import { SimpleClient } from "../../../src/client/index.ts";
import { checkConfig } from "../../../src/config/load.ts";
import { Lab } from "../../../src/lab/index.ts";
import { Pooler } from "../../../src/server/app.ts";
import { waitUntil } from "../wait.ts";
import { type Address, type RunOptions, runScript } from "./run.ts";
import type { Role, Script } from "./script.ts";
import { difference, type Rewrite, Transcript } from "./transcript.ts";

export interface GroundOptions {
  readonly lanes?: number;
  /** Streaming standbys, for a pooler that reads there (`load_balance_mode`). */
  readonly standbys?: number;
  readonly stepMs?: number;
  /** New poolers for each script: what differs then, differs because of the script alone. */
  readonly fresh?: boolean;
  /** What is taken out of both transcripts of a script. */
  readonly rewrites: (mode: string, script: string) => readonly Rewrite[];
}

/** What is done the same way directly and through a pooler: a script, or something of its kind. */
export interface Performance {
  readonly name: string;
  readonly roles: readonly Role[];
  readonly ownDatabase: boolean;
  /** All its clients have left when it resolves. */
  readonly perform: (transcript: Transcript, options: RunOptions) => Promise<void>;
}

export function performanceOf(script: Script): Performance {
  return { ...script, perform: (transcript, options) => runScript(script, transcript, options) };
}

/** A pooler to compare with. */
export interface Via {
  readonly mode: string;
  /** Servers in the pool. */
  readonly servers: number;
  /** Further settings of the pooler. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

export interface Comparison {
  readonly via: Via;
  readonly direct: readonly string[];
  readonly pooled: readonly string[];
  /** Empty if they are equal. */
  readonly difference: string;
}

const manyServers = 20;

/** How a script is run in a mode: with the servers it needs, and with many. In session mode every client has its own. */
export function viasOf(mode: string, script: Script): Via[] {
  const sizes = mode === "session" ? [manyServers] : [script.servers, manyServers];
  return sizes.map((servers) => ({ mode, servers }));
}

export class Ground {
  readonly #lab: Lab;
  readonly #free: Lane[];
  readonly #waiting: ((lane: Lane) => void)[] = [];
  readonly #lanes: readonly Lane[];

  private constructor(lab: Lab, lanes: readonly Lane[]) {
    this.#lab = lab;
    this.#lanes = lanes;
    this.#free = [...lanes];
  }

  static async start(options: GroundOptions): Promise<Ground> {
    const lab = await Lab.start({
      standbys: options.standbys,
      settings: { max_connections: "300", deadlock_timeout: "100ms" },
    });
    const lanes: Lane[] = [];
    for (let number = 1; number <= (options.lanes ?? 4); number++)
      lanes.push(await Lane.open(lab, number, options));
    return new Ground(lab, lanes);
  }

  /** What the standbys have been asked by the databases of the lanes: transactions, as they count them. */
  async readsOnStandbys(): Promise<number> {
    const counted = "select sum(xact_commit + xact_rollback) from pg_stat_database where datname ~ '^lane'";
    let reads = 0;
    for (const standby of this.#lab.standbys) reads += Number((await standby.query(counted)).rows[0]?.[0]);
    return reads;
  }

  /** Performs it directly and through each of `vias`. Waits for a lane. */
  async compare(performance: Performance, vias: readonly Via[]): Promise<Comparison[]> {
    const lane = await this.#take();
    try {
      return await lane.compare(performance, vias);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(lane);
      else next(lane);
    }
  }

  async stop(): Promise<void> {
    for (const lane of this.#lanes) await lane.close();
    await this.#lab.stop();
  }

  async #take(): Promise<Lane> {
    return this.#free.pop() ?? (await new Promise((resolve) => this.#waiting.push(resolve)));
  }
}

class Lane {
  readonly #lab: Lab;
  readonly #number: number;
  readonly #options: GroundOptions;
  readonly #shared: SimpleClient;
  readonly #poolers = new Map<string, Pooler>();
  readonly #mistakes: string[] = [];

  private constructor(lab: Lab, number: number, shared: SimpleClient, options: GroundOptions) {
    this.#lab = lab;
    this.#number = number;
    this.#shared = shared;
    this.#options = options;
  }

  static async open(lab: Lab, number: number, options: GroundOptions): Promise<Lane> {
    await lab.primary.query(`create database lane${number}`);
    return new Lane(lab, number, await lab.primary.connect(`lane${number}`), options);
  }

  async close(): Promise<void> {
    await this.#closePoolers();
    await this.#shared.close();
  }

  async compare(performance: Performance, vias: readonly Via[]): Promise<Comparison[]> {
    const direct = await this.#run(performance, undefined);
    if (direct.stuck !== undefined) {
      throw new Error(`${performance.name} is stuck without a pooler: ${direct.stuck}`);
    }
    const comparisons: Comparison[] = [];
    for (const via of vias) {
      const pooled = await this.#run(performance, via);
      for (const mistake of this.#mistakes.splice(0)) pooled.note("*", `MISTAKE OF THE POOLER ${mistake}`);
      const rewrites = this.#options.rewrites(via.mode, performance.name);
      const lines = { direct: direct.lines(rewrites), pooled: pooled.lines(rewrites) };
      comparisons.push({ via, ...lines, difference: difference(lines.direct, lines.pooled) });
    }
    if (this.#options.fresh === true) await this.#closePoolers();
    return comparisons;
  }

  async #closePoolers(): Promise<void> {
    for (const pooler of this.#poolers.values()) await pooler.shutdown("immediate");
    this.#poolers.clear();
  }

  /** `via`: undefined is direct. */
  async #run(performance: Performance, via: Via | undefined): Promise<Transcript> {
    const transcript = new Transcript();
    const database = performance.ownDatabase ? `own${this.#number}` : `lane${this.#number}`;
    for (const { name, options } of performance.roles)
      await this.#shared.query(`create role ${name} ${options}`);
    if (performance.ownDatabase) await this.#shared.query(`create database ${database}`);
    const direct = performance.ownDatabase ? await this.#lab.primary.connect(database) : this.#shared;
    const pooler = via && (await this.#pooler(via));
    const { host, port } = pooler?.address ?? this.#lab.primary;
    const address: Address = { host, port, database };
    try {
      const stepMs = this.#options.stepMs ?? 15_000;
      await performance.perform(transcript, { address, direct, stepMs, pooler });
      if (pooler !== undefined) await this.#untilLeft(pooler, transcript);
    } finally {
      if (performance.ownDatabase) {
        await direct.close();
        await this.#shared.query(`drop database ${database} with (force)`);
      } else {
        await this.#clean();
      }
      for (const { name } of performance.roles)
        await this.#shared.query(`drop owned by ${name}; drop role ${name}`);
    }
    return transcript;
  }

  async #pooler(via: Via): Promise<Pooler> {
    const key = JSON.stringify(via);
    const known = this.#poolers.get(key);
    if (known !== undefined) return known;
    const nodes = this.#lab.nodes.map(
      ({ name, host, port }) => [name, { host, port, role: "auto" }] as const,
    );
    const config = checkConfig(
      {
        pgsluice: {
          listen_port: 0,
          auth_type: "trust",
          pool_mode: via.mode,
          server_tls_sslmode: "disable",
          default_pool_size: via.servers,
          // Who waits for a server for seconds, as is due where another keeps the only one, is not to be told.
          query_wait_notify: 0,
          ...via.settings,
        },
        nodes: Object.fromEntries(nodes),
        databases: { "*": {} },
      },
      process.cwd(),
    );
    const pooler = await Pooler.start(config, { logger: new MistakeLogger(this.#mistakes) });
    this.#poolers.set(key, pooler);
    return pooler;
  }

  /** Until the pooler has no client any more, and its servers are reset. */
  async #untilLeft(pooler: Pooler, transcript: Transcript): Promise<void> {
    await waitUntil(() => pooler.counts.sessions === 0, "all clients have left the pooler").catch(
      (error: unknown) => {
        transcript.note("*", `CLIENTS STAY ${(error as Error).message}`);
      },
    );
    const busy = `select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()`;
    await waitUntil(
      async () => (await this.#shared.query(busy)).rows[0]?.[0] === "0",
      "servers are idle",
    ).catch((error: unknown) => {
      transcript.note("*", `SERVERS STAY BUSY ${(error as Error).message}`);
    });
  }

  /** Removes what a script made in the shared database; whoever holds it fast is ended. */
  async #clean(): Promise<void> {
    await this.#shared.query("set lock_timeout = '2s'");
    try {
      await this.#shared.query(cleanUp);
    } catch {
      await this.#shared.query(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
      );
      await this.#shared.query(cleanUp);
    }
  }
}

const cleanUp = `do $$
declare
  name text;
begin
  for name in select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' loop
    execute format('drop schema %I cascade', name);
  end loop;
  perform lo_unlink(oid) from pg_largeobject_metadata;
  create schema public authorization pg_database_owner;
  grant usage on schema public to public;
end $$`;

/** Keeps what is logged as an error: a mistake of the pooler, which no client can cause. */
class MistakeLogger implements Logger {
  readonly #mistakes: string[];

  constructor(mistakes: string[]) {
    this.#mistakes = mistakes;
  }

  debug(): void {}
  info(): void {}
  warn(): void {}

  error(fields: object, message: string): void {
    this.#mistakes.push(`${message}: ${inspect(fields)}`);
  }
}
