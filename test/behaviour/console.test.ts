/** The console as a place: who is let in, what it speaks, and what it does with what it does not understand. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import fc from "fast-check";
import pg from "pg";
import postgres from "postgres";
import { describe, expect, test } from "vitest";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { rawClient } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { execute, parse, sync } from "./pooled.ts";

const place = useLab();
const administratorCommands = [
  ...["pause", "resume", "disable postgres", "enable postgres", "reconnect", "kill", "kill_client 1"],
  ...["wait_close", "reload", "shutdown", "set pool_mode = session"],
];
const describeStatement: FrontendMessage = { kind: "Describe", target: "statement", name: "" };

describe("who is let in", () => {
  test.each(["pgbouncer", "pgsluice"])("administrators and watchers, to %s", async (database) => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled, "postgres", database);
    expect([...console.session.parameters]).toEqual([
      ["server_version", expect.stringMatching(/^\d+\.\d+\.\d+\/bouncer$/)],
      ["client_encoding", "UTF8"],
      ["server_encoding", "UTF8"],
      ["DateStyle", "ISO"],
      ["TimeZone", "GMT"],
      ["standard_conforming_strings", "on"],
      ["is_superuser", "on"],
    ]);
    using watcher = await openConsole(pooled, "watcher", database);
    expect((await watcher.run("show version")).tags).toEqual(["SHOW"]);
    await expect(openConsole(pooled, "stranger", database)).rejects.toThrow("FATAL 42501: not allowed");
    // No server was needed for any of it.
    expect(pooled.opened).toBe(0);
  });

  test("admin_users: with the password that every login needs", async () => {
    await using pooled = await startPooled(place.lab, {
      settings: { auth_type: "scram-sha-256" },
      users: { postgres: { password: "right" }, stranger: { password: "right" } },
    });
    const login = (user: string, password: string): Promise<unknown> =>
      pooled.connect({ user, password, database: "pgbouncer" });
    await expect(login("postgres", "wrong")).rejects.toThrow("28P01");
    // Who cannot log in does not learn who may.
    await expect(login("stranger", "wrong")).rejects.toThrow("28P01");
    await expect(login("stranger", "right")).rejects.toThrow("not allowed");
    await login("postgres", "right");
  });

  test("stats_users look, and change nothing (CVE-2026-6667: nor may they send others away)", async () => {
    await using pooled = await startPooled(place.lab);
    using client = await pooled.connect();
    await client.run("select 1");
    using console = await openConsole(pooled);
    using watcher = await openConsole(pooled, "watcher");
    const [{ id } = {}] = await table(watcher, "show clients");
    for (const command of [...administratorCommands, `kill_client ${id}`]) {
      expect((await watcher.run(command)).error).toMatchObject({
        code: "42501",
        message: "admin access needed",
      });
    }
    watcher.send(parse("", `kill_client ${id}`), ...execute(""), sync);
    expect((await watcher.outcome()).error?.message).toBe("admin access needed");
    expect(await client.value("select 'still here'")).toBe("still here");
    expect(await table(console, "show state")).toContainEqual({ key: "active", value: "yes" });
    expect((await watcher.run("show stats")).tags).toEqual(["SHOW"]);
  });

  test("also where every place is taken", async () => {
    await using pooled = await startPooled(place.lab, {
      settings: { max_client_conn: 1, superuser_reserved_connections: 0 },
    });
    using _ = await pooled.connect({ user: "postgres" });
    await expect(pooled.connect({ user: "postgres" })).rejects.toThrow("53300");
    using one = await openConsole(pooled);
    using two = await openConsole(pooled, "watcher");
    expect(await table(one, "show clients")).toHaveLength(3);
    expect((await two.run("show pools")).tags).toEqual(["SHOW"]);
    // Nor does it help to keep the places of those who log in.
    using _first = await rawClient(pooled.place);
    using _second = await rawClient(pooled.place);
    await waitUntil(() => pooled.pooler.counts.logins === 2, "two connections say nothing");
    await expect(pooled.connect({ user: "postgres" })).rejects.toThrow("53300");
    using three = await openConsole(pooled);
    expect((await table(three, "show lists")).find(({ list }) => list === "login_clients")).toMatchObject({
      items: "2",
    });
  });
});

describe("the simple protocol", () => {
  test("several statements, up to the first that fails", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    const { tags, error, rows, status } = await console.run(
      'show version; show "state"; nonsense; show pools',
    );
    expect(tags).toEqual(["SHOW", "SHOW"]);
    expect(rows).toHaveLength(4);
    expect(error?.message).toBe("invalid command 'nonsense', use SHOW HELP;");
    expect(status).toBe("I");
    expect((await console.run(" ; ")).messages).toMatchObject([
      { kind: "EmptyQueryResponse" },
      { kind: "ReadyForQuery" },
    ]);
  });

  test.each([
    ["suspend", "invalid command 'suspend', use SHOW HELP;"],
    ["pause nowhere", "no such database: nowhere"],
    ["pause pgbouncer", "cannot pause admin db: pgbouncer"],
    ["kill pgsluice", "cannot kill admin db: pgsluice"],
    ["disable pgbouncer", "cannot disable admin db: pgbouncer"],
    ["enable pgbouncer", "cannot enable admin db: pgbouncer"],
    ["reconnect pgbouncer", "cannot reconnect admin db: pgbouncer"],
    ["wait_close pgbouncer", "cannot wait in admin db: pgbouncer"],
    ["reload now", "invalid command 'reload now', use SHOW HELP;"],
    [`pause ${"x".repeat(64)}`, "bad arguments"],
    ["pause 'postgres'", "invalid command 'pause 'postgres'', use SHOW HELP;"],
    ["select 1 + 1", "invalid command 'select 1 + 1', use SHOW HELP;"],
  ])("%s", async (sql, message) => {
    await using pooled = await startPooled(place.lab, { databases: { postgres: {} } });
    using console = await openConsole(pooled);
    expect(await console.run(sql)).toMatchObject({ error: { severity: "ERROR", message }, status: "I" });
  });

  test("with PgBouncer's SQLSTATE if that is asked for", async () => {
    await using pooled = await startPooled(place.lab, { settings: { sqlstate_compat: "pgbouncer" } });
    using console = await openConsole(pooled);
    expect((await console.run("nonsense")).error).toMatchObject({ code: "08P01" });
  });
});

describe("the extended protocol", () => {
  test("Parse, Describe, Bind, Execute in one batch, as JDBC sends them", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    console.send(
      parse("", "SHOW LISTS"),
      { kind: "Bind", portal: "", statement: "", formats: [], values: [], resultFormats: [] },
      { kind: "Describe", target: "portal", name: "" },
      { kind: "Execute", portal: "", maxRows: 0 },
      sync,
    );
    const { messages, rows, tags } = await console.outcome();
    expect(messages.slice(0, 3).map(({ kind }) => kind)).toEqual([
      "ParseComplete",
      "BindComplete",
      "RowDescription",
    ]);
    expect(rows).toHaveLength(14);
    expect(tags).toEqual(["SHOW"]);
    console.send(
      parse("named", "show version;"),
      { kind: "Describe", target: "statement", name: "named" },
      sync,
    );
    expect((await console.outcome()).messages).toMatchObject([
      { kind: "ParseComplete" },
      { kind: "ParameterDescription", types: [] },
      { kind: "RowDescription", columns: [{ name: "version", typeOid: 25 }] },
      { kind: "ReadyForQuery" },
    ]);
    console.send(parse("", "SET extra_float_digits = 3"), describeStatement, ...execute(""), sync);
    expect((await console.outcome()).messages.map(({ kind }) => kind)).toEqual([
      ...[
        "ParseComplete",
        "ParameterDescription",
        "NoData",
        "BindComplete",
        "NoticeResponse",
        "CommandComplete",
      ],
      "ReadyForQuery",
    ]);
    console.send(...execute("named"), sync);
    expect((await console.outcome()).rows).toHaveLength(1);
  });

  test("rows in portions, and in binary", async () => {
    await using pooled = await startPooled(place.lab);
    using client = await pooled.connect();
    await client.run("select 1");
    using console = await openConsole(pooled);
    const fetch: FrontendMessage = { kind: "Execute", portal: "p", maxRows: 2 };
    const bind: FrontendMessage = {
      kind: "Bind",
      portal: "p",
      statement: "",
      formats: [],
      values: [],
      resultFormats: [1],
    };
    console.send(parse("", "show state"), bind, fetch, fetch, sync);
    const { messages, rows } = await console.outcome();
    expect(messages.map(({ kind }) => kind)).toEqual([
      ...[
        "ParseComplete",
        "BindComplete",
        "DataRow",
        "DataRow",
        "PortalSuspended",
        "DataRow",
        "CommandComplete",
      ],
      "ReadyForQuery",
    ]);
    expect(rows[0]).toEqual(["active", "yes"]);
    console.send(parse("", "show stats_totals"), bind, { kind: "Execute", portal: "p", maxRows: 0 }, sync);
    const [, counted] = (await console.outcome()).messages.filter(({ kind }) => kind === "DataRow");
    const values = counted?.kind === "DataRow" ? counted.values : [];
    // numeric 1 and 0, as numeric_send writes them.
    expect(values[2]).toEqual(Buffer.from([0, 1, 0, 0, 0, 0, 0, 0, 0, 1]));
    expect(values[9]).toEqual(Buffer.from([0, 0, 0, 0, 0, 0, 0, 0]));
    console.send(parse("", "show lists"), bind, { kind: "Execute", portal: "p", maxRows: 0 }, sync);
    const first = (await console.outcome()).messages.find(({ kind }) => kind === "DataRow");
    expect(first?.kind === "DataRow" ? first.values[1] : undefined).toHaveLength(4);
  });

  test("after an error all is skipped to the Sync, and PostgreSQL's SQLSTATEs say why", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    const one: FrontendMessage = {
      ...{ kind: "Bind", portal: "", statement: "", formats: [], resultFormats: [] },
      values: [Buffer.from("1")],
    };
    for (const [code, messages] of [
      ["42601", [parse("", "nonsense"), ...execute("")]],
      ["42601", [parse("", "show version; show state")]],
      ["26000", execute("missing")],
      ["34000", [{ kind: "Execute", portal: "missing", maxRows: 0 }]],
      ["08P01", [parse("", "show version"), one]],
      ["42P05", [parse("twice", "show version"), parse("twice", "show version")]],
      ["55000", [parse("", "resume"), ...execute("")]],
    ] as const) {
      console.send(...messages, parse("", "show version"), sync);
      const outcome = await console.outcome();
      expect(outcome.error).toMatchObject({ severity: "ERROR", code });
      expect(outcome.messages.slice(-2).map(({ kind }) => kind)).toEqual(["ErrorResponse", "ReadyForQuery"]);
    }
    console.send({ kind: "Close", target: "statement", name: "twice" }, parse("", ""), ...execute(""), sync);
    expect((await console.outcome()).messages.map(({ kind }) => kind)).toEqual([
      ...["CloseComplete", "ParseComplete", "BindComplete", "EmptyQueryResponse", "ReadyForQuery"],
    ]);
  });
});

describe("clients in use", () => {
  test("psql", async () => {
    if (!existsSync("/usr/bin/psql")) throw new Error("psql is not installed");
    await using pooled = await startPooled(place.lab);
    const { host, port } = pooled.pooler.address;
    const psql = async (...more: string[]): Promise<string> => {
      const argv = ["-X", "-At", "-h", host, "-p", String(port), "-U", "postgres", "pgbouncer", ...more];
      return (await promisify(execFile)("psql", argv)).stdout;
    };
    expect(await psql("-c", "show state")).toBe("active|yes\npaused|no\nsuspended|no\n");
    expect(await psql("-c", "pause", "-c", "resume")).toBe("PAUSE\nRESUME\n");
  });

  test("pg, in both protocols", async () => {
    await using pooled = await startPooled(place.lab);
    const client = new pg.Client({
      ...pooled.pooler.address,
      user: "postgres",
      database: "pgbouncer",
      password: "x",
    });
    await client.connect();
    expect((await client.query("show state")).rows[0]).toEqual({ key: "active", value: "yes" });
    expect((await client.query({ text: "show lists", values: [], name: "lists" })).rows[1]).toMatchObject({
      list: "users",
      items: 1,
    });
    expect((await client.query({ text: "show lists", name: "lists", rowMode: "array" })).rows).toHaveLength(
      14,
    );
    await expect(client.query("nonsense")).rejects.toThrow("invalid command");
    await client.end();
  });

  test("postgres.js, in both protocols", async () => {
    await using pooled = await startPooled(place.lab);
    const sql = postgres({
      ...pooled.pooler.address,
      user: "postgres",
      database: "pgbouncer",
      max: 1,
      fetch_types: false,
    });
    expect(await sql`show state`).toMatchObject([{ key: "active" }, { key: "paused" }, { key: "suspended" }]);
    expect(await sql`show stats`).toHaveLength(1);
    expect(await sql.unsafe("show version; show lists")).toMatchObject([
      [{ version: expect.any(String) }],
      { length: 14 },
    ]);
    await expect(sql`nonsense`).rejects.toThrow("invalid command");
    await sql.end();
  });
});

describe("hostile input", () => {
  test("any text is answered, and the console goes on", async () => {
    await using pooled = await startPooled(place.lab);
    using watcher = await openConsole(pooled, "watcher");
    const texts = fc.oneof(
      fc.string({ unit: "binary" }),
      fc
        .array(fc.constantFrom("show", "set", "=", "'", '"', ";", "pools", "to", " ", "''", "kill", "\n"))
        .map((words) => words.join(" ")),
    );
    await fc.assert(
      fc.asyncProperty(texts, async (text) => {
        const { status } = await watcher.run(text.replaceAll("\0", ""));
        expect(status).toBe("I");
      }),
      { numRuns: 300 },
    );
    expect((await watcher.run("show version")).tags).toEqual(["SHOW"]);
  });

  test("quotes in great number are read in no time", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    for (const text of ['"', '""', "'", "''", ";", " ", "set a = '", 'show "']) {
      const { status } = await console.run(text.repeat(Math.floor(60_000 / text.length)));
      expect(status).toBe("I");
    }
  });

  test("a message that is too long ends the session, and nobody else's", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    using other = await openConsole(pooled);
    console.send({ kind: "Query", sql: "x".repeat(70_000) });
    expect(await console.raw.rest()).toMatchObject([{ fields: { severity: "FATAL", code: "08P01" } }]);
    expect((await other.run("show version")).tags).toEqual(["SHOW"]);
  });

  test("a message of no known type ends the session", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    console.send(Buffer.from([0x01, 0, 0, 0, 4]));
    expect(await console.raw.rest()).toMatchObject([{ fields: { severity: "FATAL", code: "08P01" } }]);
  });

  test("what comes behind a command that waits is kept in bounds, and handled in turn", async () => {
    await using pooled = await startPooled(place.lab);
    using client = await pooled.connect();
    await client.run("begin");
    using console = await openConsole(pooled);
    console.send(
      { kind: "Query", sql: "pause" },
      { kind: "Query", sql: "resume" },
      { kind: "Query", sql: "show state" },
    );
    await client.run("commit");
    expect((await console.outcome()).tags).toEqual(["PAUSE"]);
    expect((await console.outcome()).tags).toEqual(["RESUME"]);
    expect((await console.outcome()).rows).toContainEqual(["active", "yes"]);
  });

  test("a client that leaves in the middle of everything leaves nothing behind", async () => {
    await using pooled = await startPooled(place.lab);
    using client = await pooled.connect();
    await client.run("begin");
    for (const sql of ["wait_close", "show clients", "pause", "nonsense"]) {
      const console = await openConsole(pooled);
      console.send({ kind: "Query", sql });
      console.destroy();
    }
    using raw = await rawClient(pooled.place);
    raw.sendStartup({ database: "pgbouncer" });
    raw.destroy();
    using last = await openConsole(pooled);
    await last.run("resume");
    expect(await client.value("select 1")).toBe("1");
  });
});
