/**
 * What the configuration says about one pool: where its servers are and as whom they log in, how many there may be,
 * and how they are shared. Asked anew whenever it matters, because a reload may have changed it.
 */
import { OperationError } from "../base/errors.ts";
import { type ConnectOptions, connectOptions } from "../client/conninfo/options.ts";
import {
  type Config,
  type DatabaseConfig,
  databaseOf,
  type NodeConfig,
  type Settings,
  type UserConfig,
} from "../config/schema.ts";
import { serverTlsLimits } from "../config/tls.ts";
import { noPrimary } from "../pool/failures.ts";
import type { PoolMode, PoolSettings } from "../pool/settings.ts";
import type { LoginRequest } from "../session/context.ts";
import type { Credentials } from "./credentials.ts";
import { keepAliveOf } from "./socket-options.ts";

/**
 * As whom a pool's servers act, and how they are shared: what the clients of a pool agree on. A reload changes
 * it for those who come later, who get another pool. Here it stays, or clients would go on as somebody else.
 */
export interface Identity {
  readonly user: string;
  readonly mode: PoolMode;
}

export interface Target {
  /** Empty: whichever node is the primary. */
  readonly nodeName: string;
  readonly database: DatabaseConfig;
  /** The database on the server. */
  readonly dbname: string;
  /** The user on the server. */
  readonly user: string;
}

/** Auto mode does not work without shared prepared statements: if they are off, this many. */
const preparedMaxInAuto = 200;

/** Databases that must have no idle connection, or CREATE DATABASE cannot copy them. */
const neverPooled: ReadonlySet<string> = new Set(["template0", "template1"]);

/** Parameters that a database may have of its own. */
const databaseParameters = ["client_encoding", "datestyle", "timezone", "application_name"] as const;

/** Where a client is led that asks for this; undefined: the database is not known here. */
export function targetOf(config: Config, request: LoginRequest): Target | undefined {
  const database = databaseOf(config, request.database);
  if (database === undefined) return undefined;
  const nodeName = request.readsFrom ?? database.node;
  if (nodeName !== "" && config.nodes[nodeName] === undefined) return undefined;
  return {
    nodeName,
    database,
    dbname: database.dbname ?? request.database,
    user: database.user ?? request.user,
  };
}

function userOf(config: Config, name: string): UserConfig | undefined {
  return Object.hasOwn(config.users, name) ? config.users[name] : undefined;
}

/** `user` is the one on the server: in PgBouncer too, a pool is sized by its own user, not by its clients. */
export function poolSizeOf(config: Config, database: string, user: string): number {
  const own = userOf(config, user)?.pool_size ?? databaseOf(config, database)?.pool_size;
  return own ?? config.pgsluice.default_pool_size;
}

export function reserveSizeOf(config: Config, database: string, user: string): number {
  const own = userOf(config, user)?.reserve_pool_size ?? databaseOf(config, database)?.reserve_pool_size;
  return own ?? config.pgsluice.reserve_pool_size;
}

export function databaseConnectionsMax(config: Config, database: string): number {
  return databaseOf(config, database)?.max_db_connections ?? config.pgsluice.max_db_connections;
}

export function userConnectionsMax(config: Config, user: string): number {
  return userOf(config, user)?.max_user_connections ?? config.pgsluice.max_user_connections;
}

export function databaseClientsMax(config: Config, database: string): number {
  return databaseOf(config, database)?.max_db_client_connections ?? config.pgsluice.max_db_client_connections;
}

/** `user` is the one who logs in here. */
export function userClientsMax(config: Config, user: string): number {
  return userOf(config, user)?.max_user_client_connections ?? config.pgsluice.max_user_client_connections;
}

export function modeOf(config: Config, request: LoginRequest): PoolMode {
  if (request.replication) return "session";
  const own = userOf(config, request.user)?.pool_mode ?? targetOf(config, request)?.database.pool_mode;
  return own ?? config.pgsluice.pool_mode;
}

export function settingsOf(config: Config, request: LoginRequest, identity: Identity): PoolSettings {
  const settings = config.pgsluice;
  const target = targetOf(config, request);
  const database = target?.database;
  const { mode } = identity;
  return {
    mode,
    sizeMin:
      request.replication || request.readsFrom !== undefined
        ? 0
        : (database?.min_pool_size ?? settings.min_pool_size),
    minWithoutClients: database?.user === identity.user,
    waitingMax: settings.max_waiting_clients,
    roundRobin: settings.server_round_robin,
    // It has no clients of its own to be without: server_idle_timeout is enough.
    poolIdleTimeoutMs: request.readsFrom === undefined ? settings.pool_idle_timeout * 1000 : 0,
    connectQuery: request.replication ? "" : (database?.connect_query ?? ""),
    serverLifetimeMs: (database?.server_lifetime ?? settings.server_lifetime) * 1000,
    serverIdleTimeoutMs: settings.server_idle_timeout * 1000,
    serverConnectTimeoutMs: settings.server_connect_timeout * 1000,
    serverLoginRetryMs: settings.server_login_retry * 1000,
    queryWaitTimeoutMs: (database?.query_wait_timeout ?? settings.query_wait_timeout) * 1000,
    failoverTimeoutMs: target?.nodeName === "" ? settings.failover_timeout * 1000 : undefined,
    queryWaitNotifyMs: settings.query_wait_notify * 1000,
    cancelWaitTimeoutMs: settings.cancel_wait_timeout * 1000,
    // What auto mode leaves to the reset is known, and so is what undoes it.
    resetQuery: mode === "auto" ? "DISCARD ALL" : settings.server_reset_query,
    resetQueryAlways: settings.server_reset_query_always,
    resetTimeoutMs: settings.server_reset_timeout * 1000,
    checkQuery: settings.server_check_query,
    checkDelayMs: settings.server_check_delay * 1000,
    preparedMax: settings.max_prepared_statements || (mode === "auto" ? preparedMaxInAuto : 0),
    packetBytesMax: settings.max_packet_size,
    multiplex: target?.database.multiplex ?? settings.multiplex,
    multiplexLatencyMs: (target?.database.multiplex_latency ?? settings.multiplex_latency) * 1000,
    multiplexCoalesce: target?.database.multiplex_coalesce ?? settings.multiplex_coalesce,
    readsOnStandbys: target?.database.load_balance_mode ?? settings.load_balance_mode,
    reuse: !request.replication && !neverPooled.has(target?.dbname ?? ""),
  };
}

