/**
 * Auto mode, row by row of docs/semantics.md: with one server, which clients take in turns, and with two, which they
 * change between. Rows that are proven elsewhere are in the list of test/unit/docs/semantics.test.ts.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { backends, type Client, execute, Pooled, parse, query, sync } from "./pooled.ts";

const place = useLab();
const poolers = new Map<number, Pooled>();
const sizes = [1, 2];

beforeAll(async () => {
  await place.lab.primary.query(
    "create table plans as select 1 as a; create table locked (a int); create table short_lived (a int); create sequence taken cache 10",
  );
  for (const size of sizes) {
    const settings = { pool_mode: "auto", default_pool_size: size };
    poolers.set(size, await Pooled.start(place.lab, { settings }));
  }
});
afterAll(async () => {
  for (const pooled of poolers.values()) await pooled[Symbol.asyncDispose]();
});

/** The pooler with so many servers; its clients of earlier tests have left. */
async function withServers(size: number): Promise<Pooled> {
  const pooled = poolers.get(size) as Pooled;
  await pooled.untilSessions(0);
  return pooled;
}

test.each(sizes)(
  "now() (%i): begins with the first statement of a transaction, not with its BEGIN",
  async (size) => {
    const pooled = await withServers(size);
    using client = await pooled.connect();
    using other = await pooled.connect();
    await client.run("begin");
    const between = await other.value("select clock_timestamp()");
    expect(await client.value(`select now() > '${between}'`)).toBe("t");
    const now = await client.value("select now()");
    expect(await client.value(`select now() = '${now}' and clock_timestamp() > now()`)).toBe("t");
    await client.run("commit");
    expect(await client.value(`select now() > '${now}'`)).toBe("t");
  },
);

test("inet_client_addr(), inet_client_port(): the pooler's", async () => {
  const pooled = await withServers(1);
  using client = await pooled.connect();
  const address = await client.value("select host(inet_client_addr()) || ':' || inet_client_port()");
  const opened = pooled.log.filter(({ message }) => message === "new connection to server");
  expect(opened.map(({ fields }) => fields["from"])).toContain(address);
});

test("pg_stat_activity: servers, with the application_name of the client that has them, and no idle client", async () => {
  const pooled = await withServers(1);
  using one = await pooled.connect({ parameters: [["application_name", "one"]] });
  using other = await pooled.connect({ parameters: [["application_name", "other"]] });
  const seen = async (name: string): Promise<number> =>
    await backends(place.lab, `application_name = '${name}' and state = 'idle in transaction'`);
  await one.run("begin; select 1");
  expect([await seen("one"), await seen("other")]).toEqual([1, 0]);
  await one.run("commit");
  await other.run("begin; select 1");
  expect([await seen("one"), await seen("other")]).toEqual([0, 1]);
  expect(await backends(place.lab, "application_name = 'one'")).toBe(0);
  await other.run("commit");
});

test.each(sizes)("transaction ids (%i): one transaction has one", async (size) => {
  const pooled = await withServers(size);
  using client = await pooled.connect();
  using other = await pooled.connect();
  await client.run("begin");
  const id = await client.value("select pg_current_xact_id()");
  if (size > 1) expect(await other.value("select pg_current_xact_id()")).not.toBe(id);
  expect(await client.value("select txid_current()")).toBe(id);
  await client.run("commit");
  expect(await other.value(`select pg_xact_status('${id}')`)).toBe("committed");
  expect(await client.value("select pg_current_xact_id()")).not.toBe(id);
});

test.each(sizes)("the pid of a notification (%i): the number that its sender was told", async (size) => {
  const pooled = await withServers(size);
  using listener = await pooled.connect();
  using sender = await pooled.connect();
  await listener.run("listen told");
  await sender.run("notify told, 'from another'");
  const heard = await listener.raw.expect("NotificationResponse");
  expect(heard).toMatchObject({ pid: sender.session.pid, payload: "from another" });
  const { messages } = await listener.run("notify told, 'from itself'");
  const own = messages.find(({ kind }) => kind === "NotificationResponse");
  expect(own).toMatchObject({ pid: listener.session.pid, payload: "from itself" });
});

