/**
 * Where the conformance suite runs: one PostgreSQL, and in front of it one pooler for each mode. Every case
 * is a function of a target; it runs on all of them, and what it returns through a pooler must equal what it
 * returns directly. Each target has a database of its own, so that cases use the same names everywhere.
 */
import { inspect } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Logger } from "../../../src/base/log.ts";
import { connectOptions, SimpleClient } from "../../../src/client/index.ts";
import { configFromUpstream } from "../../../src/config/load.ts";
import { Lab } from "../../../src/lab/index.ts";
import { Pooler } from "../../../src/server/app.ts";
import { waitUntil } from "../../kit/wait.ts";

export const vias = ["direct", "session", "transaction", "statement", "auto"] as const;
export type Via = (typeof vias)[number];
/** Where transaction blocks are allowed. */
export const withBlocks = ["direct", "session", "transaction", "auto"] as const;
/** Where a client has a session of its own. */
export const withSessions = ["direct", "session", "auto"] as const;

/** Something to connect to: PostgreSQL itself, or a pooler. */
export interface Target {
  readonly via: Via;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  /** Undefined for PostgreSQL itself. */
  readonly pooler: Pooler | undefined;
}

export type Case = (target: Target) => Promise<unknown>;

export interface PlaceOptions {
  readonly vias?: readonly Via[];
  /** Servers of a pool in the modes that share them; fewer than clients, so that servers change hands. */
  readonly poolSize?: number;
  /** Further settings of the poolers. */
  readonly pooler?: Readonly<Record<string, unknown>>;
  readonly postgres?: Readonly<Record<string, string>>;
}

const user = "postgres";
const sharedPoolSize = 3;
const sessionPoolSize = 20;

/** Starts everything before the tests of a file and ends it behind them. */
export function usePlace(options: PlaceOptions = {}): Place {
  const place = new Place(options);
  beforeAll(() => place.start());
  afterAll(() => place.stop());
  return place;
}

export class Place {
  readonly #options: PlaceOptions;
  readonly #targets = new Map<Via, Target>();
  /** What cases returned directly, by name. */
  readonly #direct = new Map<string, Promise<unknown>>();
  /** What the poolers call mistakes of their own. */
  readonly #mistakes: string[] = [];
  #lab: Lab | undefined;

  constructor(options: PlaceOptions) {
    this.#options = options;
  }

  get lab(): Lab {
    if (this.#lab === undefined) throw new Error("the place is not open yet");
    return this.#lab;
  }

  target(via: Via): Target {
    const target = this.#targets.get(via);
    if (target === undefined) throw new Error(`there is no target ${via}`);
    return target;
  }

  /** Runs a case on each of `where`, and compares what it returns with what it returns directly. */
  each(name: string, where: readonly Via[], run: Case): void {
    for (const via of where) {
      test(`${name} (${via})`, async () => {
        const direct = this.#runDirectly(name, run);
        if (via === "direct") {
          await direct;
          return;
        }
        const target = this.target(via);
        try {
          const result = await run(target);
          expect(result).toEqual(await direct);
          await waitUntil(() => target.pooler?.counts.sessions === 0, `all clients of ${via} have left`);
        } finally {
          // First of all: what a test says otherwise follows from it.
          expect(this.#mistakes.splice(0)).toEqual([]);
        }
      });
    }
  }

  async start(): Promise<void> {
    this.#lab = await Lab.start({ settings: { max_connections: "200", ...this.#options.postgres } });
    const { host, port } = this.#lab.primary;
    const client = await SimpleClient.connect(
      connectOptions({ hosts: [{ host, port }], user, database: "postgres" }),
    );
    for (const via of this.#options.vias ?? vias) {
      await client.query(`create database ${via}`);
      this.#targets.set(via, await this.#open(via, host, port));
    }
    await client.close();
  }

  async stop(): Promise<void> {
    for (const { pooler } of this.#targets.values()) await pooler?.shutdown("immediate");
    await this.#lab?.stop();
  }

  async #open(via: Via, host: string, port: number): Promise<Target> {
    if (via === "direct") return { via, host, port, user, database: via, pooler: undefined };
    const pooler = await Pooler.start(
      configFromUpstream([{ host, port, user, sslmode: "disable" }], {
        listen_port: 0,
        pool_mode: via,
        default_pool_size: via === "session" ? sessionPoolSize : (this.#options.poolSize ?? sharedPoolSize),
        max_client_conn: 2000,
        ...this.#options.pooler,
      }),
      { logger: new MistakeLogger(this.#mistakes) },
    );
    return { via, ...pooler.address, user, database: via, pooler };
  }

  #runDirectly(name: string, run: Case): Promise<unknown> {
    let result = this.#direct.get(name);
    if (result === undefined) {
      result = run(this.target("direct"));
      // Whoever compares with it hears of its failure.
      result.catch(() => undefined);
      this.#direct.set(name, result);
    }
    return result;
  }
}

/** Keeps what is logged as an error: a mistake of ours, which no client can cause. */
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
