/** What clients may do, and for how long: counts of a database and a user, times of a user, and what is said at the login. */
import { beforeAll, describe, expect, test } from "vitest";
import { VirtualClock } from "../../src/base/clock.ts";
import { useLab } from "../kit/lab.ts";
import { type RawClient, rawClient } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { fatal, startPooler, type TestConfig, type TestPooler, value } from "./login-pooler.ts";

const place = useLab();
beforeAll(async () => {
  const client = await rawClient(place.lab.primary.port);
  await client.startup();
  await client.rows("create role ada login");
  await client.rows("create role chief login");
  await client.close();
});

function limited(settings: TestConfig["settings"], more: Partial<TestConfig> = {}): TestConfig {
  return {
    node: place.lab.primary,
    settings: { pool_mode: "transaction", admin_users: ["chief"], ...settings },
    databases: { a: { dbname: "postgres" }, b: { dbname: "postgres" } },
    ...more,
  };
}

async function timed(
  config: TestConfig,
): Promise<{ pooler: TestPooler; clock: VirtualClock } & AsyncDisposable> {
  const clock = new VirtualClock();
  // At 0 nothing has begun.
  clock.advance(1000);
  const pooler = await startPooler(config, clock);
  return { pooler, clock, [Symbol.asyncDispose]: () => pooler[Symbol.asyncDispose]() };
}

async function logged(pooler: TestPooler, database: string, user = "postgres"): Promise<RawClient> {
  return (await pooler.login({ database, user })).client;
}

/** Cells of a SHOW, by the first column. */
async function shown(pooler: TestPooler, what: string, ...columns: number[]): Promise<object> {
  const client = await logged(pooler, "pgbouncer", "chief");
  const rows = await client.rows(`show ${what}`);
  await client.close();
  return Object.fromEntries(rows.map((row) => [row[0], columns.map((column) => row[column])]));
}

function leave(...clients: RawClient[]): void {
  for (const client of clients) client.destroy();
}

describe("counts", () => {
  test("max_db_client_connections, also of its own", async () => {
    const databases = { a: { dbname: "postgres" }, b: { dbname: "postgres", max_db_client_connections: 2 } };
    await using pooler = await startPooler(limited({ max_db_client_connections: 1 }, { databases }));
    const clients = [await logged(pooler, "a"), await logged(pooler, "b"), await logged(pooler, "b", "ada")];
    const refused = {
      severity: "FATAL",
      code: "53300",
      message: "client connections exceeded (max_db_client_connections)",
    };
    for (const database of ["a", "b"])
      expect(await pooler.refusal({ database, user: "postgres" })).toEqual(refused);
    expect(await shown(pooler, "databases", 13, 14)).toMatchObject({ a: ["1", "1"], b: ["2", "2"] });
    await clients[0]?.close();
    await waitUntil(() => pooler.pooler.counts.sessions === 2, "one has left");
    leave(...clients, await logged(pooler, "a"));
  });

  test("max_user_client_connections, also of its own", async () => {
    const users = { ada: { max_user_client_connections: 2 } };
    await using pooler = await startPooler(limited({ max_user_client_connections: 1 }, { users }));
    const clients = [
      await logged(pooler, "a"),
      await logged(pooler, "a", "ada"),
      await logged(pooler, "b", "ada"),
    ];
    for (const user of ["postgres", "ada"])
      expect(await pooler.refusal({ database: "b", user })).toEqual({
        severity: "FATAL",
        code: "53300",
        message: "client connections exceeded (max_user_client_connections)",
      });
    expect(await shown(pooler, "users", 6, 7)).toMatchObject({ ada: ["2", "2"], postgres: ["1", "1"] });
    leave(...clients);
  });
});