test("pg_notification_queue_usage(): a part of what there is room for", async () => {
  const pooled = await withServers(1);
  using client = await pooled.connect();
  await client.run("listen full");
  expect(await client.value("select pg_notification_queue_usage() between 0 and 0.01")).toBe("t");
});

test.each(sizes)(
  "isolation levels, READ ONLY, DEFERRABLE (%i): follow the client, whatever says them",
  async (size) => {
    const pooled = await withServers(size);
    const level = (name: string): string =>
      `select current_setting('transaction_isolation') || ',' || current_setting('transaction_read_only') || ',' || current_setting('transaction_deferrable') as ${name}`;
    const strict = "serializable,on,on";
    const usual = "read committed,off,off";
    using client = await pooled.connect();
    using other = await pooled.connect();
    const both = async (own: string): Promise<void> => {
      expect(await client.value(level("own"))).toBe(own);
      // Behind it on the same server, or on the one that the client had before.
      for (let again = 0; again < size; again++) expect(await other.value(level("others"))).toBe(usual);
    };
    await client.run("begin isolation level serializable, read only, deferrable");
    expect(await client.value(level("own"))).toBe(strict);
    await client.run("commit");
    await both(usual);
    await client.run("begin");
    await client.run("set transaction isolation level serializable, read only, deferrable");
    expect(await client.value(level("own"))).toBe(strict);
    await client.run("commit");
    await client.run(
      "set session characteristics as transaction isolation level serializable, read only, deferrable",
    );
    await both(strict);
    await client.run("reset all");
    await both(usual);
    using third = await pooled.connect({
      parameters: [
        ["options", "-c default_transaction_isolation=serializable -c default_transaction_read_only=on"],
      ],
    });
    expect(await third.value(level("third"))).toBe("serializable,on,off");
    await both(usual);
  },
);

test.each(sizes)(
  "statement_timeout, lock_timeout, transaction_timeout (%i): those of the client",
  async (size) => {
    const pooled = await withServers(size);
    using client = await pooled.connect();
    using other = await pooled.connect();
    await client.run("set statement_timeout = '30ms'");
    expect((await client.run("select pg_sleep(60)")).error?.code).toBe("57014");
    expect((await other.run("select pg_sleep(0.05)")).error).toBeUndefined();
    await client.run("reset statement_timeout");
    await client.run("set lock_timeout = '30ms'");
    await using holder = await place.lab.primary.connect();
    await holder.query("begin; lock table locked");
    expect((await client.run("select from locked")).error?.code).toBe("55P03");
    await holder.query("commit");
    expect(await other.value("show lock_timeout")).toBe("0");
    await client.run("set transaction_timeout = '30ms'");
    await client.run("begin; select 1");
    expect((await client.raw.expect("ErrorResponse")).fields).toMatchObject({
      severity: "FATAL",
      code: "25P04",
    });
    expect(await other.value("show transaction_timeout")).toBe("0");
  },
);

test.each(sizes)("idle_in_transaction_session_timeout (%i): that of the client", async (size) => {
  const pooled = await withServers(size);
  using client = await pooled.connect();
  using other = await pooled.connect();
  await client.run("set idle_in_transaction_session_timeout = '50ms'");
  expect((await client.run("begin; select 1")).status).toBe("T");
  const { fields } = await client.raw.expect("ErrorResponse");
  expect(fields).toMatchObject({ severity: "FATAL", code: "25P03" });
  expect(await other.value("show idle_in_transaction_session_timeout")).toBe("0");
});

test.each(sizes)("idle_session_timeout (%i): also where a server is reserved", async (size) => {
  const pooled = await withServers(size);
  using client = await pooled.connect();
  using other = await pooled.connect();
  await client.run("set idle_session_timeout = '300ms'");
  await client.run("select pg_advisory_lock(77)");
  const { fields } = await client.raw.expect("ErrorResponse");
  expect(fields).toMatchObject({ severity: "FATAL", code: "57P05" });
  expect(await other.value("show idle_session_timeout")).toBe("0");
});

test.each(sizes)("parameters that nobody has declared (%i): nobody has another's value", async (size) => {
  const pooled = await withServers(size);
  using client = await pooled.connect();
  using other = await pooled.connect();
  await client.run("set undeclared.name = 'of one'");
  for (let again = 0; again < 3; again++) {
    expect(["", null]).toContain(await other.value("select current_setting('undeclared.name', true)"));
    expect(await client.value("select current_setting('undeclared.name', true)")).toBe("of one");
  }
  await client.run("reset undeclared.name");
  expect(["", null]).toContain(await client.value("select current_setting('undeclared.name', true)"));
});

