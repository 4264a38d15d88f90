/**
 * What is compared in front of a primary and two standbys. `direct` is the primary alone. Of pgsluice three ways, so that each
 * step's cost is seen: `static` knows one node, `watched` follows the primary, `reads` sends reads to the standbys as well.
 * pgpool-II does all of that.
 */
import { mkdtemp, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ordinaryAccount } from "../../src/lab/account.ts";
import { RunningProcess } from "../../src/lab/bench/processes.ts";
import { findTool } from "../../src/lab/bench/tools.ts";
import type { Lab } from "../../src/lab/index.ts";
import { freePort } from "../../src/lab/ports.ts";

export interface Pooler {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly process: RunningProcess | undefined;
}

export const poolerNames = ["direct", "static", "watched", "reads", "pgpool"] as const;
export type PoolerName = (typeof poolerNames)[number];

const poolSize = 20;
const clientsMax = 200;
const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** Undefined if it is not installed. */
export async function startPooler(name: PoolerName, lab: Lab): Promise<Pooler | undefined> {
  const { host, port } = lab.primary;
  if (name === "direct") return { name, host, port, process: undefined };
  const folder = await mkdtemp(path.join(os.tmpdir(), "pgsluice-bench-"));
  return name === "pgpool" ? await startPgpool(lab, folder) : await startPgsluice(name, lab, folder);
}

async function startPgsluice(
  name: "static" | "watched" | "reads",
  lab: Lab,
  folder: string,
): Promise<Pooler> {
  const port = await freePort();
  const nodes = name === "static" ? [lab.primary] : lab.nodes;
  const promotes = `[ "$PGSLUICE_EVENT" = primary_lost ] || exit 0; exec ${promote("$PGSLUICE_NODE_HOST", "$PGSLUICE_NODE_PORT")}`;
  const lines = [
    "[pgsluice]",
    'listen_addr = "127.0.0.1"',
    `listen_port = ${port}`,
    'auth_type = "trust"',
    'server_tls_sslmode = "disable"',
    `default_pool_size = ${poolSize}`,
    `max_client_conn = ${clientsMax}`,
    "log_connections = false",
    "log_disconnections = false",
    ...(name === "static"
      ? []
      : [
          'health_check_user = "postgres"',
          `load_balance_mode = ${name === "reads"}`,
          `failover_command = ${JSON.stringify(["/bin/sh", "-c", promotes])}`,
        ]),
    ...nodes.flatMap((node) => [
      `[nodes.${node.name}]`,
      `host = "${node.host}"`,
      `port = ${node.port}`,
      ...(name === "static" ? [] : ['role = "auto"']),
    ]),
  ];
  const file = path.join(folder, "pgsluice.toml");
  await writeFile(file, `${lines.join("\n")}\n`);
  const running = await RunningProcess.start({
    name: "pgsluice",
    command: process.execPath,
    args: [program, "start", "--config", file],
    folder,
    ownsFolder: true,
    port,
    account: undefined,
  });
  return { name, host: "127.0.0.1", port, process: running };
}

/** Asked as often as pgsluice asks by default. */
async function startPgpool(lab: Lab, folder: string): Promise<Pooler | undefined> {
  const tool = await findTool("pgpool");
  if (tool === undefined) return undefined;
  const [port, pcpPort] = [await freePort(), await freePort()];
  const backends = lab.nodes.flatMap(({ host, port: at }, index) => [
    `backend_hostname${index} = '${host}'`,
    `backend_port${index} = ${at}`,
    `backend_weight${index} = 1`,
    `backend_data_directory${index} = '${folder}'`,
    `backend_flag${index} = 'ALLOW_TO_FAILOVER'`,
  ]);
  const lines = [
    "backend_clustering_mode = 'streaming_replication'",
    "listen_addresses = '127.0.0.1'",
    `port = ${port}`,
    "pcp_listen_addresses = '127.0.0.1'",
    `pcp_port = ${pcpPort}`,
    ...["socket_dir", "pcp_socket_dir", "wd_ipc_socket_dir", "logdir"].map((key) => `${key} = '${folder}'`),
    `pid_file_name = '${path.join(folder, "pgpool.pid")}'`,
    ...backends,
    `num_init_children = ${clientsMax}`,
    "max_pool = 1",
    "enable_pool_hba = off",
    "load_balance_mode = on",
    "sr_check_period = 1",
    "sr_check_user = 'postgres'",
    "health_check_period = 1",
    "health_check_timeout = 2",
    "health_check_max_retries = 2",
    "health_check_retry_delay = 1",
    "health_check_user = 'postgres'",
    `failover_command = '${promote("%H", "%r")}'`,
    "log_connections = off",
  ];
  const file = path.join(folder, "pgpool.conf");
  await writeFile(file, `${lines.join("\n")}\n`);
  const running = await RunningProcess.start({
    name: "pgpool",
    command: tool.path,
    args: ["-n", "-f", file],
    folder,
    ownsFolder: true,
    port,
    account: await ordinaryAccount(folder),
  });
  return { name: "pgpool", host: "127.0.0.1", port, process: running };
}

/** What the command of either does with the standby that it is given. */
function promote(host: string, port: string): string {
  return `psql -X -q -h ${host} -p ${port} -U postgres -d postgres -c "select pg_promote()"`;
}
