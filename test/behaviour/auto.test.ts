/** Auto mode: for what a client keeps its server and when it lets go of it, BEGIN held back, and SQL's own prepared statements. */
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import {
  type Client,
  closeStatement,
  execute,
  type Outcome,
  type Pooled,
  parse,
  query,
  sync,
} from "./pooled.ts";

const place = useLab();
let pooled: Pooled;

beforeAll(async () => {
  await place.lab.primary.query("create table kept (id serial, a int); create sequence numbers");
  await place.lab.primary.query("select pg_replication_origin_create('far')");
});

beforeEach(async () => {
  pooled = await startPooled(place.lab, {
    settings: { pool_mode: "auto", default_pool_size: 1, pin_notice: true, admin_users: ["postgres"] },
  });
  return async () => {
    await pooled[Symbol.asyncDispose]();
  };
});

afterAll(async () => {
  await place.lab.primary.query(
    "drop table kept; drop sequence numbers; select pg_replication_origin_drop('far')",
  );
});

/** Runs them one after the other, in this client. */
async function runAll(client: Client, ...statements: readonly string[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const sql of statements) {
    const outcome = await client.run(sql);
    if (outcome.error !== undefined) throw new Error(`${sql}: ${outcome.error.message}`);
    outcomes.push(outcome);
  }
  return outcomes;
}

