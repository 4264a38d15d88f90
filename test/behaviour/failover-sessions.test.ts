/**
 * Statements whose server is lost before it has answered, in auto mode and where the pool follows the primary: what may
 * have been committed is told so, what only reads runs again, and the session goes on. All is found out from the
 * connections alone: the verdicts about nodes take too long to help.
 */
import pg from "pg";
import postgres from "postgres";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { FaultProxy } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { startPooled } from "./console-client.ts";
import { watched } from "./node-kit.ts";
import { type Client, execute, type Pooled, parse, query, sync } from "./pooled.ts";

const place = useLab();

let proxy: FaultProxy;
let pooled: Pooled;

beforeAll(async () => {
  proxy = await FaultProxy.start({ port: place.lab.primary.port });
  pooled = await startPooled(
    place.lab,
    watched(place.lab, {
      nodes: { main: { port: proxy.port, role: "auto" }, gone: { port: 1, role: "auto" } },
      settings: {
        ...{ pool_mode: "auto", multiplex: false, default_pool_size: 3 },
        ...{ health_check_timeout: 60, health_check_max_retries: 1000 },
      },
    }),
  );
  await place.lab.primary.query("create table written (id int)");
});

afterEach(() => proxy.heal());

afterAll(async () => {
  await pooled[Symbol.asyncDispose]();
  await proxy.stop();
});

const unknown = {
  severity: "ERROR",
  code: "08007",
  message: "connection to the primary was lost: whether the last statement was committed is not known",
};

async function count(id: number): Promise<number> {
  const { rows } = await place.lab.primary.query(`select count(*) from written where id = ${id}`);
  return Number(rows[0]?.[0]);
}

/** What is asked is carried out, and the connection breaks before the answer. */
async function losingAnswers<T>(asks: () => Promise<T>, arrived: () => Promise<boolean>): Promise<T> {
  await proxy.set({ stallAfterBytes: 0 });
  const answered = asks();
  await waitUntil(arrived, "the statement is carried out");
  proxy.resetAll();
  await proxy.heal();
  return await answered;
}

/** A backend has answered `text`, as far as it knows. */
async function ran(text: string): Promise<boolean> {
  const { rows } = await place.lab.primary.query(
    `select 1 from pg_stat_activity where state = 'idle' and query = '${text.replaceAll("'", "''")}' and pid <> pg_backend_pid()`,
  );
  return rows.length > 0;
}

async function withSession(): Promise<Client> {
  const client = await pooled.connect();
  await client.run("set application_name to 'stays'");
  await client.run("set work_mem to '7MB'");
  await client.ask(parse("kept", "select $1::text || current_setting('work_mem')"), sync);
  return client;
}

/** Everything that is the client's is there on whichever server it gets. */
async function expectSession(client: Client): Promise<void> {
  expect(await client.value("show application_name")).toBe("stays");
  expect((await client.ask(...execute("kept", ["a"]), sync)).rows).toEqual([["a7MB"]]);
}

