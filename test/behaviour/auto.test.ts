/** Auto mode: what the ledger could not read, sequences, BEGIN held back, and SQL's own prepared statements. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { closeStatement, execute, type Pooled, parse, query, runAll, sync } from "./pooled.ts";

const place = useLab();
let pooled: Pooled;

beforeAll(async () => {
  await place.lab.primary.query("create table kept (id serial, a int); create sequence numbers");
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
  await place.lab.primary.query("drop table kept; drop sequence numbers");
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
