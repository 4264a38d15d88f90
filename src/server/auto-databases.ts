/** Auto mode, for a whole pooler: the parser, the classifier that all share, and what each pool's clients know together. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { WriteFloor } from "../cluster/floor.ts";
import { functionListsOf, functionPatterns } from "../config/function-lists.ts";
import type { Config } from "../config/schema.ts";
import { Multiplexer } from "../pool/multiplexer.ts";
import type { Pool } from "../pool/pool.ts";
import { RoundTrip } from "../pool/round-trip.ts";
import type { Server } from "../pool/server.ts";
import { AutoDatabase } from "../session/auto/database.ts";
import { isSameHost } from "../session/auto/listening/listeners.ts";
import { Pids } from "../session/auto/pids.ts";
import { Classifier, type ClassifierStatistics, FunctionLists, Parser } from "../sql/index.ts";

/** The pools there are, and of which database each is. */
interface KnownPools extends Iterable<Pool> {
  databaseOf(pool: Pool): string | undefined;
}

export class AutoDatabases {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #pools: KnownPools;
  readonly #config: () => Config;
  readonly #databases = new Map<Pool, AutoDatabase>();
  /** Of pools on standbys, which have no clients of their own: all that has to be known is known of the pools that read there. */
  readonly #readers = new Map<Pool, Multiplexer>();
  readonly #pids = new Pids();
  /** What all clients have written. */
  readonly written: WriteFloor = new WriteFloor();
  #classifier: Classifier | undefined;
  #loading: Promise<void> | undefined;

  constructor(clock: Clock, logger: Logger, pools: KnownPools, config: () => Config) {
    this.#clock = clock;
    this.#logger = logger;
    this.#pools = pools;
    this.#config = config;
  }

  /** Resolves when texts can be classified; before that, every one is unknown. */
  load(): Promise<void> {
    this.#loading ??= Parser.load().then(
      (parser) => {
        this.#classifier = new Classifier(parser, { now: () => this.#clock.now() });
      },
      (error: unknown) => {
        this.#logger.error({ err: error }, "SQL parser could not be loaded");
      },
    );
    return this.#loading;
  }

  /** Undefined before it is loaded. */
  get classifierStatistics(): ClassifierStatistics | undefined {
    return this.#classifier?.statistics();
  }

  of(pool: Pool): AutoDatabase {
    let database = this.#databases.get(pool);
    if (database === undefined) {
      void this.load();
      database = new AutoDatabase(pool, {
        clock: this.#clock,
        written: this.written,
        classifier: () => this.#classifier,
        functionLists: this.#listsOf(pool),
        pids: this.#pids,
        wantsNotice: () => this.#config().pgsluice.pin_notice,
        onDefaultsAltered: () => {
          for (const one of this.#pools) one.defaults.renew();
        },
        serverOf: (pid, besides) => this.#serverOf(pid, besides),
      });
      this.#databases.set(pool, database);
    }
    return database;
  }

  /** Where units share servers of a standby. */
  readerOf(pool: Pool): Multiplexer {
    let multiplexer = this.#readers.get(pool);
    if (multiplexer === undefined) {
      multiplexer = new Multiplexer(pool, this.#clock, { roundTrip: new RoundTrip(), onStandby: true });
      this.#readers.set(pool, multiplexer);
    }
    return multiplexer;
  }

  /** Undefined: nobody has shared servers of the pool. */
  multiplexerOf(pool: Pool): Multiplexer | undefined {
    return this.#readers.get(pool) ?? this.#databases.get(pool)?.multiplexer;
  }

  /** What tells the lists of functions of a pool's database: the same object until they are others. */
  #listsOf(pool: Pool): () => FunctionLists {
    let reads: readonly string[] | undefined;
    let writes: readonly string[] | undefined;
    let lists = new FunctionLists([], []);
    return () => {
      const next = functionListsOf(this.#config(), this.#pools.databaseOf(pool) ?? "");
      if (next.reads !== reads || next.writes !== writes) {
        ({ reads, writes } = next);
        lists = new FunctionLists(functionPatterns(reads), functionPatterns(writes));
      }
      return lists;
    };
  }

  #serverOf(pid: number, besides: Server): Server | undefined {
    for (const { servers } of this.#pools) {
      for (const server of servers)
        if (server.backendPid === pid && isSameHost(server, besides)) return server;
    }
    return undefined;
  }

  /** Undefined: no client of the pool has been in auto mode. */
  find(pool: Pool): AutoDatabase | undefined {
    return this.#databases.get(pool);
  }

  /** Pools that have had clients in auto mode. */
  [Symbol.iterator](): IterableIterator<AutoDatabase> {
    return this.#databases.values();
  }

  tick(): void {
    const known = new Set(this.#pools);
    for (const [pool, database] of this.#databases) {
      if (known.has(pool)) database.tick();
      else this.#databases.delete(pool);
    }
    for (const [pool, multiplexer] of this.#readers) {
      if (known.has(pool)) multiplexer.tick();
      else this.#readers.delete(pool);
    }
  }
}

/** Whether clients may be in auto mode. */
export function usesAuto({ pgsluice, databases, users }: Config): boolean {
  return [pgsluice, ...Object.values(databases), ...Object.values(users)].some(
    ({ pool_mode: mode }) => mode === "auto",
  );
}