test.each(sizes)(
  "pg_settings.source (%i): session for what the client has set, and no value but its own",
  async (size) => {
    const pooled = await withServers(size);
    using client = await pooled.connect();
    using other = await pooled.connect();
    const found = "select setting || ' ' || source from pg_settings where name = 'work_mem'";
    await client.run("set work_mem = '5MB'");
    for (let again = 0; again < 3; again++) {
      expect(await client.value(found)).toBe("5120 session");
      expect(await other.value(found)).toMatch(/^4096 (?:default|session)$/);
    }
  },
);

test("a setting that cannot be made any more ends its client, and nobody else", async () => {
  const { primary } = place.lab;
  await primary.query("create role short_lived; create text search configuration own (copy = simple)");
  const pooled = await withServers(1);
  using acting = await pooled.connect();
  using searching = await pooled.connect();
  using other = await pooled.connect();
  await acting.run("set role short_lived");
  await searching.run("set default_text_search_config = 'own'");
  expect(
    await other.value("select current_user::text || current_setting('default_text_search_config')"),
  ).toBe("postgrespg_catalog.english");
  await primary.query("drop role short_lived; drop text search configuration own");
  for (const [client, refusal] of [
    [acting, 'role "short_lived" does not exist'],
    [searching, 'invalid value for parameter "default_text_search_config": "public.own"'],
  ] as const) {
    client.send(query("select 1"));
    expect((await client.raw.expect("ErrorResponse")).fields).toMatchObject({
      severity: "FATAL",
      code: "08P01",
      message: "invalid server parameter",
      detail: `The server did not take over a setting of this client: ${refusal}.`,
    });
    expect(await other.value("select current_user")).toBe("postgres");
  }
});

test("what is made beside the pooler: what it hides is seen when PostgreSQL has counted that it was made", async () => {
  const { primary } = place.lab;
  await primary.query("create table plain_at_first (a int)");
  const pooled = await withServers(1);
  using client = await pooled.connect();
  using other = await pooled.connect();
  const insert = "insert into plain_at_first values (1)";
  await client.run(insert);
  await primary.query(
    "create function sets() returns trigger language plpgsql as $$ begin set work_mem = '9MB'; return new; end $$; " +
      "create trigger sets before insert on plain_at_first for each row execute function sets()",
  );
  await waitUntil(async () => {
    await client.run(insert);
    return (await client.value("show work_mem")) === "9MB" && (await other.value("show work_mem")) === "4MB";
  }, "the setting is the client's own");
  await primary.query("drop table plain_at_first; drop function sets");
});

test.each(sizes)("SQL's PREPARE (%i): each client has its own, wherever it runs", async (size) => {
  const pooled = await withServers(size);
  const clients = [await pooled.connect(), await pooled.connect(), await pooled.connect()];
  for (const [index, client] of clients.entries()) await client.run(`prepare p as select 'of ${index}'`);
  for (let round = 0; round < 2; round++) {
    for (const [index, client] of clients.entries())
      expect(await client.value("execute p")).toBe(`of ${index}`);
  }
  const [first, second] = clients;
  await first?.run("deallocate p");
  expect((await first?.run("execute p"))?.error?.code).toBe("26000");
  expect(await second?.value("execute p")).toBe("of 1");
  for (const client of clients) client.destroy();
});

test.each(sizes)(
  "cached plan must not change result type (%i): unseen, but for a transaction that has seen both",
  async (size) => {
    const pooled = await withServers(size);
    using client = await pooled.connect();
    using other = await pooled.connect();
    const columns = async (): Promise<number | undefined> =>
      (await client.ask(...execute("s"), sync)).rows[0]?.length;
    await client.ask(parse("s", "select * from plans"), sync);
    const before = (await columns()) ?? 0;
    await other.run(`alter table plans add one_${size} int`);
    expect(await columns()).toBe(before + 1);
    await client.run("begin");
    expect(await columns()).toBe(before + 1);
    await client.run(`alter table plans add two_${size} int`);
    const { error, status } = await client.ask(...execute("s"), sync);
    expect(error).toMatchObject({ code: "0A000", message: "cached plan must not change result type" });
    expect(status).toBe("E");
    await client.run("rollback");
    expect(await columns()).toBe(before + 1);
  },
);

