/** What the console shows: columns, types and rows of every SHOW, against PgBouncer's specification and PgBouncer itself. */
import { describe, expect, test } from "vitest";
import type { ColumnDescription } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { type Client, untilRunning } from "./pooled.ts";

const place = useLab();
const typeNames: Readonly<Record<number, string>> = { 25: "text", 23: "int4", 20: "int8", 1700: "numeric" };

/** The letters that PgBouncer gives its columns: s text, i int4, q int8, N numeric. */
const letters: Readonly<Record<string, string>> = { s: "text", i: "int4", q: "int8", N: "numeric" };
const sockets =
  "type user database replication state addr port local_addr local_port connect_time request_time wait wait_us " +
  "close_needed ptr link remote_pid tls application_name prepared_statements id";
const counters =
  "server_assignment_count xact_count query_count received sent xact_time query_time wait_time client_parse_count " +
  "server_parse_count bind_count client_login_count";
const plain = counters.replace("received", "bytes_received").replace("sent", "bytes_sent");
const prefixed = (prefix: string): string => counters.replaceAll(/\S+/g, `${prefix}$&`);

/** Columns of PgBouncer 1.26 and their types, in order. */
const specification: readonly (readonly [name: string, types: string, columns: string])[] = [
  [
    "pools",
    `ss${"i".repeat(13)}ss`,
    "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel " +
      "sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode load_balance_hosts",
  ],
  ["clients", "ssssssisissiiississii", sockets],
  ["servers", "ssssssisissiiississii", sockets],
  [
    "sockets",
    "ssssssisissiiississiiiiiiiii",
    `${sockets} recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail`,
  ],
  [
    "active_sockets",
    "ssssssisissiiississiiiiiiiii",
    `${sockets} recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail`,
  ],
  [
    "databases",
    "ssissiiiissiiiiii",
    "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode " +
      "load_balance_hosts max_connections current_connections max_client_connections current_client_connections paused disabled",
  ],
  [
    "users",
    "ssssiiii",
    "name pool_size reserve_pool_size pool_mode max_user_connections current_connections " +
      "max_user_client_connections current_client_connections",
  ],
  [
    "stats",
    `s${"N".repeat(24)}`,
    `database ${prefixed("total_")} ${prefixed("avg_").replace("avg_received", "avg_recv")}`,
  ],
  ["stats_totals", `s${"N".repeat(12)}`, `database ${plain}`],
  [
    "stats_averages",
    `s${"N".repeat(12)}`,
    `database ${plain.replace(/client_parse.*/, "avg_client_parse_count avg_server_parse_count avg_bind_count avg_client_login_count")}`,
  ],
  ["totals", "sN", "name value"],
  ["lists", "si", "list items"],
  ["config", "ssss", "key value default changeable"],
  ["mem", "siiii", "name size used free memtotal"],
  ["dns_hosts", "sqs", "hostname ttl addrs"],
  ["dns_zones", "sqi", "zonename serial count"],
  ["peers", "isii", "peer_id host port pool_size"],
  ["peer_pools", "iiiii", "peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login"],
  ["state", "ss", "key value"],
  ["version", "s", "version"],
];

async function columnsOf(console: Client, sql: string): Promise<readonly ColumnDescription[]> {
  const { messages, tags } = await console.run(sql);
  expect(tags).toEqual(["SHOW"]);
  const description = messages.find((message) => message.kind === "RowDescription");
  return description?.columns ?? [];
}

describe("every SHOW", () => {
  test.each(specification)("%s has PgBouncer's columns", async (name, types, columns) => {
    await using pooled = await startPooled(place.lab);
    using client = await pooled.connect();
    await client.run("select 1");
    using console = await openConsole(pooled);
    const described = await columnsOf(console, `SHOW ${name}`);
    expect(described.map((column) => column.name)).toEqual(columns.split(" "));
    expect(described.map(({ typeOid }) => typeNames[typeOid])).toEqual(
      Array.from(types, (type) => letters[type]),
    );
    // In either case, with or without a semicolon, in quotes, or asked for with SELECT.
    for (const sql of [`show ${name};`, ` Show "${name}" ; `, `select ${name}`]) {
      expect((await columnsOf(console, sql)).length).toBe(described.length);
    }
    // Every value has its column's type.
    for (const row of await table(console, `show ${name}`)) {
      for (const [index, value] of Object.values(row).entries()) {
        if (types[index] !== "s") expect(value).toMatch(/^\d+$/);
      }
    }
  });

  test.each(["fds", "nothing", "", "pools clients"])("there is no SHOW %s", async (name) => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    expect((await console.run(`show ${name};`)).error).toMatchObject({
      severity: "ERROR",
      code: "42601",
      message: `invalid command 'show ${name};', use SHOW HELP;`,
    });
    expect((await console.run("show version")).tags).toEqual(["SHOW"]);
  });

  test("HELP is a notice", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    const { messages, tags } = await console.run("SHOW HELP");
    expect(tags).toEqual(["SHOW"]);
    expect(messages[0]).toMatchObject({
      kind: "NoticeResponse",
      fields: {
        severity: "NOTICE",
        message: "Console usage",
        detail: expect.stringContaining("KILL_CLIENT <client_id>"),
      },
    });
  });
});