describe("times", () => {
  const kinds = [
    ["client_idle_timeout", [], "57P05", "client_idle_timeout"],
    ["idle_transaction_timeout", ["begin"], "25P03", "idle transaction timeout"],
    ["transaction_timeout", ["begin", "select 1"], "25P04", "transaction timeout"],
  ] as const;

  test.each(kinds)("%s, and of a user its own", async (name, statements, code, message) => {
    await using running = await timed(limited({ [name]: 10 }, { users: { ada: { [name]: 20 } } }));
    const { pooler, clock } = running;
    const clients = [await logged(pooler, "a"), await logged(pooler, "a", "ada")] as const;
    for (const client of clients) for (const sql of statements) await client.rows(sql);
    clock.advance(9_999);
    await pooler.untilTicked();
    expect(pooler.pooler.counts.sessions).toBe(2);
    clock.advance(1);
    expect(await fatal(clients[0])).toMatchObject({ severity: "FATAL", code, message });
    expect(pooler.pooler.counts.sessions).toBe(1);
    clock.advance(10_000);
    expect(await fatal(clients[1])).toMatchObject({ code, message });
  });

  test("query_timeout of a user; the statement is cancelled on the server", async () => {
    await using running = await timed(limited({}, { users: { ada: { query_timeout: 5 } } }));
    const { pooler, clock } = running;
    const watcher = await logged(pooler, "a");
    const [one, other] = [await logged(pooler, "a", "ada"), await logged(pooler, "b")];
    for (const client of [one, other]) client.send({ kind: "Query", sql: "select pg_sleep(71)" });
    const count = async (): Promise<unknown> =>
      value(
        watcher,
        "select count(*) from pg_stat_activity where query = 'select pg_sleep(71)' and state = 'active'",
      );
    await waitUntil(async () => (await count()) === "2", "both run");
    await pooler.untilTicked();
    clock.advance(5_000);
    expect(await fatal(one)).toMatchObject({ code: "57014", message: "query timeout" });
    await waitUntil(async () => (await count()) === "1", "one is cancelled");
    // And that of a client which vanishes is too.
    other.destroy();
    await waitUntil(async () => (await count()) === "0", "both are cancelled");
    leave(watcher);
  });

  test("query_wait_timeout of a user, shorter or longer than the others'", async () => {
    const users = { ada: { query_wait_timeout: 30 } };
    const databases = { a: { dbname: "postgres", user: "postgres" } };
    const settings = { query_wait_timeout: 10, default_pool_size: 1 };
    await using running = await timed(limited(settings, { users, databases }));
    const { pooler, clock } = running;
    const [held, own, usual] = [
      await logged(pooler, "a"),
      await logged(pooler, "a", "ada"),
      await logged(pooler, "a"),
    ];
    await held.rows("begin");
    own.send({ kind: "Query", sql: "select 1" });
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "one waits");
    usual.send({ kind: "Query", sql: "select 1" });
    await waitUntil(() => pooler.pooler.counts.waiting === 2, "both wait");
    clock.advance(10_000);
    expect(await fatal(usual)).toMatchObject({ code: "53300", message: "query_wait_timeout" });
    clock.advance(19_000);
    await pooler.untilTicked();
    expect(pooler.pooler.counts.waiting).toBe(1);
    clock.advance(1_000);
    expect((await own.rest()).at(-1)).toMatchObject({ fields: { message: "query_wait_timeout" } });
    leave(held);
  });
});

test("server_fast_close: RECONNECT ends a session outside a transaction, and waits for the end of one", async () => {
  await using pooler = await startPooler(limited({ pool_mode: "session", server_fast_close: true }));
  const [idle, busy] = [await logged(pooler, "a"), await logged(pooler, "a")];
  await idle.rows("select 1");
  await busy.rows("begin");
  const console = await logged(pooler, "pgbouncer", "chief");
  await console.rows("reconnect");
  expect(await fatal(idle)).toMatchObject({ code: "57P01", message: "database configuration changed" });
  expect(await value(busy, "select 'goes on'")).toBe("goes on");
  await busy.rows("commit");
  expect(await fatal(busy)).toMatchObject({ code: "57P01", message: "database configuration changed" });
  leave(console);
});

test("disable_pqexec refuses queries of the simple protocol, and lets those of the extended one through", async () => {
  await using pooler = await startPooler(limited({ disable_pqexec: true }));
  const client = await logged(pooler, "a");
  client.send(
    { kind: "Parse", name: "", sql: "select 'extended'", types: [] },
    { kind: "Bind", portal: "", statement: "", formats: [], values: [], resultFormats: [] },
    { kind: "Execute", portal: "", maxRows: 0 },
    { kind: "Sync" },
  );
  expect(await client.until("ReadyForQuery")).toContainEqual({
    kind: "DataRow",
    values: [Buffer.from("extended")],
  });
  client.send({ kind: "Query", sql: "select 1" });
  expect(await fatal(client)).toMatchObject({
    severity: "FATAL",
    code: "0A000",
    message: "PQexec disallowed",
  });
});

test("application_name_add_host puts the client's address behind its name, as far as a name goes", async () => {
  await using pooler = await startPooler(limited({ application_name_add_host: true }));
  const nameOf = async (parameters: readonly (readonly [string, string])[]): Promise<unknown> => {
    const { client } = await pooler.login({ database: "a", user: "postgres", parameters });
    const name = await value(client, "show application_name");
    await client.close();
    return name;
  };
  expect(await nameOf([["application_name", "mine"]])).toMatch(/^mine - 127\.0\.0\.1:\d+$/);
  expect(await nameOf([])).toMatch(/^app - 127\.0\.0\.1:\d+$/);
  expect(await nameOf([["application_name", "x".repeat(55)]])).toBe(`${"x".repeat(55)} - 127.0`);
});

test("login_notify_message is a NOTICE between the parameters and the first ReadyForQuery", async () => {
  await using pooler = await startPooler(limited({ login_notify_message: "be gentle" }));
  const client = await pooler.open();
  client.sendStartup({ database: "a", user: "postgres" });
  const messages = await client.until("ReadyForQuery");
  expect(messages.at(-2)).toMatchObject({
    kind: "NoticeResponse",
    fields: { severity: "NOTICE", code: "00000", message: "be gentle" },
  });
  leave(client);
});
