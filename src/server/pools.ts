/**
 * All pools, by what makes one: the node, the database and user on it, and the startup options that cannot
 * be changed later. What the configuration says about each is in pool-config.ts.
 */

import type { DatabaseView, PoolView } from "../admin/context.ts";
import type { Secret } from "../auth/secret.ts";
import type { Clock } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ConnectOptions } from "../client/conninfo/options.ts";
import { TlsSessions } from "../client/handshake/tls-sessions.ts";
import type { TopologyNode } from "../cluster/index.ts";
import { anyDatabase, type Config } from "../config/schema.ts";
import { standbyLost } from "../pool/failures.ts";
import { Pool } from "../pool/pool.ts";
import { StatementIds } from "../pool/prepared.ts";
import type { PoolSettings } from "../pool/settings.ts";
import type { LoginRequest } from "../session/context.ts";
import { Budgets } from "./budgets.ts";
import type { Credentials } from "./credentials.ts";
import { HostTurns } from "./host-turns.ts";
import {
  connectOptionsOf,
  databaseClientsMax,
  databaseConnectionsMax,
  hostsOf,
  type Identity,
  modeOf,
  settingsOf,
  type Target,
  targetOf,
} from "./pool-config.ts";
import { StatisticsTable } from "./statistics.ts";
import type { PermitsOfPool } from "./workers/permits.ts";
import type { Seat } from "./workers/seat.ts";

interface Entry {
  readonly pool: Pool;
  readonly request: LoginRequest;
  readonly identity: Identity;
  readonly permits: PermitsOfPool | undefined;
  /** Where its clients read, by node; empty if that was never asked. */
  readonly readers: Map<string, Pool>;
}

/** What PAUSE has done. */
export interface PauseState {
  readonly allPaused: boolean;
  readonly paused: readonly string[];
}

/** So many databases that only `*` stands for are remembered when they are not in use. */
const autoDatabasesMax = 10_000;

export class Pools {
  #config: Config;
  readonly #credentials: Credentials;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #entryOf = new WeakMap<Pool, Entry>();
  readonly #budgets: Budgets;
  readonly #statementIds = new StatementIds();
  /** Databases that only `*` stands for, and when they were last in use; the longest unused first. */
  readonly #autoDatabases = new Map<string, number>();
  /** Databases that are paused on their own. */
  readonly #paused = new Set<string>();
  #allPaused = false;
  #draining = false;
  /** The node that pools without one of their own are on; they are held while there is none. */
  #primary: string | undefined;
  readonly statistics: StatisticsTable;
  /** Called when a server was closed. */
  onServerGone: () => void = () => undefined;
  /** Called when the node of a pool that follows the primary may be in trouble. */
  onTrouble: () => void = () => undefined;

  readonly #tlsSessions = new TlsSessions();
  readonly #seat: Seat | undefined;

  /** `seat`: the limits on servers are those of several processes. */
  constructor(config: Config, credentials: Credentials, clock: Clock, logger: Logger, seat?: Seat) {
    this.#config = config;
    this.#seat = seat;
    this.#budgets = new Budgets(config, seat !== undefined);
    this.#credentials = credentials;
    this.#clock = clock;
    this.#logger = logger;
    this.statistics = new StatisticsTable(clock);
  }

