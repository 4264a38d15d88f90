/** Auto mode: the process ids that clients are told, and what SQL says about them. */
import pg from "pg";
import postgres from "postgres";
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { backends, type Client, execute, Pooled, parse, query, sync, untilRunning } from "./pooled.ts";

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
  // It has run nothing yet, and so surely has no server: one that it has would take it along.
  await place.lab.primary.query(`select pg_terminate_backend(${told(a)}, 5000)`);
  await pooled.untilClosedFor("terminating connection due to administrator command");
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

/** With three servers: `stranger`, who has no home, holds that of `idle`. */
async function crowd(pooled: Pooled): Promise<Record<"idle" | "caller" | "third" | "stranger", Client>> {
  const [idle, caller, third] = [await pooled.connect(), await pooled.connect(), await pooled.connect()];
  const stranger = await pooled.connect();
  for (const client of [caller, third, stranger]) await client.run("begin; select 1");
  expect(await stranger.backendPid()).toBe(told(idle));
  return { idle, caller, third, stranger };
}

test("a client is cancelled where it runs, not where its number says", async () => {
  await using pooled = await startPooled(3);
  const { idle: away, caller, third, stranger } = await crowd(pooled);
  await third.run("commit");
  away.send(query("select pg_sleep(60)"));
  await untilRunning(place.lab, "pg_sleep(60)");
  expect(await stranger.value(`select pg_cancel_backend(${told(away)})`)).toBe("t");
  expect((await away.outcome()).error).toMatchObject({ code: "57014" });
  expect((await stranger.run("select 1")).status).toBe("T");

  away.send(query("select pg_sleep(60)"));
  await untilRunning(place.lab, "pg_sleep(60)");
  const outcome = await caller.ask(
    parse("", "select pg_terminate_backend($1)"),
    ...execute("", [told(away)]),
    sync,
  );
  expect(outcome.rows).toEqual([["t"]]);
  expect((await away.raw.until("ErrorResponse")).at(-1)).toMatchObject({
    fields: { severity: "FATAL", code: "57P01", routine: "ProcessInterrupts" },
  });
  expect((await stranger.run("select 1")).status).toBe("T");
});

test("a client that has no server is stood in for by an idle one, and who is at its home goes on", async () => {
  await using pooled = await startPooled(3);
  const { idle, caller, third, stranger } = await crowd(pooled);
  await third.run("commit");
  expect(await caller.value(`select pg_cancel_backend(${told(idle)})`)).toBe("t");
  expect((await idle.run("select 1")).error).toBeUndefined();
  expect(await caller.value(`select pg_terminate_backend(${told(idle)})`)).toBe("t");
  expect((await idle.raw.until("ErrorResponse")).at(-1)).toMatchObject({
    fields: { severity: "FATAL", code: "57P01" },
  });
  for (const client of [caller, stranger]) expect((await client.run("select 1")).status).toBe("T");
  expect(await third.value("select 1")).toBe("1");
});

test("without an idle server the pooler does it, if the call can be put aside", async () => {
  await using pooled = await startPooled(3);
  const { idle, caller, stranger } = await crowd(pooled);
  expect(await caller.value(`select pg_cancel_backend(${told(idle)})`)).toBe("t");
  const bound = await caller.ask(
    parse("", "select pg_cancel_backend($1)"),
    ...execute("", [told(idle)]),
    sync,
  );
  expect(bound.rows).toEqual([["f"]]);
  // One that waits for a server is cancelled as well.
  idle.send(query("update pg_class set relname = relname where false"));
  await pooled.untilWaiting(1);
  expect(await caller.value(`select pg_cancel_backend(${told(idle)}) as done;`)).toBe("t");
  expect((await idle.outcome()).error).toMatchObject({ code: "57014" });
  expect(await caller.value(`select pg_terminate_backend(${told(idle)})`)).toBe("t");
  expect((await idle.raw.until("ErrorResponse")).at(-1)).toMatchObject({ fields: { code: "57P01" } });
  for (const client of [caller, stranger]) expect((await client.run("select 1")).status).toBe("T");
});

test("who may do that is PostgreSQL's to say", async () => {
  await place.lab.primary.query("create role nobody_special login");
  await using pooled = await startPooled(3);
  using target = await pooled.connect();
  using caller = await pooled.connect({ user: "nobody_special" });
  for (const call of ["pg_terminate_backend", "pg_cancel_backend"]) {
    // While nobody can stand in for the target, the answer is that there is no such process.
    await waitUntil(async () => {
      const { rows, error } = await caller.run(`select ${call}(${told(target)})`);
      if (error === undefined) expect(rows).toEqual([["f"]]);
      return error?.code === "42501";
    }, "it is refused");
  }
  expect(await target.backendPid()).toBe(told(target));
  // A transaction that has failed signals nobody.
  using failed = await pooled.connect();
  await failed.run("begin; select 1/0");
  expect((await failed.run(`select pg_terminate_backend(${told(target)})`)).error).toMatchObject({
    code: "25P02",
  });
  expect(await target.backendPid()).toBe(told(target));
});

test("a client may signal itself", async () => {
  await using pooled = await startPooled(1);
  using first = await pooled.connect();
  using second = await pooled.connect();
  expect((await second.run(`select pg_cancel_backend(${told(second)})`)).error).toMatchObject({
    code: "57014",
  });
  second.send(query(`select pg_terminate_backend(${told(second)})`));
  expect((await second.raw.until("ErrorResponse")).at(-1)).toMatchObject({ fields: { code: "57P01" } });
  expect(await first.value("select 1")).toBe("1");
});