describe("a reservation", () => {
  const reasons: readonly (readonly [reason: string, begins: readonly string[], ends: string | undefined])[] =
    [
      ["temp_object", ["create temp table x (a int)"], "drop table x"],
      ["temp_object", ["select 1 as a into temp x"], "discard temp"],
      ["advisory_lock", ["select pg_advisory_lock(1)"], "select pg_advisory_unlock(1)"],
      ["advisory_lock", ["select pg_try_advisory_lock(1)"], "select pg_advisory_unlock_all()"],
      ["with_hold_cursor", ["begin", "declare c cursor with hold for select 1", "commit"], "close c"],
      ["prepare", ["prepare p as select 'é'"], "deallocate p"],
      ["prepare", ["prepare p as select 1; prepare q as select 2"], "discard all"],
      ["sequence", ["select nextval('numbers')", "select currval('numbers')"], "discard all"],
      ["load", ["load 'plpgsql'"], undefined],
      ["seed", ["select setseed(0.5)"], undefined],
      ["replication_origin", ["select pg_replication_origin_session_setup('far')"], undefined],
      ["backup", ["select pg_backup_start('kept', true)"], undefined],
    ];

  /** Its server has to be closed, but the client need not leave for that. */
  const unresettable: readonly (readonly [reason: string, begins: string, ends: string])[] = [
    [
      "replication_origin",
      "select pg_replication_origin_session_setup('far')",
      "select pg_replication_origin_session_reset()",
    ],
    [
      "replication_origin",
      "select pg_replication_origin_session_setup('far')",
      "do $$ begin perform pg_replication_origin_session_reset(); end $$",
    ],
    [
      "backup",
      "select pg_backup_start('kept', true)",
      "select labelfile <> '' from pg_backup_stop(wait_for_archive => false)",
    ],
  ];

  test.each(unresettable)("%s: %j, until %s", async (_reason, begins, ends) => {
    using holder = await pooled.connect();
    using other = await pooled.connect();
    await runAll(holder, begins);
    const answer = other.value("select 1");
    await pooled.untilWaiting(1);
    await runAll(holder, ends);
    expect(await answer).toBe("1");
    await pooled.untilClosedFor("state that cannot be reset");
    expect(await holder.value("select 1")).toBe("1");
  });

  test("backup: what only parses, may not run or fails does not end it", async () => {
    using holder = await pooled.connect();
    using console = await openConsole(pooled);
    const pid = await holder.backendPid();
    const held = async (): Promise<unknown> =>
      (await table(console, "show reservations"))[0]?.["reservation"];
    const stop = "select * from pg_backup_stop(false)";
    await runAll(holder, "select pg_backup_start('kept', true)", `${stop} where false`);
    holder.send(parse("stop", stop), parse("", stop), parse("plain", "select 1"), ...execute("plain"), sync);
    expect((await holder.outcome()).error).toBeUndefined();
    expect((await holder.run(`${stop}; select 1/0`)).error?.code).toBe("22012");
    await runAll(holder, "select 1");
    expect(await held()).toBe("backup");
    expect(await holder.backendPid()).toBe(pid);
    // In a transaction that starts another one it goes on.
    await runAll(holder, "begin", "select pg_backup_start('again', true)");
    expect(await held()).toBe("backup");
    holder.send(...execute("stop"), sync);
    expect((await holder.outcome()).error).toBeUndefined();
    await runAll(holder, "commit", "select 1");
    expect(await held()).toBeUndefined();
  });

  test.each(reasons)("%s: %j, until %s", async (reason, begins, ends) => {
    const holder = await pooled.connect();
    using other = await pooled.connect();
    const pid = await holder.backendPid();
    await runAll(holder, ...begins);
    const answer = other.backendPid();
    await pooled.untilWaiting(1);
    expect((await holder.raw.until("NoticeResponse")).at(-1)).toMatchObject({
      fields: { message: `server connection is reserved for this client: ${reason}` },
    });
    if (ends === undefined) {
      await holder.close();
      expect(await answer).not.toBe(pid);
      await pooled.untilClosedFor("state that cannot be reset");
      return;
    }
    await runAll(holder, ends);
    expect(await answer).toBe(pid);
    await holder.close();
  });

  test("opaque_setting: what only a superuser may set, until it is reset", async () => {
    await place.lab.primary.query(`create role plain login;
      create function privileged() returns text language sql security definer
      as $$ select set_config('track_functions', 'all', false) $$`);
    using holder = await pooled.connect({ user: "plain" });
    using other = await pooled.connect({ user: "plain" });
    await runAll(holder, "select privileged()");
    const answer = other.value("show track_functions");
    await pooled.untilWaiting(1);
    expect((await holder.raw.until("NoticeResponse")).at(-1)).toMatchObject({
      fields: {
        message: "server connection is reserved for this client: opaque_setting",
        detail: "Because of: select privileged()",
      },
    });
    expect(await holder.value("show track_functions")).toBe("all");
    await runAll(holder, "reset all");
    expect(await answer).toBe("none");
    expect(await holder.value("show track_functions")).toBe("none");
  });

  test("pin_notice: a NOTICE says why, if that is wanted", async () => {
    using client = await pooled.connect();
    client.send(query("create temp table x (a int)"));
    const notice = (await client.raw.until("NoticeResponse")).at(-1);
    expect(notice).toMatchObject({
      fields: {
        severity: "NOTICE",
        message: "server connection is reserved for this client: temp_object",
      },
    });
  });

  test("the console and the NOTICE name the statement, without its literals", async () => {
    using client = await pooled.connect();
    using console = await openConsole(pooled);
    await runAll(client, "begin", "select 'secret', pg_advisory_lock(4711)");
    client.send(query("commit"));
    const statement = "select ?, pg_advisory_lock(?)";
    const fields = { detail: `Because of: ${statement}` };
    expect((await client.raw.until("NoticeResponse")).at(-1)).toMatchObject({ fields });
    expect(await table(console, "show reservations")).toEqual([
      {
        client: expect.stringMatching(/^\d+$/),
        database: "postgres",
        user: "postgres",
        reservation: "advisory_lock",
        seconds: "0",
        statement,
      },
    ]);
    // What comes next is answered behind the ledger.
    await runAll(client, "create temp table x (a int)", "select pg_advisory_unlock_all()", "select 1");
    const [held] = await table(console, "show reservations");
    expect(held).toMatchObject({ reservation: "temp_object", statement: "create temp table x (a int)" });
    await runAll(client, "drop table x", "select 1");
    expect(await table(console, "show reservations")).toEqual([]);
    const counts = await table(console, "show reservation_stats");
    expect(counts).toContainEqual({
      database: "postgres",
      user: "postgres",
      reservation: "temp_object",
      now: "0",
      total: "1",
    });
  });

  test("the console names what is open as well, by which statement, and counts it", async () => {
    using client = await pooled.connect();
    using console = await openConsole(pooled);
    const held = async (): Promise<unknown[]> =>
      (await table(console, "show reservations")).map(({ reservation, statement }) => [
        reservation,
        statement,
      ]);
    const until = (...rows: [string, string][]): Promise<unknown> =>
      waitToSee(held, (seen) => isDeepStrictEqual(seen, rows), `reservations ${JSON.stringify(rows)}`);

    await runAll(client, "begin isolation level serializable /* why */");
    expect(await held()).toEqual([]);
    await runAll(client, "select 1");
    const begin: [string, string] = ["transaction", "begin isolation level serializable"];
    await until(begin);
    client.send(query("copy kept (a) from stdin /* 'x' */"));
    await client.raw.until("CopyInResponse");
    await until(begin, ["copy", "copy kept (a) from stdin"]);
    client.send({ kind: "CopyDone" });
    await client.outcome();
    client.send(parse("rows", "select generate_series(1, 10)"), ...execute("rows").slice(0, 1));
    client.send({ kind: "Execute", portal: "", maxRows: 2 }, { kind: "Flush" });
    await client.raw.until("PortalSuspended");
    await until(begin, ["portal", "select generate_series(?, ?)"]);
    client.send({ kind: "Flush" }, sync);
    await client.outcome();
    await runAll(client, "commit", "select 1");
    await until();

    await runAll(client, "select 'x'; begin; select 2");
    await until(["transaction", "select ?; begin; select ?"]);
    // One that is no beginning is no cause.
    await runAll(client, "begin", "create temp table x (a int)", "commit", "begin read only, deferrable");
    const temporary: [string, string] = ["temp_object", "create temp table x (a int)"];
    await until(temporary, ["transaction", "begin read only deferrable"]);
    await runAll(client, "rollback");
    client.send(parse("", "select 3"), ...execute("", []), { kind: "Flush" });
    await client.raw.until("CommandComplete");
    await until(temporary, ["portal", "select ?"]);
    client.send(sync);
    await client.outcome();
    await runAll(client, "drop table x", "select 1");
    await until();

    const counts = (await table(console, "show reservation_stats")).map(({ reservation, now, total }) =>
      [reservation, now, total].join(" "),
    );
    expect(counts).toEqual(
      expect.arrayContaining(["transaction 0 3", "copy 0 1", "portal 0 2", "temp_object 0 1"]),
    );
  });

  test("COPY to a client that does not read, and a replication connection", async () => {
    using client = await pooled.connect();
    using console = await openConsole(pooled);
    client.raw.stream.pause();
    client.send(parse("out", "copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout"));
    client.send(...execute("out"), sync);
    const held = (): ReturnType<typeof table> => table(console, "show reservations");
    const statement = "copy (select repeat(?, ?) from generate_series(?, ?)) to stdout";
    await waitToSee(
      held,
      ([row]) => row?.["reservation"] === "copy" && row["statement"] === statement,
      "COPY",
    );
    const counts = await table(console, "show reservation_stats");
    expect(counts.find(({ reservation }) => reservation === "copy")).toMatchObject({ now: "1", total: "1" });
    client.destroy();
    const streaming = await pooled.connect({ parameters: [["replication", "true"]] });
    await runAll(streaming, "IDENTIFY_SYSTEM");
    await waitToSee(
      held,
      (rows) => rows.map(({ reservation }) => reservation).join() === "replication",
      "it",
    );
    await streaming.close();
  });

  test("nothing is held for what was rolled back, or goes with its transaction", async () => {
    using client = await pooled.connect();
    using other = await pooled.connect();
    for (const [doing, end] of [
      ["create temp table x (a int)", "rollback"],
      ["create temp table x (a int) on commit drop", "commit"],
      ["declare c cursor with hold for select 1", "rollback"],
      ["listen news", "rollback"],
      ["select pg_advisory_xact_lock(1)", "commit"],
      ["select lo_open(lo_create(0), 131072)", "commit"],
    ] as const) {
      await runAll(client, "begin", doing, end);
      expect(await other.value("select 1")).toBe("1");
    }
  });

  test("a client that leaves with one has its server reset and shared", async () => {
    const pids = new Set<string | null>();
    for (const sql of ["create temp table x (a int)", "listen news", "prepare p as select 1"]) {
      const client = await pooled.connect();
      await runAll(client, sql);
      pids.add(await client.backendPid());
      await client.close();
    }
    expect(pids.size).toBe(1);
  });
});