describe("the rows", () => {
  test("tell who does what: clients, servers and pools", async () => {
    await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 1 } });
    using busy = await pooled.connect({ parameters: [["application_name", "busy one"]] });
    using waiting = await pooled.connect();
    using idle = await pooled.connect();
    await idle.run("select 1");
    busy.send({ kind: "Query", sql: "select pg_sleep(30)" });
    await untilRunning(place.lab, "pg_sleep(30)");
    waiting.send({ kind: "Query", sql: "select 2" });
    await pooled.untilWaiting(1);
    using console = await openConsole(pooled);

    const clients = await table(console, "show clients");
    expect(clients.map(({ state, database }) => [state, database])).toEqual([
      ["active", "postgres"],
      ["waiting", "postgres"],
      ["idle", "postgres"],
      ["active", "pgbouncer"],
    ]);
    const servers = await table(console, "show servers");
    expect(servers).toMatchObject([
      { type: "S", state: "active", link: clients[0]?.["ptr"], close_needed: "0" },
    ]);
    expect(clients[0]).toMatchObject({
      type: "C",
      user: "postgres",
      replication: "none",
      addr: "127.0.0.1",
      link: servers[0]?.["ptr"],
      application_name: "busy one",
      connect_time: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/),
    });
    const { rows } = await place.lab.primary.query(
      "select pid from pg_stat_activity where query = 'select pg_sleep(30)'",
    );
    expect(servers[0]?.["remote_pid"]).toBe(rows[0]?.[0]);
    // Clients and servers are numbered together.
    const ids = [...clients, ...servers].map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);

    expect(await table(console, "show pools")).toMatchObject([
      {
        database: "postgres",
        user: "postgres",
        cl_active: "2",
        cl_waiting: "1",
        sv_active: "1",
        sv_idle: "0",
        pool_mode: "transaction",
      },
      { database: "pgbouncer", user: "pgbouncer", cl_active: "1", sv_active: "0", pool_mode: "statement" },
    ]);
    expect((await table(console, "show sockets")).map(({ state }) => state)).toEqual([
      ...["cl_active", "cl_waiting", "cl_active", "cl_active", "sv_active"],
    ]);
    await busy.cancel();
  });

  test("tell of every client whose read waits for a server that is to be shared", async () => {
    const settings = { pool_mode: "auto", default_pool_size: 1 };
    await using pooled = await startPooled(place.lab, { settings });
    using console = await openConsole(pooled);
    await waitUntil(async () => {
      using client = await pooled.connect();
      await client.run("select 'brief'");
      return (await table(console, "show multiplex")).some(({ units }) => units !== "0");
    }, "the statement is known to be brief");
    using holder = await pooled.connect();
    await holder.run("begin; create temp table held (a int)");
    using first = await pooled.connect();
    using second = await pooled.connect();
    const answers = [first, second].map((client) => client.value("select 'brief'"));
    await pooled.untilWaiting(2);
    expect(await table(console, "show pools")).toMatchObject([
      { database: "postgres", cl_active: "1", cl_waiting: "2" },
      { database: "pgbouncer" },
    ]);
    expect((await table(console, "show clients")).map(({ state }) => state)).toEqual([
      ...["active", "waiting", "waiting", "active"],
    ]);
    await holder.run("rollback");
    expect(await Promise.all(answers)).toEqual(["brief", "brief"]);
    await pooled.untilWaiting(0);
  });

  test("tell of databases, users, lists and settings", async () => {
    await using pooled = await startPooled(place.lab, {
      settings: { pool_mode: "session", listen_port: 0, query_wait_timeout: 1.5 },
      databases: {
        postgres: { pool_size: 7, pool_mode: "transaction" },
        other: { dbname: "postgres", user: "postgres" },
      },
      users: { someone: { password: "secret", pool_size: 3 } },
    });
    using _ = await pooled.connect();
    using console = await openConsole(pooled);
    const databases = await table(console, "show databases");
    expect(databases.map(({ name }) => name)).toEqual(["other", "postgres", "pgbouncer"]);
    expect(databases[0]).toMatchObject({
      database: "postgres",
      force_user: "postgres",
      pool_mode: null,
      pool_size: "20",
    });
    expect(databases[1]).toMatchObject({
      ...{
        host: "127.0.0.1",
        force_user: null,
        pool_size: "7",
        pool_mode: "transaction",
        paused: "0",
        disabled: "0",
      },
      ...{ current_connections: "1", current_client_connections: "1", server_lifetime: "3600" },
    });
    expect(await table(console, "show users")).toMatchObject([
      { name: "postgres", pool_size: "", current_connections: "1", current_client_connections: "2" },
      { name: "someone", pool_size: "3", pool_mode: null, current_client_connections: "0" },
    ]);
    const lists = Object.fromEntries((await console.run("show lists")).rows);
    expect(lists).toMatchObject({
      databases: "3",
      users: "2",
      used_clients: "2",
      used_servers: "1",
      login_clients: "0",
    });
    const config = (await table(console, "show config")).map(({ key, ...row }) => [key, row] as const);
    expect(new Map(config).get("query_wait_timeout")).toEqual({
      value: "1.5",
      default: "120",
      changeable: "yes",
    });
    expect(new Map(config).get("listen_port")).toEqual({ value: "0", default: "6432", changeable: "no" });
    expect(new Map(config).get("admin_users")).toMatchObject({ value: "postgres" });
    expect(JSON.stringify(config)).not.toContain("secret");
  });

  test("answer what drivers ask for, and pass over what they set", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled, "watcher");
    expect(await table(console, "show standard_conforming_strings")).toEqual([
      { standard_conforming_strings: "on" },
    ]);
    expect(await table(console, "SHOW TimeZone")).toEqual([{ timezone: "GMT" }]);
    const { tags, messages } = await console.run(
      "SET extra_float_digits = 3; set application_name to 'x''y'",
    );
    expect(tags).toEqual(["SET", "SET"]);
    expect(messages[0]).toMatchObject({ kind: "NoticeResponse", fields: { message: "SET ignored" } });
  });
});
