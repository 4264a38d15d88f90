/**
 * What is compared: each peer is an end point that the load is sent to, and, but for `direct`, a process.
 *
 * All poolers get the same pool size and mode, let everybody in (trust), use no TLS and log no connections.
 * pgpool has neither pools nor modes: it has a process per client, which keeps one server connection.
 */

import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { OperationError } from "../../base/errors.ts";
import type { Account } from "../account.ts";
import { freePort } from "../ports.ts";
import type { BenchMode, PeerName } from "./options.ts";
import { RunningProcess } from "./processes.ts";
import type { Tool } from "./tools.ts";

export interface Peer {
  readonly name: PeerName;
  readonly host: string;
  readonly port: number;
  /** undefined for `direct`. */
  readonly process: RunningProcess | undefined;
}

export interface PeerSettings {
  /** A folder of the run's own; config files and logs go there. */
  readonly folder: string;
  readonly upstream: { readonly host: string; readonly port: number };
  readonly user: string;
  readonly mode: BenchMode;
  readonly poolSize: number;
  /** Of pgsluice only. */
  readonly workers: number;
  readonly multiplex: boolean;
  /** How many clients must be let in. */
  readonly clientsMax: number;
  /** How many of them are busy at once. */
  readonly busyClientsMax: number;
  /** Whom to run programs as that refuse root's rights. */
  readonly account: Account | undefined;
}

export function directPeer(settings: PeerSettings): Peer {
  const { host, port } = settings.upstream;
  return { name: "direct", host, port, process: undefined };
}

/** Starts this package's pooler as its own process, from the build. */
export async function startPgsluice(
  settings: PeerSettings,
  name: "pgsluice" | "transaction-mode" = "pgsluice",
): Promise<Peer> {
  const port = await freePort();
  const mode = name === "pgsluice" ? settings.mode : "transaction";
  const file = await writeConfig(settings, name, "toml", [
    "[pgsluice]",
    'listen_addr = "127.0.0.1"',
    `listen_port = ${port}`,
    `pool_mode = "${mode}"`,
    `default_pool_size = ${settings.poolSize}`,
    `max_client_conn = ${settings.clientsMax}`,
    `workers = ${settings.workers}`,
    `multiplex = ${settings.multiplex}`,
    'auth_type = "trust"',
    'server_tls_sslmode = "disable"',
    "log_connections = false",
    "log_disconnections = false",
    "[nodes.primary]",
    `host = "${settings.upstream.host}"`,
    `port = ${settings.upstream.port}`,
  ]);
  const args = [builtProgram(), "start", "--config", file];
  const running = await RunningProcess.start({
    name,
    command: process.execPath,
    args,
    folder: settings.folder,
    ownsFolder: true,
    port,
    account: undefined,
  });
  return { name, host: "127.0.0.1", port, process: running };
}

export async function startPgbouncer(settings: PeerSettings, tool: Tool): Promise<Peer> {
  const port = await freePort();
  const users = path.join(settings.folder, "pgbouncer-users.txt");
  await writeFile(users, `"${settings.user}" ""\n`);
  const file = await writeConfig(settings, "pgbouncer", "ini", [
    "[databases]",
    `* = host=${settings.upstream.host} port=${settings.upstream.port}`,
    "[pgbouncer]",
    "listen_addr = 127.0.0.1",
    `listen_port = ${port}`,
    "unix_socket_dir =",
    "auth_type = trust",
    `auth_file = ${users}`,
    // It has no such mode; this is the one that shares as much.
    `pool_mode = ${settings.mode === "auto" ? "transaction" : settings.mode}`,
    `default_pool_size = ${settings.poolSize}`,
    `max_client_conn = ${settings.clientsMax}`,
    "server_tls_sslmode = disable",
    "log_connections = 0",
    "log_disconnections = 0",
    "log_stats = 0",
    // Versions from 1.21 hold prepared statements in transaction mode, if told to.
    ...(isAtLeast(tool.version, 1, 21) ? ["max_prepared_statements = 200"] : []),
  ]);
  const running = await RunningProcess.start({
    name: "pgbouncer",
    command: tool.path,
    args: [file],
    folder: settings.folder,
    ownsFolder: false,
    port,
    account: settings.account,
  });
  return { name: "pgbouncer", host: "127.0.0.1", port, process: running };
}

export async function startPgpool(settings: PeerSettings, tool: Tool): Promise<Peer> {
  const [port, pcpPort] = [await freePort(), await freePort()];
  const file = await writeConfig(settings, "pgpool", "conf", [
    "backend_clustering_mode = 'streaming_replication'",
    "listen_addresses = '127.0.0.1'",
    `port = ${port}`,
    "pcp_listen_addresses = '127.0.0.1'",
    `pcp_port = ${pcpPort}`,
    ...["socket_dir", "pcp_socket_dir", "wd_ipc_socket_dir", "logdir"].map(
      (key) => `${key} = '${settings.folder}'`,
    ),
    `pid_file_name = '${path.join(settings.folder, "pgpool.pid")}'`,
    `backend_hostname0 = '${settings.upstream.host}'`,
    `backend_port0 = ${settings.upstream.port}`,
    `backend_data_directory0 = '${settings.folder}'`,
    `num_init_children = ${settings.busyClientsMax + 4}`,
    "max_pool = 1",
    "connection_cache = on",
    "enable_pool_hba = off",
    "load_balance_mode = on",
    "sr_check_period = 0",
    "health_check_period = 0",
    "log_connections = off",
  ]);
  const running = await RunningProcess.start({
    name: "pgpool",
    command: tool.path,
    args: ["-n", "-f", file],
    folder: settings.folder,
    ownsFolder: false,
    port,
    account: settings.account,
  });
  return { name: "pgpool", host: "127.0.0.1", port, process: running };
}

async function writeConfig(
  settings: PeerSettings,
  name: string,
  extension: string,
  lines: readonly string[],
): Promise<string> {
  const file = path.join(settings.folder, `${name}.${extension}`);
  await writeFile(file, `${lines.join("\n")}\n`);
  return file;
}

/** The program as it is published, also when this file runs from its source. */
function builtProgram(): string {
  const beside = import.meta.url.endsWith(".ts") ? "../../../dist/cli/main.js" : "../../cli/main.js";
  const file = fileURLToPath(new URL(beside, import.meta.url));
  if (existsSync(file)) return file;
  throw new OperationError(`the benchmark measures the build, and there is no ${file}: run npm run build`, {
    code: "bench.not_built",
    sqlstate: "58000",
    source: "internal",
  });
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [itsMajor = 0, itsMinor = 0] = version.split(".").map(Number);
  return itsMajor > major || (itsMajor === major && itsMinor >= minor);
}