test.each(sizes)(
  "cached plan must not change result type (%i): unseen by who has prepared in SQL as well",
  async (size) => {
    const pooled = await withServers(size);
    using client = await pooled.connect();
    using other = await pooled.connect();
    const columns = async (): Promise<number | undefined> =>
      (await client.ask(...execute("s"), sync)).rows[0]?.length;
    await client.run("prepare p as select 'mine'");
    await client.ask(parse("s", "select * from plans"), sync);
    expect(await client.value("execute p")).toBe("mine");
    const before = (await columns()) ?? 0;
    expect(before).toBeGreaterThan(0);
    for (let change = 1; change <= 3; change++) {
      await other.run(`alter table plans add sql_${size}_${change} int`);
      expect(await columns()).toBe(before + change);
      expect(await client.value("execute p")).toBe("mine");
    }
    await client.run("deallocate s");
    expect((await client.ask(...execute("s"), sync)).error).toMatchObject({ code: "26000" });
  },
);

test("cached plan must not change result type: unseen by who has described it, between units of others", async () => {
  await using pooled = await startPooled(place.lab, {
    settings: { pool_mode: "auto", default_pool_size: 1 },
  });
  using console = await openConsole(pooled);
  const units = async (): Promise<number> =>
    Number((await table(console, "show multiplex"))[0]?.["units"] ?? 0);
  const described: FrontendMessage = { kind: "Describe", target: "statement", name: "s" };
  const asked = async (client: Client): Promise<string[]> =>
    (await client.ask(described, ...execute("s"), sync)).messages.map(({ kind }) => kind);
  await waitToSee(
    async () => {
      const before = await units();
      using other = await pooled.connect();
      await other.ask(parse("s", "select a from plans where true"), sync);
      await asked(other);
      return (await units()) - before;
    },
    (shared) => shared > 0,
    "the statement shares the server",
  );
  using client = await pooled.connect();
  await client.ask(parse("s", "select a from plans where true"), sync);
  const answer = await asked(client);
  expect(answer.slice(0, 3)).toEqual(["ParameterDescription", "RowDescription", "BindComplete"]);
  const before = await units();
  await place.lab.primary.query("alter table plans alter a type bigint");
  expect(await asked(client)).toEqual(answer);
  expect(await units()).toBe(before + 1);
});

test("a Parse of a text that the server has already: who uses what is gone is told so, then or at the Bind", async () => {
  const pooled = await withServers(1);
  using client = await pooled.connect();
  using other = await pooled.connect();
  const text = "select a from short_lived";
  for (const one of [other, client]) await one.ask(parse("s", text), ...execute("s"), sync);
  await place.lab.primary.query("drop table short_lived");
  const closes: FrontendMessage = { kind: "Close", target: "statement", name: "s" };
  const { error, messages } = await client.ask(closes, parse("s", text), ...execute("s"), sync);
  expect(error?.code).toBe("42P01");
  expect(messages.filter(({ kind }) => kind === "DataRow" || kind === "BindComplete")).toEqual([]);
});

test("SQL that names what cannot be parsed any more: what is told otherwise than by PostgreSQL alone", async () => {
  const pooled = await withServers(1);
  using client = await pooled.connect();
  using other = await pooled.connect();
  await other.run("prepare q as select 1");
  await client.run("create table going (a int)");
  await client.ask(parse("s", "select a from going where a = $1::int"), sync);
  await client.run("drop table going");
  const codeOf = async (sql: string): Promise<string | undefined> => {
    await other.run("execute q");
    return (await client.ask({ kind: "Query", sql })).error?.code;
  };
  expect(await codeOf("execute s(1)")).toBe("42P01");
  expect(await codeOf("execute s(1, 2)")).toBe("42P01");
  expect(await codeOf("do $$ begin execute 'execute s(1)'; end $$; execute s(1)")).toBe("26000");
  expect(await codeOf("deallocate s")).toBe("26000");
  expect(await codeOf("execute s(1)")).toBe("42P01");
  await other.run("execute q");
  const describes: FrontendMessage = { kind: "Describe", target: "statement", name: "" };
  const { messages } = await client.ask(parse("", "execute s(1)"), describes, sync);
  expect(messages.map(({ kind }) => kind)).toContain("NoData");
  expect(await codeOf("prepare s as select 2")).toBeUndefined();
});

