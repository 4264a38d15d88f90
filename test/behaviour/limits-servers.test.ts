/** How many servers there may be: of a pool, a database, a user and altogether, and who gets them. */
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
  await client.rows("grant ada to chief");
  await client.close();
});

/** Databases `a`, `b` and `c` are one on the server; pools have room for ten. */
function limited(
  settings: TestConfig["settings"],
  databases: TestConfig["databases"] = {},
  users: TestConfig["users"] = {},
): TestConfig {
  const base = { dbname: "postgres" };
  return {
    node: place.lab.primary,
    settings: { pool_mode: "transaction", default_pool_size: 10, admin_users: ["chief"], ...settings },
    databases: {
      a: { ...base, ...databases["a"] },
      b: { ...base, ...databases["b"] },
      c: { ...base, ...databases["c"] },
      "*": { ...base, ...databases["*"] },
    },
    users: { ada: {}, bob: {}, ...users },
  };
}

async function timed(
  config: TestConfig,
): Promise<{ pooler: TestPooler; clock: VirtualClock } & AsyncDisposable> {
  const clock = new VirtualClock();
  const pooler = await startPooler(config, clock);
  return { pooler, clock, [Symbol.asyncDispose]: () => pooler[Symbol.asyncDispose]() };
}

/** A client of a database in a transaction: it has a server of its own. */
async function holding(pooler: TestPooler, database: string, user = "postgres"): Promise<RawClient> {
  const { client } = await pooler.login({ database, user });
  await client.rows("begin");
  return client;
}

async function idling(pooler: TestPooler, database: string, user = "postgres"): Promise<RawClient> {
  const { client } = await pooler.login({ database, user });
  await client.rows("select 1");
  return client;
}

/** The rows of a SHOW by their first column. */
async function shown(
  pooler: TestPooler,
  what: string,
  ...columns: number[]
): Promise<Record<string, unknown[]>> {
  const { client } = await pooler.login({ user: "chief", database: "pgbouncer" });
  const rows = await client.rows(`show ${what}`);
  await client.close();
  return Object.fromEntries(rows.map((row) => [row[0], columns.map((column) => row[column])]));
}

function leave(...clients: RawClient[]): void {
  for (const client of clients) client.destroy();
}

describe("max_db_connections", () => {
  test("an idle server of another user's pool makes room; a busy one does not", async () => {
    await using running = await timed(limited({ max_db_connections: 1 }, { b: { max_db_connections: 3 } }));
    const { pooler, clock } = running;
    const first = await idling(pooler, "a");
    clock.advance(1000);
    const second = await holding(pooler, "a", "chief");
    expect(pooler.pooler.counts.servers).toBe(1);
    expect(pooler.log).toContain('"reason":"evicted for max_db_connections"');
    const waiting = first.rows("select 'first'");
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "it waits for the other's end");
    const others = await Promise.all(["postgres", "chief"].map((user) => holding(pooler, "b", user)));
    expect(pooler.pooler.counts.servers, "another database is not concerned").toBe(3);
    expect(await shown(pooler, "databases", 11, 12)).toMatchObject({
      a: ["1", "1"],
      b: ["3", "2"],
      c: ["1", "0"],
    });
    await second.rows("commit");
    clock.advance(1000);
    expect(await waiting).toEqual([["first"]]);
    leave(first, second, ...others);
  });
});

describe("max_user_connections", () => {
  test("counts the servers of one user in all databases", async () => {
    const config = limited({ max_user_connections: 1 }, {}, { chief: { max_user_connections: 2 } });
    await using running = await timed(config);
    const { pooler, clock } = running;
    const first = await idling(pooler, "a");
    clock.advance(1000);
    const second = await idling(pooler, "b");
    expect(pooler.pooler.counts.servers).toBe(1);
    expect(pooler.log).toContain('"reason":"evicted for max_user_connections"');
    const chiefs = await Promise.all(["a", "b"].map((database) => holding(pooler, database, "chief")));
    expect(pooler.pooler.counts.servers).toBe(3);
    expect(await shown(pooler, "users", 4, 5)).toMatchObject({ postgres: ["1", "1"], chief: ["2", "2"] });
    leave(first, second, ...chiefs);
  });
});

