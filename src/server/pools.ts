/**
 * All pools, by what makes one: the node, the database and user on it, and the startup options that cannot
 * be changed later. Translates the configuration into what a pool needs to know.
 */

import type { DatabaseView, PoolView } from "../admin/context.ts";
import type { Secret } from "../auth/secret.ts";
import type { Clock } from "../base/clock.ts";
import { OperationError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { type ConnectOptions, connectOptions } from "../client/conninfo/options.ts";
import type { Config, DatabaseConfig, NodeConfig } from "../config/schema.ts";
import { ServerBudget } from "../pool/budget.ts";
import { Pool } from "../pool/pool.ts";
import type { PoolMode, PoolSettings } from "../pool/settings.ts";
import type { LoginRequest } from "../session/context.ts";
import type { Credentials } from "./credentials.ts";
import { StatisticsTable } from "./statistics.ts";

interface Entry {
  readonly pool: Pool;
  readonly budget: ServerBudget;
  readonly budgetKey: string;
  readonly request: LoginRequest;
  readonly identity: Identity;
}

/**
 * As whom a pool's servers act, and how they are shared: what the clients of a pool agree on. A reload changes
 * it for those who come later, who get another pool. Here it stays, or clients would go on as somebody else.
 */
interface Identity {
  readonly user: string;
  readonly mode: PoolMode;
}

/** Databases that must have no idle connection, or CREATE DATABASE cannot copy them. */
const neverPooled: ReadonlySet<string> = new Set(["template0", "template1"]);
const anyDatabase = "*";

export class Pools {
  #config: Config;
  readonly #credentials: Credentials;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #budgets = new Map<string, ServerBudget>();
  /** Databases that are paused on their own. */
  readonly #paused = new Set<string>();
  #allPaused = false;
  #draining = false;
  readonly statistics: StatisticsTable;
  /** Called when a server was closed. */
  onServerGone: () => void = () => undefined;

  constructor(config: Config, credentials: Credentials, clock: Clock, logger: Logger) {
    this.#config = config;
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
    const target = this.#targetOf(request);
    if (target === undefined) return undefined;
    const identity = { user: target.user, mode: this.#modeOf(request) };
    const options = canonicalOrder(request);
    const key = JSON.stringify([
      target.nodeName,
      request.database,
      target.dbname,
      identity.user,
      identity.mode,
      ...options,
    ]);
    const known = this.#entries.get(key);
    if (known !== undefined) return known.pool;
    const budgetKey = JSON.stringify([target.nodeName, target.dbname, target.user]);
    let budget = this.#budgets.get(budgetKey);
    if (budget === undefined) {
      budget = new ServerBudget(this.#sizeOf(request));
      this.#budgets.set(budgetKey, budget);
    }
    const pool = new Pool({
      name: `${request.database}/${target.user}@${target.nodeName}`,
      settings: this.#settingsOf(request, identity),
      connectOptions: () => this.#connectOptionsOf(request, identity),
      budget,
      clock: this.#clock,
      logger: this.#logger,
      statistics: this.statistics.of(request.database),
      onServerGone: () => this.onServerGone(),
    });
    if (this.#draining) pool.drain();
    else if (this.#allPaused || this.#paused.has(request.database)) pool.pause();
    this.#entries.set(key, { pool, budget, budgetKey, request, identity });
    return pool;
  }

  /** Acts on a new configuration: sizes and limits at once, servers of what has changed when they come free. */
  reconfigure(config: Config, secrets: Map<string, Secret>): void {
    const before = new Map<Entry, string>();
    for (const entry of this.#entries.values()) before.set(entry, this.#connectionKey(entry));
    this.#config = config;
    this.#credentials.replace(secrets);
    for (const entry of this.#entries.values()) {
      if (this.#targetOf(entry.request) === undefined) {
        entry.pool.retireServers("database removed");
        continue;
      }
      entry.pool.settings = this.#settingsOf(entry.request, entry.identity);
      entry.budget.max = this.#sizeOf(entry.request);
      if (this.#connectionKey(entry) !== before.get(entry)) {
        entry.pool.retireServers("database configuration changed");
      }
    }
  }

  /** Every pool, with what it is for. */
  views(): PoolView[] {
    return [...this.#entries.values()].map(({ pool, request, identity }) => ({
      pool,
      database: request.database,
      user: identity.user,
      mode: identity.mode,
      replication: replicationOf(request),
    }));
  }

  /** Databases of the configuration, and others that clients have used. */
  databaseNames(): string[] {
    const names = new Set(Object.keys(this.#config.databases));
    for (const { request } of this.#entries.values()) names.add(request.database);
    for (const name of this.#paused) names.add(name);
    names.delete(anyDatabase);
    return [...names].sort();
  }

  /** Statistics of databases that clients made up and have left long ago. */
  forgetStatistics(except: string): void {
    const used = new Set([...this.databaseNames(), except]);
    this.statistics.forget((database) => used.has(database));
  }

  /** Where a database is, for a client that brings nothing of its own; undefined: there is none of this name. */
  databaseView(name: string): Omit<DatabaseView, "disabled"> | undefined {
    const target = this.#targetOf({ user: "", database: name, otherParameters: [], replication: false });
    if (target === undefined) return undefined;
    const { node, database, dbname } = target;
    const settings = this.#config.pgsluice;
    return {
      name,
      host: node.host,
      port: node.port,
      dbname,
      forceUser: database.user,
      poolSize: database.pool_size ?? settings.default_pool_size,
      minPoolSize: database.min_pool_size ?? settings.min_pool_size,
      poolMode: database.pool_mode,
      paused: this.#paused.has(name),
    };
  }

  /** PAUSE is in force for every database. */
  get allPaused(): boolean {
    return this.#allPaused;
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
    for (const [key, entry] of this.#entries) {
      entry.pool.tick();
      if (!entry.pool.empty) continue;
      entry.pool.dispose();
      this.#entries.delete(key);
      this.statistics.of(entry.request.database);
      if (entry.budget.memberCount === 0) this.#budgets.delete(entry.budgetKey);
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

  #targetOf(
    request: LoginRequest,
  ):
    | { nodeName: string; node: NodeConfig; database: DatabaseConfig; dbname: string; user: string }
    | undefined {
    const { databases, nodes } = this.#config;
    const own = Object.hasOwn(databases, request.database) ? databases[request.database] : undefined;
    const database = own ?? databases[anyDatabase];
    const node = database === undefined ? undefined : nodes[database.node];
    if (database === undefined || node === undefined) return undefined;
    return {
      nodeName: database.node,
      node,
      database,
      dbname: database.dbname ?? request.database,
      user: database.user ?? request.user,
    };
  }

  #sizeOf(request: LoginRequest): number {
    const user = this.#userOf(request);
    return (
      user?.pool_size ??
      this.#targetOf(request)?.database.pool_size ??
      this.#config.pgsluice.default_pool_size
    );
  }

  #userOf(request: LoginRequest): Config["users"][string] | undefined {
    return Object.hasOwn(this.#config.users, request.user) ? this.#config.users[request.user] : undefined;
  }

  #modeOf(request: LoginRequest): PoolMode {
    if (request.replication) return "session";
    const own = this.#userOf(request)?.pool_mode ?? this.#targetOf(request)?.database.pool_mode;
    return own ?? this.#config.pgsluice.pool_mode;
  }

  #settingsOf(request: LoginRequest, identity: Identity): PoolSettings {
    const settings = this.#config.pgsluice;
    const target = this.#targetOf(request);
    return {
      mode: identity.mode,
      sizeMin: target?.database.min_pool_size ?? settings.min_pool_size,
      serverLifetimeMs: settings.server_lifetime * 1000,
      serverIdleTimeoutMs: settings.server_idle_timeout * 1000,
      serverConnectTimeoutMs: settings.server_connect_timeout * 1000,
      serverLoginRetryMs: settings.server_login_retry * 1000,
      queryWaitTimeoutMs: settings.query_wait_timeout * 1000,
      queryWaitNotifyMs: settings.query_wait_notify * 1000,
      cancelWaitTimeoutMs: settings.cancel_wait_timeout * 1000,
      resetQuery: settings.server_reset_query,
      resetQueryAlways: settings.server_reset_query_always,
      resetTimeoutMs: settings.server_reset_timeout * 1000,
      checkQuery: settings.server_check_query,
      checkDelayMs: settings.server_check_delay * 1000,
      preparedMax: settings.max_prepared_statements,
      packetBytesMax: settings.max_packet_size,
      reuse: !request.replication && !neverPooled.has(target?.dbname ?? ""),
    };
  }

  /** Throws OperationError `pool.database_removed` if a reload has taken the database away. */
  #connectOptionsOf(request: LoginRequest, { user }: Identity): ConnectOptions {
    const target = this.#targetOf(request);
    if (target === undefined) throw databaseRemoved();
    const settings = this.#config.pgsluice;
    const { node } = target;
    const own = target.user === user ? target.database.password : undefined;
    return connectOptions({
      hosts: [{ host: node.host, port: node.port }],
      user,
      database: target.dbname,
      ...(own === undefined ? this.#credentials.forServer(user) : { password: own }),
      sslmode: node.server_tls_sslmode ?? settings.server_tls_sslmode,
      sslrootcert: nonEmpty(node.server_tls_ca_file ?? settings.server_tls_ca_file),
      sslcert: nonEmpty(node.server_tls_cert_file ?? settings.server_tls_cert_file),
      sslkey: nonEmpty(node.server_tls_key_file ?? settings.server_tls_key_file),
      ...(settings.server_allow_cleartext_password ? { allowCleartextPassword: true } : {}),
      parameters: request.otherParameters,
      connectTimeoutMs: settings.server_connect_timeout * 1000,
      keepAlive: { enabled: settings.tcp_keepalive, idleSeconds: settings.tcp_keepidle },
    });
  }

  /** What decides where and as whom servers are connected; a change of it makes the old ones stale. */
  #connectionKey({ request, identity }: Entry): string {
    if (this.#targetOf(request) === undefined) return "";
    const { password, scramKeys, md5Hash, ...options } = this.#connectOptionsOf(request, identity);
    return JSON.stringify([options, password ?? null, md5Hash ?? null, scramKeys === undefined]);
  }
}

function replicationOf({ replication, otherParameters }: LoginRequest): PoolView["replication"] {
  if (!replication) return "none";
  const logical = otherParameters.some(([name, value]) => name === "replication" && value === "database");
  return logical ? "logical" : "physical";
}

/** PgBouncer's words for clients whose database is gone from the configuration. */
function databaseRemoved(): OperationError {
  return new OperationError("database removed", {
    code: "pool.database_removed",
    sqlstate: "3D000",
    source: "internal",
  });
}

/** Startup options of a pool in an order of their own, so that the client's order makes no difference. */
function canonicalOrder(request: LoginRequest): string[] {
  return request.otherParameters.map(([name, value]) => `${name}\0${value}`).sort();
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === "" ? undefined : text;
}
