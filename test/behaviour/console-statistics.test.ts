/** Statistics: exact for a script that is known, and averages by the period. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { protocolVersion30 } from "../../src/wire/constants.ts";
import { encodeFrontend } from "../../src/wire/encode-frontend.ts";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import { encodeStartup } from "../../src/wire/startup.ts";
import { useLab } from "../kit/lab.ts";
import { rawClient } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { type Client, closeStatement, execute, parse, query, sync, untilRunning } from "./pooled.ts";

const place = useLab();

async function totals(console: Client): Promise<Record<string, number>> {
  const row =
    (await table(console, "show stats_totals")).find(({ database }) => database === "postgres") ?? {};
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, Number(value)]));
}

test("counts of queries, transactions, assignments and logins in transaction mode", async () => {
  await using pooled = await startPooled(place.lab);
  using console = await openConsole(pooled);
  // PgBouncer's own script: four lone statements, and two transactions of three.
  for (let i = 0; i < 4; i++) {
    using client = await pooled.connect();
    await client.run("select 1");
  }
  using client = await pooled.connect();
  for (const end of ["commit", "rollback"]) {
    for (const sql of ["begin", "select 1", "select 1", "select 1", end]) await client.run(sql);
  }
  expect(await totals(console)).toMatchObject({
    ...{ server_assignment_count: 6, xact_count: 6, query_count: 14, client_login_count: 5, bind_count: 0 },
    ...{ client_parse_count: 0, server_parse_count: 0, wait_time: 0 },
  });
  const byName = Object.fromEntries((await console.run("show totals")).rows);
  expect(byName).toMatchObject({ total_server_assignment_count: "6", total_client_login_count: "6" });
});

test("in session mode a server is assigned once for each client", async () => {
  await using pooled = await startPooled(place.lab, { settings: { pool_mode: "session" } });
  using console = await openConsole(pooled);
  for (let i = 0; i < 5; i++) {
    const client = await pooled.connect();
    for (const sql of ["select 1", "begin", "select 2", "commit"]) await client.run(sql);
    await client.close();
  }
  expect(await totals(console)).toMatchObject({
    ...{ server_assignment_count: 5, xact_count: 10, query_count: 20, client_login_count: 5 },
  });
});

test("bytes and prepared statements", async () => {
  await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 1 } });
  using console = await openConsole(pooled);
  using one = await pooled.connect();
  using two = await pooled.connect();
  await two.run("select 1");
  const before = await totals(console);
  const batches: FrontendMessage[][] = [
    [parse("a", "select 1"), ...execute("a"), sync],
    [...execute("a"), sync],
    [parse("", "select 2"), ...execute(""), sync],
    [closeStatement("a"), sync],
    [query("select 3")],
  ];
  for (const batch of batches) await one.ask(...batch);
  await two.ask(parse("b", "select 1"), ...execute("b"), sync);
  const after = await totals(console);
  const grown = Object.fromEntries(
    Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]),
  );
  const sent = [...batches.flat(), parse("b", "select 1"), ...execute("b"), sync];
  expect(grown).toMatchObject({
    ...{ xact_count: 6, query_count: 6, server_assignment_count: 6 },
    bytes_received: Buffer.concat(sent.map(encodeFrontend)).length,
    // The second Parse of the same text is answered here.
    ...{ client_parse_count: 2, server_parse_count: 1, bind_count: 3 },
  });
  expect(grown["bytes_sent"]).toBeGreaterThan(100);
});

test("times: of queries, transactions and waiting, in microseconds", async () => {
  await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 1 } });
  using console = await openConsole(pooled);
  using client = await pooled.connect();
  using waiting = await pooled.connect();
  await client.run("begin");
  client.send(query("select pg_sleep(0.2)"));
  await untilRunning(place.lab, "pg_sleep(0.2)");
  waiting.send(query("select 1"));
  await pooled.untilWaiting(1);
  await client.outcome();
  const open = await totals(console);
  await client.run("commit");
  await waiting.outcome();
  const done = await totals(console);
  // PostgreSQL has slept for so long, and the client has waited for some of it.
  expect(open["query_time"]).toBeGreaterThanOrEqual(200_000);
  expect(open["xact_time"]).toBe(0);
  expect(done["xact_time"]).toBeGreaterThanOrEqual(200_000);
  expect(done["wait_time"]).toBeGreaterThan(0);
  expect(done["wait_time"]).toBeLessThanOrEqual(done["query_time"] ?? 0);
});

test("averages are made each stats_period, and logged", async () => {
  await using pooled = await startPooled(place.lab, { settings: { stats_period: 1 } });
  using console = await openConsole(pooled);
  using client = await pooled.connect();
  await waitUntil(async () => {
    await client.run("select 1");
    return pooled.log.some(
      ({ message, fields }) => message === "stats" && Number(fields["queriesPerSecond"]) > 0,
    );
  }, "a line of statistics is logged");
  const row = (await table(console, "show stats")).find(({ database }) => database === "postgres");
  expect(Number(row?.["avg_query_count"])).toBeGreaterThan(0);
  expect(Number(row?.["avg_query_time"])).toBeGreaterThan(0);
  expect((await console.run("set log_stats = 0")).tags).toEqual(["SET log_stats=0"]);
});

test("acceptance 85: SHOW LOGIN_LATENCY tells how long clients wait from the accept on, as histograms", async () => {
  await using pooled = await startPooled(place.lab);
  using console = await openConsole(pooled);
  const count = async (): Promise<Record<string, number>> => {
    const found: Record<string, number> = {};
    for (const { stage, up_to_us: bound, clients, total_us: total } of await table(
      console,
      "show login_latency",
    )) {
      found[stage ?? ""] = (found[stage ?? ""] ?? 0) + Number(clients);
      // What is in a bucket took as long as it says.
      expect(Number(total)).toBeLessThanOrEqual(bound === null ? Infinity : Number(bound) * Number(clients));
      if (Number(clients) > 0) expect(Number(total)).toBeGreaterThan(0);
    }
    return found;
  };
  // The console's own startup packet.
  expect(await count()).toEqual({ startup: 1, login: 0 });
  using _first = await pooled.connect();
  using _second = await pooled.connect();
  expect(await count()).toEqual({ startup: 3, login: 2 });
  // One that is slow with its startup packet is seen where the slow ones are.
  using slow = await rawClient(pooled.place);
  await waitUntil(() => pooled.pooler.counts.logins === 1, "it is accepted");
  await sleep(120);
  slow.send(
    encodeStartup(protocolVersion30, [
      ["user", "postgres"],
      ["database", "postgres"],
    ]),
  );
  await waitUntil(async () => (await count())["login"] === 3, "the slow one is logged in");
  const late = (await table(console, "show login_latency")).filter(
    ({ up_to_us: bound, clients }) => (bound === null || Number(bound) > 100_000) && Number(clients) > 0,
  );
  expect(new Set(late.map(({ stage }) => stage))).toEqual(new Set(["startup", "login"]));
});