test("the name of a prepared statement in an error: one of the client's own for that text", async () => {
  const pooled = await withServers(1);
  using client = await pooled.connect();
  for (const name of ["s1", "s2"]) await client.ask(parse(name, "select $1::int + 1"), sync);
  client.send(...execute("s2"), sync, ...execute("s1", ["1"]), sync);
  const { message } = (await client.outcome()).error ?? {};
  expect(message).toMatch(/^bind message supplies 0 parameters, but prepared statement "s[12]" requires 1$/);
  expect((await client.outcome()).rows).toEqual([["2"]]);
});

test("SET temp_buffers: reserves the server, and is refused where another client has used a temporary table", async () => {
  await using pooled = await startPooled(place.lab, {
    settings: { pool_mode: "auto", default_pool_size: 1 },
  });
  using client = await pooled.connect();
  using other = await pooled.connect();
  await client.run("set temp_buffers = '2MB'");
  const waiting = other.run("create temp table used as select 1; drop table used");
  await pooled.untilWaiting(1);
  expect(await client.value("show temp_buffers")).toBe("2MB");
  await client.run("reset temp_buffers");
  expect((await waiting).error).toBeUndefined();
  expect((await client.run("set temp_buffers = '2MB'")).error?.code).toBe("22023");
  expect(await client.value("show temp_buffers")).toBe("8MB");
});

test("event triggers ON login: run when a server is opened", async () => {
  const { primary } = place.lab;
  await primary.query("create database counting");
  await primary.query(
    `create table logins (a int);
    create function counts() returns event_trigger language plpgsql as $$ begin insert into logins values (1); end $$;
    create event trigger counts on login execute function counts()`,
    "counting",
  );
  const pooled = await withServers(1);
  using one = await pooled.connect({ database: "counting" });
  using other = await pooled.connect({ database: "counting" });
  for (const client of [one, other]) expect(await client.value("select count(*) from logins")).toBe("1");
});

test("names that PostgreSQL makes up for cursors: count on from those of other clients", async () => {
  const pooled = await withServers(1);
  using client = await pooled.connect();
  using other = await pooled.connect();
  await client.run(
    "create function opens() returns refcursor language plpgsql as $$ declare c refcursor; begin open c for select 1; return c; end $$",
  );
  const number = async (of: Client): Promise<number> =>
    Number(/^<unnamed portal (\d+)>$/.exec((await of.value("select opens()")) ?? "")?.[1]);
  const first = await number(client);
  expect(await number(other)).toBe(first + 1);
});

test.each(["select setseed(0.5)", "set seed = 0.5"])(
  "setseed(), SET seed (%s): reserve the server",
  async (sql) => {
    const pooled = await withServers(1);
    using client = await pooled.connect();
    using other = await pooled.connect();
    await client.run(sql);
    const waiting = other.value("select random() is not null");
    await pooled.untilWaiting(1);
    const first = await client.value("select random()");
    await client.run(sql);
    expect(await client.value("select random()")).toBe(first);
    await client.close();
    expect(await waiting).toBe("t");
  },
);

test("numbers of a sequence with CACHE: from the client's own server while it holds it", async () => {
  const pooled = await withServers(2);
  using one = await pooled.connect();
  using other = await pooled.connect();
  const take = (client: typeof one): Promise<string | null> => client.value("select nextval('taken')");
  expect(await take(one)).toBe("1");
  await one.value("select currval('taken')");
  expect(await take(other)).toBe("11");
  expect([await take(one), await take(other), await take(one)]).toEqual(["2", "12", "3"]);
});

test("LOAD in DO: the library stays in the server, the settings that it was given do not", async () => {
  const pooled = await withServers(1);
  using client = await pooled.connect();
  using other = await pooled.connect();
  await client.run("do $$ begin load 'plpgsql'; set plpgsql.extra_warnings = 'all'; end $$");
  for (let again = 0; again < 2; again++) {
    expect(await other.value("show plpgsql.extra_warnings")).toBe("none");
    expect(await client.value("show plpgsql.extra_warnings")).toBe("all");
  }
});
