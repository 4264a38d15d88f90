/** pgpool-II's SHOW commands at the console: its columns, and what is true of this pooler in them. */
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { untilRunning } from "./pooled.ts";

const place = useLab();

/** Columns of pgpool-II 4.6 (pool_process_reporting.c), all of them text. */
const specification: readonly (readonly [name: string, columns: string])[] = [
  [
    "pool_nodes",
    "node_id hostname port status pg_status lb_weight role pg_role select_cnt load_balance_node " +
      "replication_delay replication_state replication_sync_state last_status_change",
  ],
  [
    "pool_pools",
    "pool_pid start_time client_connection_count pool_id backend_id database username backend_connection_time " +
      "client_connection_time client_disconnection_time client_idle_duration majorversion minorversion pool_counter " +
      "pool_backendpid pool_connected status load_balance_node client_host client_port statement",
  ],
  [
    "pool_processes",
    "pool_pid start_time client_connection_count database username backend_connection_time pool_counter status",
  ],
  ["pool_version", "pool_version"],
];

test("every one has pgpool-II's columns, in its order", async () => {
  await using pooled = await startPooled(place.lab);
  using console = await openConsole(pooled, "watcher", "pgsluice");
  for (const [name, columns] of specification) {
    const { messages, tags } = await console.run(`SHOW ${name}`);
    expect(tags).toEqual(["SHOW"]);
    const description = messages.find((message) => message.kind === "RowDescription");
    expect(description?.columns.map((column) => [column.name, column.typeOid])).toEqual(
      columns.split(" ").map((column) => [column, 25]),
    );
  }
});

const time = expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/) as string;

test("nodes: up while there are connections, waiting before, down when none can be made", async () => {
  const { host, port } = place.lab.primary;
  await using pooled = await startPooled(place.lab, {
    settings: { server_login_retry: 60 },
    nodes: { gone: { host: "127.0.0.1", port: 1, role: "standby" } },
    databases: { postgres: { node: "main" }, lost: { node: "gone" } },
  });
  using console = await openConsole(pooled);
  const nodes = (): ReturnType<typeof table> => table(console, "show pool_nodes");
  const unknown = { status: "waiting", pg_status: "unknown", pg_role: "unknown", last_status_change: time };
  expect(await nodes()).toMatchObject([
    {
      node_id: "0",
      hostname: host,
      port: String(port),
      role: "primary",
      load_balance_node: "false",
      ...unknown,
    },
    { node_id: "1", hostname: "127.0.0.1", port: "1", role: "standby", ...unknown },
  ]);
  using client = await pooled.connect();
  await client.run("select 1");
  await expect(pooled.connect({ database: "lost" })).rejects.toThrow("connect failed");
  expect(await nodes()).toMatchObject([
    { status: "up", pg_status: "up", role: "primary", pg_role: "primary", last_status_change: time },
    { status: "down", pg_status: "down", role: "standby", pg_role: "unknown" },
  ]);
});

test("pools and processes: who has which server, and what they do", async () => {
  await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 2 } });
  using console = await openConsole(pooled);
  const pid = String(process.pid);
  expect(await table(console, "show pool_processes")).toMatchObject([
    { pool_pid: pid, database: "", username: "", pool_counter: "0", status: "Wait for connection" },
  ]);
  using idle = await pooled.connect();
  using busy = await pooled.connect();
  await busy.run("begin");
  const [[backend] = []] = (await busy.run("select pg_backend_pid()")).rows;
  const [pool = {}] = await table(console, "show pool_pools");
  expect(pool).toMatchObject({
    pool_pid: pid,
    start_time: time,
    backend_id: "0",
    database: "postgres",
    username: "postgres",
    backend_connection_time: time,
    client_connection_time: time,
    client_disconnection_time: "",
    client_idle_duration: "0",
    majorversion: "3",
    minorversion: "0",
    pool_backendpid: backend,
    pool_connected: "1",
    status: "Idle in transaction",
    client_host: "127.0.0.1",
    statement: "",
  });
  const counter = Number(pool["pool_counter"]);
  expect(counter).toBeGreaterThan(0);
  const statuses = async (): Promise<unknown> =>
    (await table(console, "show pool_processes")).map(({ status }) => status);
  expect(await statuses()).toEqual(["Idle", "Idle in transaction"]);
  busy.send({ kind: "Query", sql: "select pg_sleep(30)" });
  await untilRunning(place.lab, "pg_sleep(30)");
  expect(await statuses()).toEqual(["Idle", "Execute command"]);
  expect(await table(console, "show pool_pools")).toMatchObject([{ status: "Execute command" }]);
  await busy.cancel();
  await busy.outcome();
  await busy.run("rollback");
  await idle.run("select 1");
  expect(await table(console, "show pool_pools")).toMatchObject([
    {
      pool_connected: "0",
      status: "Wait for connection",
      pool_counter: String(counter + 1),
      client_host: "",
      client_connection_time: "",
      client_disconnection_time: time,
    },
  ]);
  const [processes = {}] = await table(console, "show pool_processes");
  // Two clients and this console.
  expect(processes).toMatchObject({ client_connection_count: "3", database: "postgres", status: "Idle" });
});

test("the version is that of SHOW VERSION", async () => {
  await using pooled = await startPooled(place.lab);
  using console = await openConsole(pooled);
  const [[version] = []] = (await console.run("show version")).rows;
  expect(version).toMatch(/^pgsluice \d/);
  expect((await console.run("show pool_version")).rows).toEqual([[version]]);
});