test("what the ledger could not read keeps the server, whatever it reads later", async () => {
  const { primary } = place.lab;
  await primary.query("create database unreadable");
  await primary.query("create role reader login");
  const direct = await primary.connect("unreadable");
  await direct.query("revoke execute on function pg_my_temp_schema() from public");
  await direct.close();
  using client = await pooled.connect({ user: "reader", database: "unreadable" });
  using other = await pooled.connect({ user: "reader", database: "unreadable" });
  await runAll(client, "create temp table x as select 1 as a", "set work_mem = '5MB'");
  const answer = other.value("select 1");
  await pooled.untilWaiting(1);
  expect(await client.value("select a from x")).toBe("1");
  await client.close();
  expect(await answer).toBe("1");
});

describe("sequences", () => {
  test("a first lastval finds what its own insert took, unless somebody else took one since", async () => {
    using client = await pooled.connect();
    using other = await pooled.connect();
    await runAll(client, "insert into kept (a) values (1)");
    await runAll(other, "insert into kept (a) values (2)");
    const { error } = await client.run("select lastval()");
    expect(error).toMatchObject({ code: "55000", message: "lastval is not yet defined in this session" });
  });

  test("nobody sees another's, and who asks in vain holds nothing", async () => {
    using client = await pooled.connect();
    using other = await pooled.connect();
    await runAll(other, "select nextval('numbers')");
    expect((await client.run("select currval('numbers')")).error?.code).toBe("55000");
    expect(await other.value("select 1")).toBe("1");
    // In a transaction that has begun without a sequence, too.
    await runAll(other, "select nextval('numbers')");
    await runAll(client, "begin", "select 1");
    expect((await client.run("select currval('numbers')")).error?.code).toBe("55000");
    await runAll(client, "rollback");
  });

  test("nor in code that nobody sees, after a hundred units that asked nothing", async () => {
    const { primary } = place.lab;
    await primary.query(
      "create function asked() returns bigint language plpgsql as $$ begin return currval('numbers'); end $$",
    );
    using client = await pooled.connect();
    using other = await pooled.connect();
    client.send(...Array.from({ length: 100 }, () => query("select nextval('numbers')")));
    for (let unit = 0; unit < 100; unit++) expect((await client.outcome()).error).toBeUndefined();
    await runAll(other, "select nextval('numbers')");
    expect((await client.run("select asked()")).error?.code).toBe("55000");
    await primary.query("drop function asked()");
  });

  test("the catalogs are read on a server that is held, and no other is opened for it", async () => {
    await using roomy = await startPooled(place.lab, {
      settings: { pool_mode: "auto", default_pool_size: 5, admin_users: ["postgres"] },
    });
    using console = await openConsole(roomy);
    const states = async (): Promise<unknown[]> =>
      (await table(console, "show servers")).filter(({ type }) => type === "S").map(({ state }) => state);
    using client = await roomy.connect();
    // Nobody knows yet what it does.
    await runAll(client, "select count(*) from kept");
    await waitUntil(async () => (await states()).join() === "idle", "the server is held no more");
    expect(roomy.opened).toBe(1);
  });

  test("what one client asks reserves no server for another", async () => {
    const asking = await pooled.connect();
    await runAll(asking, "insert into kept (a) values (1)", "select lastval()");
    await asking.close();
    using client = await pooled.connect();
    using other = await pooled.connect();
    await runAll(client, "insert into kept (a) values (1)", "select nextval('numbers')");
    expect(await other.value("select 1")).toBe("1");
    expect(await client.value("select lastval() = last_value from numbers")).toBe("t");
  });

  test("who was answered once keeps its server after each use, but not for long if others wait", async () => {
    using client = await pooled.connect();
    using other = await pooled.connect();
    await runAll(client, "insert into kept (a) values (1)", "select lastval()");
    const waiting = other.run("insert into kept (a) values (1)");
    await pooled.untilWaiting(1);
    expect(await client.value("select lastval() = max(id) from kept")).toBe("t");
    expect((await waiting).error).toBeUndefined();
  });

  test("where there are servers enough everybody has its own values", async () => {
    await using roomy = await startPooled(place.lab, {
      settings: { pool_mode: "auto", default_pool_size: 2 },
    });
    using one = await roomy.connect();
    using two = await roomy.connect();
    using reader = await roomy.connect();
    for (const client of [one, two]) await runAll(client, "insert into kept (a) values (1)");
    expect(await reader.value("select 1")).toBe("1");
    const values = [await one.value("select lastval()"), await two.value("select lastval()")];
    expect(Number(values[1]) - Number(values[0])).toBe(1);
  });

  test("a server that is held loosely can be lost, and closed by PAUSE", async () => {
    using client = await pooled.connect();
    const pid = await client.backendPid();
    // Behind the second statement the ledger has answered for the first: until then nobody knows what the client holds.
    await runAll(client, "insert into kept (a) values (1)", "select 1");
    await pooled.losingServer(() => place.lab.primary.query(`select pg_terminate_backend(${pid}, 5000)`));
    await runAll(client, "insert into kept (a) values (1)");
    using console = await pooled.connect({ database: "pgbouncer" });
    await runAll(console, "pause", "resume");
    expect(await client.value("select 1")).toBe("1");
  });
});

