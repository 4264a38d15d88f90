/**
 * The PostgreSQL under test, with the tables of pgbench in a database of our own.
 *
 * Commits do not wait for the disk: how fast that is says nothing about a pooler. The tables are filled by
 * SQL, because pgbench may be missing.
 */
import { superuser } from "../data-folder.ts";
import { Lab } from "../lab.ts";
import { LoadConnection } from "./load/connection.ts";
import { query } from "./load/protocol.ts";
import { type BenchOptions, busiestClients, effectivePoolSize } from "./options.ts";

export interface BenchDatabase {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** The database that holds the tables. */
  readonly name: string;
  readonly version: string;
  stop(): Promise<void>;
}

interface Server {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  stop(): Promise<void>;
}

const name = "pgsluice_bench";

/** Starts an embedded PostgreSQL, or takes the one that was named, and fills the tables. */
export async function startBenchDatabase(
  options: BenchOptions,
  listener: { onProgress(text: string): void },
): Promise<BenchDatabase> {
  const server = await startServer(options, listener);
  try {
    listener.onProgress(`filling the tables (scale ${options.scale})`);
    await administer(server, [`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`, `CREATE DATABASE ${name}`]);
    const version = await fill(server, options.scale);
    const stop = async (): Promise<void> => {
      if (options.upstream !== undefined) await administer(server, [`DROP DATABASE ${name} WITH (FORCE)`]);
      await server.stop();
    };
    return { host: server.host, port: server.port, user: server.user, name, version, stop };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function administer(server: Server, statements: readonly string[]): Promise<void> {
  const connection = await LoadConnection.open({ ...server, database: "postgres" });
  for (const sql of statements) await connection.request(query(sql));
  connection.close();
}

/** The tables of `pgbench -i`, and one for COPY. Returns the server's version. */
async function fill(server: Server, scale: number): Promise<string> {
  const connection = await LoadConnection.open({ ...server, database: name });
  for (const sql of [
    "CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88)) WITH (fillfactor = 100)",
    "CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100)",
    "CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100)",
    "CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))",
    "CREATE UNLOGGED TABLE bench_copy (LIKE pgbench_accounts)",
    `INSERT INTO pgbench_branches SELECT b, 0, '' FROM generate_series(1, ${scale}) AS b`,
    `INSERT INTO pgbench_tellers SELECT t, (t - 1) / 10 + 1, 0, '' FROM generate_series(1, ${scale * 10}) AS t`,
    `INSERT INTO pgbench_accounts SELECT a, (a - 1) / 100000 + 1, 0, '' FROM generate_series(1, ${scale * 100_000}) AS a`,
    "ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid)",
    "ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid)",
    "ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)",
    "VACUUM ANALYZE",
    "CHECKPOINT",
  ]) {
    await connection.request(query(sql));
  }
  connection.close();
  return connection.serverVersion;
}

async function startServer(
  options: BenchOptions,
  listener: { onProgress(text: string): void },
): Promise<Server> {
  if (options.upstream !== undefined) return { ...options.upstream, stop: async () => {} };
  listener.onProgress("starting PostgreSQL");
  const lab = await Lab.start({
    settings: {
      // Direct clients, those of pgpool's processes, and the pools of the others, all at once.
      max_connections: String(2 * busiestClients(options) + 2 * effectivePoolSize(options) + 50),
      shared_buffers: "256MB",
      synchronous_commit: "off",
      max_wal_size: "4GB",
      autovacuum: "off",
    },
  });
  const { host, port } = lab.primary;
  return { host, port, user: superuser, stop: () => lab.stop() };
}
