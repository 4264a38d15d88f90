/** Auto mode, for a whole pooler: the parser, the classifier that all share, and what each pool's clients know together. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { WriteFloor } from "../cluster/floor.ts";
import type { Config } from "../config/schema.ts";
import { Multiplexer } from "../pool/multiplexer.ts";
import type { Pool } from "../pool/pool.ts";
import { RoundTrip } from "../pool/round-trip.ts";
import type { Server } from "../pool/server.ts";
import { AutoDatabase } from "../session/auto/database.ts";
import { isSameHost } from "../session/auto/listening/listeners.ts";
import { Pids } from "../session/auto/pids.ts";
import { administratorShutdown } from "../session/replies.ts";
import { Classifier, type ClassifierStatistics, Parser } from "../sql/index.ts";
import { functionListsFor } from "./function-lists.ts";
import { FarClients } from "./workers/far-clients.ts";
import type { PidChanges, SignalAsk } from "./workers/protocol.ts";
import type { Seat } from "./workers/seat.ts";

/** What clients of one pool have done, and those of others have to know: of this process, and of other workers. */
export type Alteration =
  /** Functions, views or triggers of a database, by its name at PostgreSQL, may be others than before. */
  | { readonly kind: "catalog"; readonly dbname: string }
  /** New sessions will begin with other settings. */
  | { readonly kind: "defaults" };

/** Other workers. */
type Others = Pick<Seat, "onAltered" | "tellPids" | "signal">;

/** The pools there are, and of which database each is. */
interface KnownPools extends Iterable<Pool> {
  databaseOf(pool: Pool): string | undefined;
  /** Its name at PostgreSQL; undefined: a reload has taken it away. */
  dbnameOf(pool: Pool): string | undefined;
  /** Who logs in to its servers. */
  userOf(pool: Pool): string | undefined;
}

export class AutoDatabases {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #pools: KnownPools;
  /** Undefined: there are none. */
  readonly #others: Others | undefined;
  readonly #config: () => Config;
  readonly #databases = new Map<Pool, AutoDatabase>();
  /** Of pools on standbys, which have no clients of their own: all that has to be known is known of the pools that read there. */
  readonly #readers = new Map<Pool, Multiplexer>();
  readonly #far: FarClients | undefined;
  readonly #pids: Pids;
  /** What all clients have written. */
  readonly written: WriteFloor = new WriteFloor();
  #classifier: Classifier | undefined;
  #loading: Promise<void> | undefined;

  constructor(
    clock: Clock,
    logger: Logger,
    pools: KnownPools,
    config: () => Config,
    others: Others | undefined,
  ) {
    this.#clock = clock;
    this.#logger = logger;
    this.#pools = pools;
    this.#config = config;
    this.#others = others;
    if (others !== undefined) {
      const userOf = (pool: Pool): string | undefined => pools.userOf(pool);
      this.#far = new FarClients({ pools, userOf, tell: others.tellPids, signal: others.signal });
    }
    this.#pids = new Pids(this.#far);
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

  /** Of every pool that has clients, since the last DDL that has passed. */
  get catalogsKnown(): boolean {
    return [...this.#databases].every(([pool, { catalogsKnown }]) => pool.clients === 0 || catalogsKnown);
  }

  of(pool: Pool): AutoDatabase {
    let database = this.#databases.get(pool);
    if (database === undefined) {
      void this.load();
      database = new AutoDatabase(pool, {
        clock: this.#clock,
        written: this.written,
        classifier: () => this.#classifier,
        functionLists: functionListsFor(this.#config, () => this.#pools.databaseOf(pool) ?? ""),
        pids: this.#pids,
        wantsNotice: () => this.#config().pgsluice.pin_notice,
        onDefaultsAltered: () => this.#onAltered({ kind: "defaults" }),
        onCatalogChanged: () => {
          const dbname = this.#pools.dbnameOf(pool);
          if (dbname !== undefined) this.#onAltered({ kind: "catalog", dbname }, pool);
        },
        serverOf: (pid, besides) => this.#serverOf(pid, besides),
      });
      this.#databases.set(pool, database);
    }
    return database;
  }

  #onAltered(alteration: Alteration, by?: Pool): void {
    this.learn(alteration, by);
    this.#others?.onAltered(alteration);
  }

  /** Clients have altered something; those of the pool `by` know. */
  learn(alteration: Alteration, by?: Pool): void {
    if (alteration.kind === "defaults") {
      for (const pool of this.#pools) pool.defaults.renew();
      return;
    }
    for (const [pool, { classification }] of this.#databases) {
      if (pool !== by && this.#pools.dbnameOf(pool) === alteration.dbname) classification.refresh();
    }
  }

  /** Clients of another worker have come and gone. */
  hearPids(changes: PidChanges): void {
    this.#far?.hear(changes);
  }

  /** A client of another worker may, and does, signal one of this process. */
  signal({ pid, node, terminates }: SignalAsk): void {
    const client = this.#pids.ofNode(pid, node);
    if (client === undefined) return;
    const cancelled = client.cancel();
    // First what it runs: the end of its connection alone does not stop that.
    if (terminates) void cancelled.finally(() => client.fail(administratorShutdown()));
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