describe("max_server_connections", () => {
  test("bounds all pools together, and a long queue takes nothing from a short one", async () => {
    await using running = await timed(limited({ max_server_connections: 2 }));
    const { pooler, clock } = running;
    const late = await idling(pooler, "b");
    clock.advance(1000);
    const busy = [await holding(pooler, "a"), await holding(pooler, "a")];
    const crowd = await Promise.all(
      [1, 2, 3].map(async () => (await pooler.login({ database: "a" })).client),
    );
    const answers = crowd.map((client) => client.rows("begin"));
    await waitUntil(() => pooler.pooler.counts.waiting === 3, "a queue");
    clock.advance(1000);
    const lateAnswer = late.rows("begin");
    await waitUntil(() => pooler.pooler.counts.waiting === 4, "another pool's client");
    clock.advance(200);
    // The first server that comes free goes to the pool that has none, though its client came last.
    await busy[0]?.rows("commit");
    await lateAnswer;
    expect(pooler.pooler.counts).toMatchObject({ servers: 2, waiting: 3 });
    expect(pooler.log).toContain('"reason":"evicted for max_server_connections"');
    clock.advance(200);
    await busy[1]?.rows("commit");
    expect(await answers[0]).toEqual([]);
    expect(pooler.pooler.counts).toMatchObject({ servers: 2, waiting: 2 });
    // Each has one now. The next place is given up only because nobody waits there.
    clock.advance(200);
    await late.rows("commit");
    expect(await answers[1]).toEqual([]);
    await crowd[0]?.rows("commit");
    expect(await answers[2]).toEqual([]);
    leave(...busy, ...crowd, late);
  });

  test("a reload with less closes what is too much as it comes free", async () => {
    const config = limited({ max_server_connections: 3 });
    await using running = await timed(config);
    const { pooler } = running;
    const clients = await Promise.all(["a", "b", "c"].map((database) => holding(pooler, database)));
    await pooler.reload(limited({ max_server_connections: 1 }));
    await Promise.all(clients.map((client) => client.rows("commit")));
    expect(pooler.pooler.counts.servers).toBe(1);
    expect(pooler.log).toContain('"reason":"max_server_connections was reduced"');
    leave(...clients);
  });
});

describe("reserve_pool_size", () => {
  test("opens more for who has waited for reserve_pool_timeout, per database and user", async () => {
    const config = limited(
      { default_pool_size: 1, reserve_pool_size: 1, reserve_pool_timeout: 3, query_wait_timeout: 0 },
      { b: { reserve_pool_size: 0 } },
      { chief: { reserve_pool_size: 2 } },
    );
    await using running = await timed(config);
    const { pooler, clock } = running;
    const held = [await holding(pooler, "a"), await holding(pooler, "b")];
    const a = (await pooler.login({ database: "a" })).client;
    const b = (await pooler.login({ database: "b" })).client;
    const [inA, inB] = [a.rows("select 'a'"), b.rows("select 'b'")];
    await waitUntil(() => pooler.pooler.counts.waiting === 2, "both wait");
    clock.advance(2999);
    await pooler.untilTicked();
    expect(pooler.pooler.counts.servers).toBe(2);
    clock.advance(1);
    expect(await inA).toEqual([["a"]]);
    expect(pooler.log.match(/"pool":"a\/[^"]*","msg":"taking connection from reserve_pool"/g)).toHaveLength(
      1,
    );
    expect(pooler.pooler.counts).toMatchObject({ servers: 3, waiting: 1 });
    expect(await shown(pooler, "databases", 7)).toMatchObject({ a: ["1"], b: ["0"] });
    expect(await shown(pooler, "users", 2)).toMatchObject({ chief: ["2"], ada: [""] });
    await held[1]?.rows("commit");
    expect(await inB).toEqual([["b"]]);
    leave(a, b, ...held);
  });
});

describe("pool_size", () => {
  const config = (): TestConfig =>
    limited(
      { default_pool_size: 1 },
      { a: { pool_size: 2 }, b: { user: "postgres", pool_size: 3 } },
      { postgres: { pool_size: 4 } },
    );

  test.each([
    ["the user's wins over the database's", "a", "postgres", 4],
    ["of the user on the server, whoever the client is", "b", "ada", 4],
    [
      "the database's wins over the default; and it has its own, though it is the same one on the server",
      "a",
      "ada",
      2,
    ],
    ["the default", "c", "ada", 1],
  ])("%s", async (_what: string, database: string, user: string, size: number) => {
    await using pooler = await startPooler(config());
    const other = await holding(pooler, "*", "chief");
    const clients: RawClient[] = [];
    for (let i = 0; i < size; i++) clients.push(await holding(pooler, database, user));
    const { client: last } = await pooler.login({ database, user });
    const answer = last.rows("select 'last'");
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "one too many");
    expect(pooler.pooler.counts.servers).toBe(size + 1);
    await clients[0]?.rows("commit");
    expect(await answer).toEqual([["last"]]);
    leave(other, last, ...clients);
  });
});

