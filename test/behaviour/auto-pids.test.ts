/** Auto mode: the process ids that clients are told, and what SQL says about them. */
import pg from "pg";
import postgres from "postgres";
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { backends, type Client, Pooled } from "./pooled.ts";

const place = useLab();

async function startPooled(servers: number, settings: object = {}): Promise<Pooled> {
  return await Pooled.start(place.lab, {
    settings: { pool_mode: "auto", default_pool_size: servers, ...settings },
  });
}

/** The process id that a client was told at login. */
const told = (client: Client): string => String(client.session.pid);

test("as long as there are servers enough, a client is told the id of a process that is its own", async () => {
  await using pooled = await startPooled(3);
  using a = await pooled.connect();
  using b = await pooled.connect();
  using c = await pooled.connect();
  expect(new Set([a, b, c].map(told)).size).toBe(3);
  for (let round = 0; round < 3; round++) {
    for (const client of [a, b, c]) expect(await client.backendPid()).toBe(told(client));
  }
  await a.run("create temp table held (a int)");
  await b.run("begin; select 1");
  for (const client of [a, b, c]) expect(await client.backendPid()).toBe(told(client));
  expect(await backends(place.lab)).toBe(3);

  // A fourth has none, and makes none be opened; what it is answered does not change.
  using d = await pooled.connect();
  expect(Number(told(d))).toBeGreaterThan(2 ** 22);
  const first = await d.backendPid();
  expect(await c.run("begin; select 1")).toMatchObject({ error: undefined });
  await b.run("commit");
  await c.run("commit");
  expect(await d.backendPid()).toBe(first);
  expect(pooled.mostServers).toBe(3);
});

test("who leaves leaves its home to the next one", async () => {
  await using pooled = await startPooled(1);
  const a = await pooled.connect();
  const home = told(a);
  await a.close();
  await pooled.untilSessions(0);
  using b = await pooled.connect();
  expect(told(b)).toBe(home);
  expect(await b.backendPid()).toBe(home);
});

test("a client waits for its home where it asks for it, and goes elsewhere if that takes long", async () => {
  await using pooled = await startPooled(2);
  using a = await pooled.connect();
  using b = await pooled.connect();
  using c = await pooled.connect();
  await b.run("begin; select 1");
  await c.run("begin; select 1");
  // Only the home of a was free for c. That of b is free now, and no answer to what a asks.
  await b.run("commit");
  const answer = a.backendPid();
  await pooled.untilWaiting(1);
  await c.run("commit");
  expect(await answer).toBe(told(a));

  await b.run("begin; select 1");
  await c.run("begin; select 1");
  await b.run("commit");
  expect(await a.backendPid()).toBe(told(b));
  await c.run("commit");
  expect(await a.backendPid()).toBe(told(a));
});

test("a login does not wait for a home that cannot be opened", async () => {
  await using pooled = await startPooled(5);
  using first = await pooled.connect();
  expect(await first.backendPid()).toBe(told(first));
  pooled.pooler.pauseServers();
  using second = await pooled.connect();
  expect(Number(told(second))).toBeGreaterThan(2 ** 22);
  pooled.pooler.resumeServers();
  const pid = await second.backendPid();
  expect(await second.backendPid()).toBe(pid);
});

test("a home that is closed is followed by another", async () => {
  await using pooled = await startPooled(2);
  using a = await pooled.connect();
  expect(await a.backendPid()).toBe(told(a));
  await place.lab.primary.query(`select pg_terminate_backend(${told(a)}, 5000)`);
  await pooled.untilServers(0);
  const pid = await a.backendPid();
  expect(pid).not.toBe(told(a));
  expect(await a.backendPid()).toBe(pid);
});

test("node-postgres, postgres.js: the process id of the driver is that of the views", async () => {
  await using pooled = await startPooled(2);
  const { host, port } = pooled.pooler.address;
  const client = new pg.Client({ host, port, user: "postgres", database: "postgres" });
  await client.connect();
  const sql = postgres({ host, port, user: "postgres", database: "postgres", max: 1 });
  const pid = (client as unknown as { processID: number }).processID;
  expect((await client.query("select pg_backend_pid() as pid")).rows).toEqual([{ pid }]);
  const locks = await sql.begin(async (transaction) => {
    await transaction`lock table pg_class in access share mode`;
    const [own] = await transaction`select pg_backend_pid() as pid`;
    const seen = await client.query("select 1 from pg_locks where pid = $1 and relation = 1259", [
      own?.["pid"],
    ]);
    return seen.rowCount;
  });
  expect(locks).toBe(1);
  await client.end();
  await sql.end();
});