describe("the answer is lost", () => {
  test("of a write outside of a transaction: ERROR 08007, once, and it is not repeated", async () => {
    using client = await withSession();
    const outcome = await losingAnswers(
      () => client.run("insert into written values (1)"),
      async () => (await count(1)) === 1,
    );
    expect(outcome).toMatchObject({ error: unknown, status: "I" });
    await expectSession(client);
    expect(await count(1)).toBe(1);
  });

  test("of several pipelined batches: each has one error and one ReadyForQuery", async () => {
    using client = await withSession();
    const batch = [parse("", "insert into written values (2)"), ...execute(""), sync];
    const first = await losingAnswers(
      () => client.ask(...batch, ...batch, query("insert into written values (2)")),
      async () => (await count(2)) === 3,
    );
    for (const outcome of [first, await client.outcome(), await client.outcome()]) {
      expect(outcome).toMatchObject({ error: unknown, status: "I" });
    }
    await expectSession(client);
    expect(await count(2)).toBe(3);
  });

  test("of a plain read: it runs again, unseen", async () => {
    using client = await withSession();
    const text = "select 1, current_setting('application_name')";
    const outcome = await losingAnswers(
      () => client.run(text),
      () => ran(text),
    );
    expect(outcome).toMatchObject({ rows: [["1", "stays"]], error: undefined, status: "I" });
    const kept = await losingAnswers(
      () => client.ask(...execute("kept", ["b"]), sync),
      () => ran("select $1::text || current_setting('work_mem')"),
    );
    expect(kept).toMatchObject({ rows: [["b7MB"]], error: undefined, status: "I" });
    await expectSession(client);
  });

  test("of a SET: it counts as not done", async () => {
    using client = await withSession();
    const text = "set work_mem to '9MB'";
    const outcome = await losingAnswers(
      () => client.run(text),
      () => ran(text),
    );
    expect(outcome).toMatchObject({ error: unknown, status: "I" });
    await expectSession(client);
  });

  test("in a transaction, or with something on the server: the session ends, and is told why", async () => {
    using inTransaction = await pooled.connect();
    await inTransaction.run("begin");
    await inTransaction.run("insert into written values (3)");
    using holding = await pooled.connect();
    await holding.run("create temporary table mine (id int)");
    await proxy.set({ stallAfterBytes: 0 });
    inTransaction.send(query("insert into written values (3)"));
    holding.send(query("select 1"));
    await waitUntil(() => ran("select 1"), "the statements are carried out");
    proxy.resetAll();
    expect((await inTransaction.raw.rest()).at(-1)).toMatchObject({
      fields: { severity: "FATAL", code: "08006" },
    });
    expect((await holding.raw.rest()).at(-1)).toMatchObject({ fields: { severity: "FATAL", code: "08007" } });
    expect(await count(3)).toBe(0);
  });
});

test("what a server says last is the detail of the error, and the session goes on", async () => {
  using client = await withSession();
  const answered = client.run("insert into written select 4 from pg_sleep(60)");
  const ending = `select pg_terminate_backend(pid) from pg_stat_activity where state = 'active' and query like 'insert%pg_sleep(60)'`;
  await waitUntil(
    async () => (await place.lab.primary.query(ending)).rows.length > 0,
    "the server is told to end",
  );
  expect(await answered).toMatchObject({
    error: { ...unknown, detail: "terminating connection due to administrator command" },
    status: "I",
  });
  await expectSession(client);
  expect(await count(4)).toBe(0);
});

describe("drivers", () => {
  test("node-postgres hears of it, and its connection goes on", async () => {
    const { host, port } = pooled.pooler.address;
    const client = new pg.Client({ host, port, user: "postgres", database: "postgres" });
    await client.connect();
    const { rows: before } = await client.query("select set_config('work_mem', '5MB', false) as set");
    expect(before).toEqual([{ set: "5MB" }]);
    // What a statement has set is known once the next one has run.
    await client.query("select 1");
    const failing = losingAnswers(
      () =>
        client.query("insert into written values ($1)", [5]).then(
          () => undefined,
          (error: unknown) => error,
        ),
      async () => (await count(5)) === 1,
    );
    expect(await failing).toMatchObject({ code: "08007", severity: "ERROR" });
    const { rows } = await client.query("select current_setting('work_mem') as set, $1::int as one", [1]);
    expect(rows).toEqual([{ set: "5MB", one: 1 }]);
    await client.end();
  });

  test("postgres.js hears of each of several pipelined statements, and its connection goes on", async () => {
    const { host, port } = pooled.pooler.address;
    const sql = postgres({ host, port, user: "postgres", database: "postgres", max: 1, fetch_types: false });
    const [{ id } = {}] = await sql`select pg_backend_pid() as id`;
    const insert = (value: number): Promise<unknown> => sql`insert into written values (${value})`.execute();
    // Else it waits for a description of the statement before it sends values.
    await insert(7);
    const failing = losingAnswers(
      () => Promise.allSettled([6, 6, 6].map(insert)),
      async () => (await count(6)) > 0,
    );
    for (const { status, reason } of (await failing) as { status: string; reason: unknown }[]) {
      expect({ status, reason }).toMatchObject({ status: "rejected", reason: { code: "08007" } });
    }
    expect(await sql`select ${1}::int as one`).toEqual([{ one: 1 }]);
    // The same session: it was told its process id at login.
    expect((await sql`select pg_backend_pid() as id`)[0]?.["id"]).toBeTypeOf(typeof id);
    await sql.end();
  });
});