describe("min_pool_size", () => {
  test("of a database with a user of its own is there without clients, and goes with the database", async () => {
    const before = limited({}, { a: { min_pool_size: 2 }, b: { min_pool_size: 3, user: "postgres" } });
    await using pooler = await startPooler(before);
    await waitUntil(() => pooler.pooler.counts.servers === 3, "the minimum of one database");
    const client = await idling(pooler, "a");
    await waitUntil(() => pooler.pooler.counts.servers === 5, "and of the other, with its client");
    await pooler.reload({ ...before, databases: { a: { dbname: "postgres", min_pool_size: 2 } } });
    await waitUntil(() => pooler.pooler.counts.servers === 2, "a database is gone, and its minimum");
    leave(client);
  });
});

describe("pool_idle_timeout", () => {
  test("closes the servers of a pool without clients", async () => {
    await using running = await timed(limited({ pool_idle_timeout: 30 }));
    const { pooler, clock } = running;
    const client = await idling(pooler, "a");
    clock.advance(60_000);
    await pooler.untilTicked();
    expect(pooler.pooler.counts.servers).toBe(1);
    await client.close();
    await pooler.untilNobodyIsLeft();
    clock.advance(30_000);
    await waitUntil(() => pooler.pooler.counts.servers === 0, "the server is closed");
    expect(pooler.log).toContain('"reason":"pool_idle_timeout"');
  });
});

describe("autodb_idle_timeout", () => {
  test("says how long a database that only * stands for is remembered", async () => {
    await using running = await timed(limited({ autodb_idle_timeout: 100, pool_idle_timeout: 1 }));
    const { pooler, clock } = running;
    const client = await idling(pooler, "x");
    await client.close();
    await pooler.untilNobodyIsLeft();
    clock.advance(2_000);
    await waitUntil(() => pooler.pooler.counts.servers === 0, "its pool is forgotten");
    expect(await shown(pooler, "databases", 0)).toHaveProperty("x");
    clock.advance(101_000);
    await pooler.untilTicked();
    const names = Object.keys(await shown(pooler, "databases", 0));
    expect(names).toEqual(["a", "b", "c", "pgbouncer"]);
  });
});

describe("of a database", () => {
  test("server_lifetime and query_wait_timeout are its own", async () => {
    const config = limited(
      { server_lifetime: 1000, query_wait_timeout: 50, default_pool_size: 1 },
      { a: { server_lifetime: 10, query_wait_timeout: 5 } },
    );
    await using running = await timed(config);
    const { pooler, clock } = running;
    const held = [await holding(pooler, "a"), await holding(pooler, "b")];
    const [a, b] = await Promise.all(
      ["a", "b"].map(async (database) => (await pooler.login({ database })).client),
    );
    (a as RawClient).send({ kind: "Query", sql: "select 1" });
    const inTime = (b as RawClient).rows("select 1");
    await waitUntil(() => pooler.pooler.counts.waiting === 2, "both wait");
    clock.advance(5_000);
    expect(await fatal(a as RawClient)).toMatchObject({ code: "53300", message: "query_wait_timeout" });
    expect(pooler.pooler.counts.waiting).toBe(1);
    await held[1]?.rows("commit");
    await inTime;
    await held[0]?.rows("commit");
    clock.advance(10_000);
    await waitUntil(() => pooler.pooler.counts.servers === 1, "the old one is closed");
    expect(await shown(pooler, "databases", 8)).toMatchObject({ a: ["10"], b: ["1000"] });
    leave(b as RawClient, ...held);
  });

  test("connect_query runs before the first client; if it fails, that is logged", async () => {
    const config = limited(
      {},
      {
        a: { connect_query: "set search_path to pg_catalog; set statement_timeout = '77s'" },
        b: { connect_query: "select no_such_column" },
        c: { connect_query: "set role ada" },
      },
    );
    await using pooler = await startPooler(config);
    const a = await idling(pooler, "a");
    expect(await value(a, "show statement_timeout")).toBe("77s");
    expect(await value(a, "show search_path")).toBe("pg_catalog");
    const b = await idling(pooler, "b");
    expect(pooler.log).toMatch(/column \\"no_such_column\\" does not exist.*connect_query failed/);
    // It is no reason to close the server after each client that another role acts.
    const c = await idling(pooler, "c");
    const pid = await value(c, "select pg_backend_pid()");
    expect(await value(c, "select current_user")).toBe("ada");
    expect(await value(c, "select pg_backend_pid()")).toBe(pid);
    leave(a, b, c);
  });

  test("client_encoding, datestyle, timezone and application_name are for clients that ask for nothing else", async () => {
    const own = {
      client_encoding: "LATIN1",
      datestyle: "German",
      timezone: "Asia/Tokyo",
      application_name: "theirs",
    };
    await using pooler = await startPooler(limited({}, { a: own }));
    const settingsOf = async (client: RawClient): Promise<(string | null | undefined)[]> => {
      const values: (string | null | undefined)[] = [];
      for (const name of Object.keys(own)) values.push(await value(client, `show ${name}`));
      return values;
    };
    const { client: plain, session } = await pooler.login({ database: "a" });
    expect(session.parameters.get("TimeZone")).toBe("Asia/Tokyo");
    expect(await settingsOf(plain)).toEqual(["LATIN1", "German, DMY", "Asia/Tokyo", "theirs"]);
    const parameters = [
      ["TimeZone", "UTC"],
      ["application_name", "mine"],
    ] as const;
    const { client: asking } = await pooler.login({ database: "a", parameters });
    expect(await settingsOf(asking)).toEqual(["LATIN1", "German, DMY", "UTC", "mine"]);
    expect(await settingsOf(plain), "on the same server").toEqual([
      "LATIN1",
      "German, DMY",
      "Asia/Tokyo",
      "theirs",
    ]);
    expect(pooler.pooler.counts.servers).toBe(1);
    leave(plain, asking);
  });
});