describe("BEGIN is held back", () => {
  test("an empty transaction needs no server", async () => {
    using holder = await pooled.connect();
    using client = await pooled.connect();
    await runAll(holder, "begin", "select 1");
    const outcomes = await runAll(
      client,
      "begin",
      "commit",
      "START TRANSACTION isolation level serializable",
      "rollback",
      "begin work;",
      "end",
    );
    expect(outcomes.map(({ tags, status }) => [...tags, status])).toEqual([
      ["BEGIN", "T"],
      ["COMMIT", "I"],
      ["START TRANSACTION", "T"],
      ["ROLLBACK", "I"],
      ["BEGIN", "T"],
      ["COMMIT", "I"],
    ]);
    const extended = await client.ask(
      parse("b", "begin"),
      { kind: "Describe", target: "statement", name: "b" },
      ...execute("b"),
      sync,
    );
    expect(extended.messages.map(({ kind }) => kind)).toEqual([
      ...[
        "ParseComplete",
        "ParameterDescription",
        "NoData",
        "BindComplete",
        "CommandComplete",
        "ReadyForQuery",
      ],
    ]);
    expect((await client.ask(parse("", "commit"), ...execute(""), sync)).status).toBe("I");
    expect((await client.ask(...execute("b"), sync)).status).toBe("T");
  });

  test("and sent with the first statement, whatever that is", async () => {
    using client = await pooled.connect();
    for (const [first, then, value] of [
      ["set transaction isolation level repeatable read", "show transaction_isolation", "repeatable read"],
      ["savepoint a", "select pg_current_xact_id_if_assigned() is null", "t"],
      ["set local statement_timeout = '9s'", "show statement_timeout", "9s"],
      ["lock table kept", "select count(*) > 0 from pg_locks where mode = 'AccessExclusiveLock'", "t"],
    ] as const) {
      await runAll(client, "begin", first);
      expect(await client.value(then)).toBe(value);
      await runAll(client, "rollback");
    }
    await runAll(client, "begin read only");
    expect((await client.run("insert into kept (a) values (1)")).error?.code).toBe("25006");
    expect((await client.run("commit")).tags).toEqual(["ROLLBACK"]);
  });

  test("warnings are the server's", async () => {
    using client = await pooled.connect();
    await runAll(client, "begin");
    const again = await client.run("begin");
    expect(again.messages).toMatchObject([{ kind: "NoticeResponse", fields: { code: "25001" } }, {}, {}]);
    await runAll(client, "commit");
    const none = await client.run("commit");
    expect(none.messages).toMatchObject([{ kind: "NoticeResponse", fields: { code: "25P01" } }, {}, {}]);
  });

  test("a first statement that is cancelled while it waits leaves a failed transaction", async () => {
    using holder = await pooled.connect();
    using client = await pooled.connect();
    await runAll(holder, "begin", "select 1");
    await runAll(client, "begin");
    client.send(query("select 1"));
    await pooled.untilWaiting(1);
    await client.cancel();
    const canceled = await client.outcome();
    expect([canceled.error?.code, canceled.status]).toEqual(["57014", "E"]);
    // No server is needed to end it, and it was not committed.
    const ended = await client.run("commit");
    expect([ended.tags, ended.status]).toEqual([["ROLLBACK"], "I"]);
    await runAll(client, "begin");
    client.send(query("select 1"));
    await pooled.untilWaiting(1);
    await client.cancel();
    expect((await client.outcome()).status).toBe("E");
    await runAll(holder, "commit");
    const next = await client.run("select 1");
    expect([next.error?.code, next.status]).toEqual(["25P02", "E"]);
    expect((await client.run("commit")).tags).toEqual(["ROLLBACK"]);
  });

  test("Describe right behind it tells the columns", async () => {
    using client = await pooled.connect();
    await runAll(client, "begin");
    const described = await client.ask(
      parse("", "select 1 as one"),
      { kind: "Describe", target: "statement", name: "" },
      sync,
    );
    expect(described.messages.map(({ kind }) => kind)).toEqual([
      ...["ParseComplete", "ParameterDescription", "RowDescription", "ReadyForQuery"],
    ]);
    expect(described.status).toBe("T");
  });
});