  *[Symbol.iterator](): IterableIterator<Pool> {
    for (const entry of this.#entries.values()) yield entry.pool;
  }

  /** The pool for a client, made if there is none yet; undefined if the database is not known here. */
  poolFor(request: LoginRequest): Pool | undefined {
    const place = this.#placeOf(request);
    if (place === undefined) return undefined;
    const { key, target, identity } = place;
    const known = this.#entries.get(key);
    if (known !== undefined) return known.pool;
    const turns = new HostTurns();
    const permits = this.#seat?.permitsFor(request.database, identity.user, target.nodeName, () => pool);
    const pool: Pool = new Pool({
      name: `${request.database}/${target.user}@${target.nodeName || "primary"}`,
      settings: this.#settingsOf(request, identity),
      connectOptions: () => {
        const options = this.#optionsOf(request, identity.user);
        const sticks = targetOf(this.#config, request)?.database.load_balance_hosts === "disable";
        return turns.next(options, sticks, pool.servers);
      },
      budgets: this.#budgets.of(request.database, identity.user, target.nodeName),
      permits,
      clock: this.#clock,
      logger: this.#logger,
      statistics: this.statistics.of(request.database),
      statementIds: this.#statementIds,
      onServerGone: () => {
        permits?.onServerGone();
        this.onServerGone();
      },
      ...(target.nodeName === "" || request.readsFrom !== undefined
        ? { onTrouble: () => this.onTrouble() }
        : {}),
    });
    if (target.nodeName === "" && this.#primary === undefined) pool.follow(false, undefined);
    if (this.#draining) pool.drain();
    else if (this.#isPaused(request.database)) pool.pause();
    const entry: Entry = { pool, request, identity, permits, readers: new Map() };
    this.#entries.set(key, entry);
    this.#entryOf.set(pool, entry);
    return pool;
  }

  /** The pool on a node where clients of `home`, which follows the primary, read; undefined if it follows nobody. */
  readerOf(home: Pool, nodeName: string): Pool | undefined {
    const entry = this.#entryOf.get(home);
    if (entry === undefined) return undefined;
    const known = entry.readers.get(nodeName);
    if (known !== undefined) return known;
    if (targetOf(this.#config, entry.request)?.nodeName !== "") return undefined;
    const pool = this.poolFor({ ...entry.request, readsFrom: nodeName });
    if (pool !== undefined) entry.readers.set(nodeName, pool);
    return pool;
  }

  /** The database of a pool, as its clients call it. */
  databaseOf(pool: Pool): string | undefined {
    return this.#entryOf.get(pool)?.request.database;
  }

  /** The name at PostgreSQL of the database that a pool is of; undefined: a reload has taken it away. */
  dbnameOf(pool: Pool): string | undefined {
    const entry = this.#entryOf.get(pool);
    return entry && targetOf(this.#config, entry.request)?.dbname;
  }

  /** Who logs in to the servers of a pool. */
  userOf(pool: Pool): string | undefined {
    return this.#entryOf.get(pool)?.identity.user;
  }

  /** The node that a pool of {@link readerOf} is on. */
  readFrom(pool: Pool): string | undefined {
    return this.#entryOf.get(pool)?.request.readsFrom;
  }

  /** Acts on a new configuration: sizes and limits at once, servers of what has changed when they come free. */
  reconfigure(config: Config, secrets?: Map<string, Secret>): void {
    const before = new Map<Entry, string>();
    for (const entry of this.#entries.values()) before.set(entry, this.#connectionKey(entry));
    this.#config = config;
    this.#budgets.reconfigure(config, this.#primary);
    if (secrets !== undefined) this.#credentials.replace(secrets);
    for (const [key, entry] of this.#entries) {
      entry.readers.clear();
      const settings = this.#settingsOf(entry.request, entry.identity);
      const place = this.#placeOf(entry.request);
      const followed = entry.pool.settings.failoverTimeoutMs !== undefined;
      if (place === undefined) {
        entry.pool.settings = { ...settings, sizeMin: 0 };
        entry.pool.retireServers("database removed");
        continue;
      }
      // Who comes from now on gets another pool, perhaps: this one is then kept for its clients alone.
      const current = place.key === key;
      entry.pool.settings = { ...settings, minWithoutClients: settings.minWithoutClients && current };
      if (this.#connectionKey(entry) !== before.get(entry)) {
        entry.pool.welcome = undefined;
        entry.pool.retireServers("database configuration changed");
      }
      const follows = place.target.nodeName === "";
      if (follows !== followed) entry.pool.follow(!follows || this.#primary !== undefined, undefined);
    }
  }

  /**
   * The node that is to be written to from now on, or none. `lost`: what clients are told who have a server of the
   * primary before; undefined if it is still the same one.
   */
  follow(primary: string | undefined, lost: Failure | undefined): void {
    this.#primary = primary;
    this.#budgets.reconfigure(this.#config, primary);
    this.#seat?.onPrimary(primary);
    for (const { pool, request } of this.#entries.values()) {
      if (targetOf(this.#config, request)?.nodeName !== "") continue;
      pool.follow(primary !== undefined, lost);
    }
  }

  /** Nodes are not what they were: whoever waits to read on one that takes no reads goes elsewhere, and whoever reads on one that is gone. */
  judgeReaders(nodes: readonly TopologyNode[]): void {
    for (const { pool, request } of this.#entries.values()) {
      if (request.readsFrom === undefined) continue;
      const node = nodes.find(({ name }) => name === request.readsFrom);
      if (node?.readable === true) continue;
      const state = node?.state ?? "down";
      const gone = state === "down" || state === "fenced" || state === "quarantined";
      pool.sendAway(standbyLost(request.readsFrom, state), gone);
    }
  }

  /** Servers, open or being opened, of pools that follow the primary. */
  get followerCount(): number {
    let count = 0;
    for (const { pool, request } of this.#entries.values()) {
      if (targetOf(this.#config, request)?.nodeName === "") count += pool.size;
    }
    return count;
  }

  #optionsOf(request: LoginRequest, user: string): ConnectOptions {
    const options = connectOptionsOf(this.#config, this.#credentials, request, user, this.#primary);
    return { ...options, tlsSessions: this.#tlsSessions };
  }

  /** Each of several processes keeps its share of the minimum. */
  #settingsOf(request: LoginRequest, identity: Identity): PoolSettings {
    const settings = settingsOf(this.#config, request, identity);
    if (this.#seat === undefined) return settings;
    const { slot, count } = this.#seat;
    const extra = slot < settings.sizeMin % count ? 1 : 0;
    return { ...settings, sizeMin: Math.floor(settings.sizeMin / count) + extra };
  }

  /** What makes the pool of a client; undefined: the database is not known here. */
  #placeOf(request: LoginRequest): { key: string; target: Target; identity: Identity } | undefined {
    const target = targetOf(this.#config, request);
    if (target === undefined) return undefined;
    const { nodeName, dbname, user } = target;
    const identity = { user, mode: modeOf(this.#config, request) };
    // Nothing of it has a NUL, and a parameter is a name and a value.
    let key = `${nodeName}\0${request.database}\0${dbname}\0${user}\0${identity.mode}`;
    if (request.otherParameters.length > 0) key += `\0${canonicalOrder(request).join("\0")}`;
    return { key, target, identity };
  }

  /** Every pool, with what it is for. */
  views(): PoolView[] {
    return [...this.#entries.values()].map(({ pool, request, identity }) => ({
      pool,
      database: request.database,
      user: identity.user,
      mode: identity.mode,
      node: this.#nodeNameOf(request) ?? "",
      replication: replicationOf(request),
    }));
  }

  /** How to connect to a database as `user` for a question of our own; undefined: there is no such database. */
  connectOptionsFor(database: string, user: string): ConnectOptions | undefined {
    const request = { user, database, otherParameters: [], replication: false };
    if (targetOf(this.#config, request) === undefined) return undefined;
    return this.#optionsOf(request, user);
  }

  /** Databases of the configuration, and others that clients have used. */
  databaseNames(): string[] {
    const names = new Set(Object.keys(this.#config.databases));
    for (const { request } of this.#entries.values()) names.add(request.database);
    for (const name of this.#autoDatabases.keys()) names.add(name);
    for (const name of this.#paused) names.add(name);
    names.delete(anyDatabase);
    return [...names].sort();
  }

  /** Where the servers of a pool are; undefined: its database is gone, or there is no primary. */
  #nodeNameOf(request: LoginRequest): string | undefined {
    const target = targetOf(this.#config, request);
    return target === undefined ? undefined : target.nodeName || this.#primary;
  }

  /** Statistics of databases that clients made up and have left long ago. */
  forgetStatistics(except: string): void {
    const used = new Set([...this.databaseNames(), except]);
    this.statistics.forget((database) => used.has(database));
  }

  /** Where a database is, for a client that brings nothing of its own; undefined: there is none of this name. */
  databaseView(name: string): Omit<DatabaseView, "disabled"> | undefined {
    const target = targetOf(this.#config, {
      user: "",
      database: name,
      otherParameters: [],
      replication: false,
    });
    if (target === undefined) return undefined;
    const { database, dbname } = target;
    const nodeName = target.nodeName || this.#primary;
    const node = nodeName === undefined ? undefined : this.#config.nodes[nodeName];
    const { pgsluice: settings } = this.#config;
    return {
      name,
      host: node?.hostaddr ?? node?.host ?? null,
      port: node?.port ?? null,
      dbname,
      forceUser: database.user,
      poolSize: database.pool_size ?? settings.default_pool_size,
      minPoolSize: database.min_pool_size ?? settings.min_pool_size,
      reservePoolSize: database.reserve_pool_size ?? settings.reserve_pool_size,
      serverLifetimeSeconds: database.server_lifetime ?? settings.server_lifetime,
      connectionsMax: databaseConnectionsMax(this.#config, name),
      clientsMax: databaseClientsMax(this.#config, name),
      poolMode: database.pool_mode,
      loadBalanceHosts:
        hostsOf(node?.host ?? "").length > 1 ? (database.load_balance_hosts ?? "round-robin") : null,
      paused: this.#paused.has(name),
    };
  }

  /** PAUSE is in force for every database. */
  get allPaused(): boolean {
    return this.#allPaused;
  }

  /** Of a process that begins while PAUSE is in force in others. */
  pauseAs({ allPaused, paused }: PauseState): void {
    if (allPaused) this.pause(undefined);
    for (const database of paused) this.pause(database);
  }

  get pauseState(): PauseState {
    return { allPaused: this.#allPaused, paused: [...this.#paused] };
  }

  pause(database: string | undefined): void {
    if (database === undefined) this.#allPaused = true;
    else this.#paused.add(database);
    for (const pool of this.poolsOf(database)) pool.pause();
  }

  /** Without a database: whatever is paused. */
  resume(database: string | undefined): void {
    if (database === undefined) {
      this.#allPaused = false;
      this.#paused.clear();
    } else {
      this.#paused.delete(database);
    }
    if (this.#allPaused) return;
    for (const pool of this.poolsOf(database)) pool.resume();
  }

  /** No server is given out any more. */
  drain(): void {
    this.#allPaused = true;
    this.#draining = true;
    for (const pool of this) pool.drain();
  }

  poolsOf(database: string | undefined): Pool[] {
    return [...this.#entries.values()]
      .filter(({ request }) => database === undefined || request.database === database)
      .map(({ pool }) => pool);
  }

  /** Everything that time asks for; pools that nobody uses any more are forgotten. */
  tick(): void {
    this.#openMinimums();
    this.#forgetAutoDatabases();
    for (const [key, entry] of this.#entries) {
      entry.pool.tick();
      // The welcome of clients that log in during PAUSE is in it.
      if (!entry.pool.empty || this.#isPaused(entry.request.database)) continue;
      entry.pool.dispose();
      entry.permits?.onPoolForgotten();
      this.#entries.delete(key);
      if (entry.request.readsFrom !== undefined) this.#forgetReader(entry.request.readsFrom, entry.pool);
      this.statistics.of(entry.request.database);
    }
    this.#budgets.forgetUnused();
  }

  #forgetReader(nodeName: string, pool: Pool): void {
    for (const { readers } of this.#entries.values()) {
      if (readers.get(nodeName) === pool) readers.delete(nodeName);
    }
  }

  #isPaused(database: string): boolean {
    return this.#allPaused || this.#paused.has(database);
  }

  /** Databases with a user of their own keep their `min_pool_size` without clients, and so need a pool. */
  #openMinimums(): void {
    if (this.#draining) return;
    const { databases, pgsluice } = this.#config;
    for (const [database, { user, min_pool_size: own }] of Object.entries(databases)) {
      if (database === anyDatabase || user === undefined || (own ?? pgsluice.min_pool_size) === 0) continue;
      this.poolFor({ user, database, otherParameters: [], replication: false });
    }
  }

  #forgetAutoDatabases(): void {
    const nowMs = this.#clock.now();
    for (const { request } of this.#entries.values()) {
      if (Object.hasOwn(this.#config.databases, request.database)) continue;
      this.#autoDatabases.delete(request.database);
      this.#autoDatabases.set(request.database, nowMs);
    }
    const { autodb_idle_timeout: limit } = this.#config.pgsluice;
    for (const [name, usedAtMs] of this.#autoDatabases) {
      const old = limit > 0 && nowMs - usedAtMs >= limit * 1000;
      // The longest unused come first.
      if (!old && this.#autoDatabases.size <= autoDatabasesMax) break;
      this.#autoDatabases.delete(name);
    }
  }

  /** Resolves when no cancel request is under way any more; after `limitMs` the rest is given up. */
  async endCancels(limitMs: number): Promise<void> {
    const pools = [...this];
    const timer = setTimeout(() => {
      for (const pool of pools) pool.cancels.abandon();
    }, limitMs);
    await Promise.all(pools.map((pool) => pool.cancels.done()));
    clearTimeout(timer);
  }

  close(): void {
    for (const { pool } of this.#entries.values()) pool.close();
  }

  /** What decides where and as whom servers are connected; a change of it makes the old ones stale. */
  #connectionKey({ request, identity }: Entry): string {
    if (targetOf(this.#config, request) === undefined) return "";
    // Without a primary nothing is connected, and nothing can be stale.
    const follows = targetOf(this.#config, request)?.nodeName === "";
    if (follows && this.#config.nodes[this.#primary ?? ""] === undefined) return "";
    const { password, scramKeys, md5Hash, ...options } = this.#optionsOf(request, identity.user);
    return JSON.stringify([options, password ?? null, md5Hash ?? null, scramKeys === undefined]);
  }
}

function replicationOf({ replication, otherParameters }: LoginRequest): PoolView["replication"] {
  if (!replication) return "none";
  const logical = otherParameters.some(([name, value]) => name === "replication" && value === "database");
  return logical ? "logical" : "physical";
}

/** Startup options of a pool in an order of their own, so that the client's order makes no difference. */
function canonicalOrder(request: LoginRequest): string[] {
  return request.otherParameters.map(([name, value]) => `${name}\0${value}`).sort();
}