describe("max_waiting_clients", () => {
  test("refuses at once who would wait beyond it", async () => {
    await using pooler = await startPooler(limited({ default_pool_size: 1, max_waiting_clients: 1 }));
    const held = await holding(pooler, "a");
    const [first, second] = await Promise.all(
      [1, 2].map(async () => (await pooler.login({ database: "a" })).client),
    );
    const answer = (first as RawClient).rows("select 'first'");
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "one waits");
    (second as RawClient).send({ kind: "Query", sql: "select 2" });
    expect(await fatal(second as RawClient)).toMatchObject({
      severity: "FATAL",
      code: "53300",
      message: "too many clients are waiting for a server (max_waiting_clients)",
    });
    await held.rows("commit");
    expect(await answer).toEqual([["first"]]);
    leave(held, first as RawClient);
  });
});

describe("load_balance_hosts", () => {
  /** Two names for one server, and a host that answers nothing. */
  const several = (policy: string | undefined, host = "127.0.0.1,localhost"): TestConfig => ({
    ...limited({}, { a: policy === undefined ? {} : { load_balance_hosts: policy } }),
    node: { host, port: place.lab.primary.port },
  });
  const hostsOf = (pooler: TestPooler): string[] =>
    [...pooler.log.matchAll(/"node":\{"host":"([^"]+)"/g)].map(([, host = ""]) => host);

  test.each([
    [undefined, ["127.0.0.1", "localhost", "127.0.0.1"]],
    ["disable", ["127.0.0.1", "127.0.0.1", "127.0.0.1"]],
  ])("%s: where new servers are opened", async (policy: string | undefined, hosts: string[]) => {
    await using pooler = await startPooler(several(policy));
    const clients: RawClient[] = [];
    for (let i = 0; i < 3; i++) clients.push(await holding(pooler, "a"));
    expect(hostsOf(pooler)).toEqual(hosts);
    const shows = policy ?? "round-robin";
    expect(await shown(pooler, "databases", 10)).toMatchObject({ a: [shows] });
    expect(await shown(pooler, "pools", 16)).toMatchObject({ a: [shows], pgbouncer: [null] });
    leave(...clients);
  });

  test("disable stays with the one that could be reached", async () => {
    await using pooler = await startPooler(several("disable", "/nowhere,localhost,127.0.0.1"));
    const clients: RawClient[] = [];
    for (let i = 0; i < 3; i++) clients.push(await holding(pooler, "a"));
    expect(hostsOf(pooler)).toEqual(["localhost", "localhost", "localhost"]);
    leave(...clients);
  });
});