/** Of a node, or of the primary at the time, whose name is `primary`; 0: no limit. */
export function nodeConnectionsMax(config: Config, nodeName: string, primary: string | undefined): number {
  const name = nodeName === "" ? primary : nodeName;
  return (name === undefined ? undefined : config.nodes[name]?.max_connections) ?? 0;
}

/**
 * `primary` is the node that databases without one of their own are on; nobody connects while it is not known.
 * Throws OperationError `pool.database_removed` if a reload has taken the database away.
 */
export function connectOptionsOf(
  config: Config,
  credentials: Credentials,
  request: LoginRequest,
  user: string,
  primary?: string,
): ConnectOptions {
  const target = targetOf(config, request);
  if (target === undefined) throw databaseRemoved();
  const follows = target.nodeName === "";
  const node = config.nodes[follows ? (primary ?? "") : target.nodeName];
  if (node === undefined) throw noPrimary();
  const settings = config.pgsluice;
  const own = target.user === user ? target.database.password : undefined;
  return connectOptions({
    ...nodeOptionsOf(settings, node),
    user,
    database: target.dbname,
    ...(own === undefined ? credentials.forServer(user, request.database) : { password: own }),
    // What the server says itself is the last word: a standby is never taken for the primary.
    ...(follows && !request.replication ? { targetSessionAttrs: "primary" as const } : {}),
    parameters: startupParametersOf(request, target.database),
  });
}

/** As which user the nodes are asked how they are. */
export function probeOptionsOf(config: Config, credentials: Credentials, node: NodeConfig): ConnectOptions {
  const { pgsluice: settings } = config;
  const { health_check_user: user, health_check_password: password } = settings;
  return connectOptions({
    ...nodeOptionsOf(settings, node),
    user,
    database: settings.health_check_database,
    ...(password === "" ? credentials.forServer(user) : { password }),
    parameters: [["application_name", "pgsluice health check"]],
    connectTimeoutMs: settings.health_check_timeout * 1000,
  });
}

/** Where a node is, and how connections to it are encrypted. */
export function nodeOptionsOf(settings: Settings, node: NodeConfig): Partial<ConnectOptions> {
  return {
    hosts: hostsOf(node.host).map((host) => ({ host, port: node.port, address: node.hostaddr })),
    sslmode: node.server_tls_sslmode ?? settings.server_tls_sslmode,
    sslrootcert: nonEmpty(node.server_tls_ca_file ?? settings.server_tls_ca_file),
    sslcert: nonEmpty(node.server_tls_cert_file ?? settings.server_tls_cert_file),
    sslkey: nonEmpty(node.server_tls_key_file ?? settings.server_tls_key_file),
    ...tlsOptionsOf({ ...settings, ...node }),
    ...(settings.server_allow_cleartext_password ? { allowCleartextPassword: true } : {}),
    connectTimeoutMs: settings.server_connect_timeout * 1000,
    keepAlive: keepAliveOf(settings),
  };
}

/** The hosts of a list with commas. */
export function hostsOf(text: string): string[] {
  const hosts = text.split(",").map((host) => host.trim());
  return hosts.filter((host) => host !== "");
}

/** Which TLS servers are spoken to in. */
function tlsOptionsOf(settings: Settings): Partial<ConnectOptions> {
  const { minVersion, maxVersion, ciphers } = serverTlsLimits(settings);
  return {
    sslMinProtocolVersion: minVersion,
    sslMaxProtocolVersion: maxVersion,
    ...(ciphers === undefined ? {} : { tlsCiphers: ciphers }),
  };
}

/** What a server is told at its start: the client's own words, and where it has none the database's. */
function startupParametersOf(
  request: LoginRequest,
  database: DatabaseConfig,
): LoginRequest["otherParameters"] {
  const given = new Set(request.otherParameters.map(([name]) => name.toLowerCase()));
  const own = databaseParameters.flatMap((name): (readonly [string, string])[] => {
    const value = database[name];
    return value === undefined || given.has(name) ? [] : [[name, value]];
  });
  return [...own, ...request.otherParameters];
}

/** PgBouncer's words for clients whose database is gone from the configuration. */
function databaseRemoved(): OperationError {
  return new OperationError("database removed", {
    code: "pool.database_removed",
    sqlstate: "3D000",
    source: "internal",
  });
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === "" ? undefined : text;
}