describe("prepared statements of SQL and of the protocol", () => {
  test("SQL runs and drops what the protocol has prepared, and the other way round", async () => {
    using client = await pooled.connect();
    await client.ask(parse("s1", "select 'by protocol'"), sync);
    expect(await client.value("execute s1")).toBe("by protocol");
    await runAll(client, "prepare p1 as select 'by SQL'");
    expect((await client.ask(...execute("p1"), sync)).rows).toEqual([["by SQL"]]);
    expect((await client.ask(...execute("s1"), sync)).rows).toEqual([["by protocol"]]);
    expect((await client.run("prepare s1 as select 1")).error?.code).toBe("42P05");
    expect((await client.ask(parse("p1", "select 1"), sync)).error?.code).toBe("42P05");
    await runAll(client, "deallocate s1");
    expect((await client.ask(...execute("s1"), sync)).error?.code).toBe("26000");
    expect((await client.ask(closeStatement("p1"), sync)).error).toBeUndefined();
    expect((await client.run("execute p1")).error?.code).toBe("26000");
  });

  test("a client is told of its own statements only, and others get the server without them", async () => {
    using client = await pooled.connect();
    using other = await pooled.connect();
    await other.ask(parse("theirs", "select 1"), ...execute("theirs"), sync);
    await client.ask(parse("mine", "select 2"), sync);
    const list = "select string_agg(name, ',' order by name) from pg_prepared_statements";
    expect(await client.value(list)).toBe("mine");
    expect(await other.value(list)).toBe("theirs");
    expect((await other.ask(...execute("theirs"), sync)).rows).toEqual([["1"]]);
    expect((await other.run("execute mine")).error?.code).toBe("26000");
    expect((await client.ask(...execute("mine"), sync)).rows).toEqual([["2"]]);
    expect((await client.ask(...execute("theirs"), sync)).error?.code).toBe("26000");
  });
});

test("settings, role and user follow the client; RESET returns to what it began with", async () => {
  await place.lab.primary.query("drop role if exists lesser; create role lesser");
  using client = await pooled.connect({ parameters: [["application_name", "mine"]] });
  using other = await pooled.connect();
  await runAll(
    client,
    "set application_name = 'x'",
    "set work_mem = '7MB'",
    "set my.own = 'y'",
    "set role lesser",
  );
  const mine =
    "select concat_ws(' ', current_setting('application_name'), current_setting('work_mem'), current_setting('my.own', true), current_user)";
  expect(await other.value(mine)).not.toContain("7MB");
  expect(await client.value(mine)).toBe("x 7MB y lesser");
  const reset = await client.run("reset application_name");
  expect(reset.messages).toMatchObject([
    { kind: "CommandComplete" },
    { kind: "ParameterStatus", name: "application_name", value: "mine" },
    { kind: "ReadyForQuery" },
  ]);
  await runAll(client, "set session authorization lesser");
  expect(await other.value("select session_user")).toBe("postgres");
  expect(await client.value("select session_user")).toBe("lesser");
  await runAll(client, "reset session authorization", "discard all");
  expect(await client.value(mine)).toMatch(/^mine 4MB  ?postgres$/);
  expect(pooled.opened).toBe(1);
});

test("a write whose trigger leaves nothing behind is not looked at afterwards, until the trigger is another", async () => {
  using client = await pooled.connect();
  await runAll(
    client,
    "create table touched (a int)",
    "create function touch() returns trigger language plpgsql as $$ begin new.a := new.a + 1; return new; end $$",
    "create trigger t before insert on touched for each row execute function touch()",
  );
  const pid = await client.backendPid();
  const insert = "insert into touched values (1)";
  using console = await openConsole(pooled);
  // If the pooler asks for something, that is the last query once the client has no server any more.
  await waitUntil(async () => {
    await client.run(insert);
    await waitUntil(
      async () => (await table(console, "show servers")).every(({ state }) => state === "idle"),
      "the server is given back",
    );
    const { rows } = await place.lab.primary.query(`select query from pg_stat_activity where pid = ${pid}`);
    return rows[0]?.[0] === insert;
  }, "an insert is all that the server gets");
  await runAll(
    client,
    "create or replace function touch() returns trigger language plpgsql as $$ begin perform set_config('a.b', 'x', false); return new; end $$",
    insert,
  );
  using other = await pooled.connect();
  expect(await other.value("select current_setting('a.b', true)")).not.toBe("x");
  expect(await client.value("select current_setting('a.b')")).toBe("x");
  await runAll(client, "drop table touched", "drop function touch");
});
