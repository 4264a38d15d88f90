/**
 * Clients that send without end, or never take what they asked for. What they cost is bounded: pressure
 * passes through the pooler as if it were not there, and everybody else is served meanwhile.
 */
import { describe, expect, test } from "vitest";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { rawCancel } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { FloodClient } from "./flood-client.ts";
import { Bystander, PoolerProcess, patienceMs } from "./hostile-pooler.ts";

const pg = useLab({ settings: { max_connections: "50" } });

/** The noise of the process itself: garbage that is not collected yet, code that is compiled. */
const noiseMb = 60;

const sync: FrontendMessage = { kind: "Sync" };
const close: FrontendMessage = { kind: "Close", target: "statement", name: "a" };
const parse = (name: string, sql: string): FrontendMessage => ({ kind: "Parse", name, sql, types: [] });
const query = (sql: string): FrontendMessage => ({ kind: "Query", sql });

function startPooler(settings: Readonly<Record<string, unknown>> = {}): Promise<PoolerProcess> {
  const { host, port } = pg.lab.primary;
  return PoolerProcess.start({ settings, nodes: { main: { host, port } } });
}

async function waitEvent(where: string): Promise<string | null | undefined> {
  const { rows } = await pg.lab.primary.query(`select wait_event from pg_stat_activity where ${where}`);
  return rows[0]?.[0];
}

describe("a client that takes no replies", () => {
  test("and sends 5 MB of Sync is not read from, and has them all in the end", async () => {
    await using pooler = await startPooler();
    await using bystander = await Bystander.start(pooler.place);
    using client = await FloodClient.connect(pooler.place);
    client.pause();
    await bystander.works();
    const memory = pooler.startMeasuring();
    const times = 1024 * 1024;
    client.repeat(sync, times);
    await client.untilStuck(bystander);
    expect(memory.grownMb()).toBeLessThan(noiseMb);
    client.resume();
    await client.until("Z", times);
    expect([...client.received]).toEqual([["Z", times]]);
    client[Symbol.dispose]();
    await pooler.untilOnly(1);
  });

  test("and asks 100,000 things at once has all answers in order in the end", async () => {
    await using pooler = await startPooler();
    await using bystander = await Bystander.start(pooler.place);
    using client = await FloodClient.connect(pooler.place);
    client.pause();
    await bystander.works();
    const memory = pooler.startMeasuring();
    const times = 100_000;
    const asked = Array.from({ length: times }, (_, index) => query(`select ${index}, repeat('-', 500)`));
    client.send(...asked);
    await client.untilStuck(bystander);
    expect(client.unsentBytes).toBeGreaterThan(0);
    expect(memory.grownMb()).toBeLessThan(noiseMb);
    client.resume();
    await client.until("Z", times);
    expect(client.values.map(Number)).toEqual(asked.map((_, index) => index));
    client[Symbol.dispose]();
    await pooler.untilOnly(1);
  });

  test("of 1 GB stops its server; nothing piles up, and leaving frees everything", async () => {
    await using pooler = await startPooler();
    await using bystander = await Bystander.start(pooler.place);
    using client = await FloodClient.connect(pooler.place, [["application_name", "sleeper"]]);
    client.pause();
    await bystander.works();
    const memory = pooler.startMeasuring();
    client.send(query("select repeat('x', 1000000) from generate_series(1, 1000) /* 1 GB */"));
    const itsServer = "query like '%1 GB */' and pid <> pg_backend_pid() and state = 'active'";
    await waitUntil(
      async () => (await waitEvent(itsServer)) === "ClientWrite",
      "PostgreSQL waits",
      patienceMs,
    );
    await bystander.works(10);
    expect(await waitEvent(itsServer)).toBe("ClientWrite");
    expect(memory.grownMb()).toBeLessThan(noiseMb);
    client.reset();
    await waitUntil(async () => (await waitEvent(itsServer)) === undefined, "its server is gone", patienceMs);
    await pooler.untilOnly(1);
  });
});

describe("a client that sends without end", () => {
  test("Flush in a transaction: 5 MB of it change nothing", async () => {
    await using pooler = await startPooler();
    await using bystander = await Bystander.start(pooler.place);
    using client = await FloodClient.connect(pooler.place);
    client.send(query("begin"));
    await client.until("Z", 1);
    const memory = pooler.startMeasuring();
    client.repeat({ kind: "Flush" }, 1024 * 1024);
    client.send(query("select 'after the flood'"), query("commit"));
    await client.until("Z", 3);
    await bystander.works();
    expect(client.values).toEqual(["after the flood"]);
    expect(memory.grownMb()).toBeLessThan(noiseMb);
    client[Symbol.dispose]();
    await pooler.untilOnly(1);
  });

  test.each([
    ["Close", [close], 1_000_000],
    ["Parse and Close", [parse("a", "select 1"), close], 100_000],
  ])(
    "%s behind a statement that runs: it is not read from, and has all answers in the end",
    async (_, batch, times) => {
      await using pooler = await startPooler();
      await using bystander = await Bystander.start(pooler.place);
      using client = await FloodClient.connect(pooler.place);
      await bystander.works();
      const memory = pooler.startMeasuring();
      client.send(query("select pg_sleep(1000)"), ...Array.from({ length: times }, () => batch).flat(), sync);
      await client.untilStuck(bystander);
      expect(client.unsentBytes).toBeGreaterThan(0);
      expect(memory.grownMb()).toBeLessThan(noiseMb);
      await rawCancel(pooler.place, client.session);
      await client.until("Z", 2);
      expect(client.lastError?.code).toBe("57014");
      expect(client.received.get("3")).toBe(times);
      expect(client.received.get("1")).toBe(batch.length === 1 ? undefined : times);
      client[Symbol.dispose]();
      await pooler.untilOnly(1);
    },
  );

  test("requests to which the answers are held back without a Sync", async () => {
    await using pooler = await startPooler();
    using client = await FloodClient.connect(pooler.place);
    const times = 50_000;
    client.send(parse("", "select 1"), ...Array.from({ length: times }, () => close), sync);
    await client.until("Z", 1);
    expect(client.received.get("3")).toBe(times);
    client[Symbol.dispose]();
    await pooler.untilOnly(0);
  });

  test("COPY data to a server that has stopped: it is not read from, and nothing is stored", async () => {
    await using pooler = await startPooler();
    await using bystander = await Bystander.start(pooler.place);
    await pg.lab.primary.query("create table if not exists flooded (line text)");
    using client = await FloodClient.connect(pooler.place);
    client.send(query("begin"), query("select pg_backend_pid()"), query("copy flooded from stdin"));
    await client.until("G", 1);
    const backend = Number(client.values[0]);
    process.kill(backend, "SIGSTOP");
    try {
      await bystander.works();
      const memory = pooler.startMeasuring();
      client.repeat({ kind: "CopyData", data: Buffer.alloc(9999, "copied\n") }, 10_000);
      await client.untilStuck(bystander);
      expect(client.unsentBytes).toBeGreaterThan(0);
      expect(memory.grownMb()).toBeLessThan(noiseMb);
      client.reset();
      await pooler.untilOnly(1);
    } finally {
      process.kill(backend, "SIGCONT");
    }
    await waitUntil(
      async () => (await waitEvent(`pid = ${backend}`)) === undefined,
      "it has ended",
      patienceMs,
    );
    expect((await pg.lab.primary.query("select count(*) from flooded")).rows).toEqual([["0"]]);
  });
});

test("claims of long messages without a byte of them cost nothing", async () => {
  await using pooler = await startPooler({ max_client_conn: 400 });
  await using bystander = await Bystander.start(pooler.place);
  await bystander.works();
  const memory = pooler.startMeasuring();
  const clients = await Promise.all(Array.from({ length: 300 }, () => FloodClient.connect(pooler.place)));
  for (const [index, client] of clients.entries()) {
    const header = Buffer.from("PBQdF".charAt(index % 5));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(60 * 1024 * 1024);
    client.send(Buffer.concat([header, length, Buffer.from("a")]));
  }
  await bystander.works(10);
  expect(memory.grownMb()).toBeLessThan(noiseMb);
  for (const client of clients) client[Symbol.dispose]();
  await pooler.untilOnly(1);
});

describe("prepared statements", () => {
  test("100,000 of one client are its own affair, and are forgotten with it", async () => {
    await using pooler = await startPooler();
    await using bystander = await Bystander.start(pooler.place);
    await bystander.works();
    using client = await FloodClient.connect(pooler.place);
    const memory = pooler.startMeasuring();
    const [times, batch] = [100_000, 5000];
    for (let done = 0; done < times; done += batch) {
      const names = Array.from({ length: batch }, (_, index) => `s${done + index}`);
      client.send(...names.map((name) => parse(name, `select '${name}'`)), sync);
      await client.until("Z", done / batch + 1);
    }
    expect(client.received.get("1")).toBe(times);
    // About 600 bytes for each, as for a PostgreSQL backend, which keeps 10 times as much.
    expect(memory.grownMb()).toBeLessThan(200);
    expect((await pooler.report()).alive.SharedStatement).toBe(times);
    await bystander.works();
    client.send(
      { kind: "Bind", portal: "", statement: "s77777", formats: [], values: [], resultFormats: [] },
      { kind: "Execute", portal: "", maxRows: 0 },
      sync,
    );
    await client.until("D", 1);
    expect(client.values).toEqual(["s77777"]);
    client[Symbol.dispose]();
    const { alive } = await pooler.untilOnly(1);
    // What the next client will perhaps prepare again is remembered, in a bounded number.
    expect(alive.SharedStatement).toBeLessThanOrEqual(500);
  });

  test("that are closed again do not pile up, in the pooler or on the server", async () => {
    await using pooler = await startPooler({ default_pool_size: 1, max_prepared_statements: 50 });
    using client = await FloodClient.connect(pooler.place);
    const [batches, batch] = [10, 500];
    for (let done = 1; done <= batches; done++) {
      const names = Array.from({ length: batch }, (_, index) => `s${done}-${index}`);
      const closes = names.map((name): FrontendMessage => ({ kind: "Close", target: "statement", name }));
      client.send(...names.map((name) => parse(name, `select '${name}'`)), ...closes, sync);
      await client.until("Z", done);
    }
    expect(client.received.get("3")).toBe(batches * batch);
    expect((await pooler.report()).alive.SharedStatement).toBeLessThanOrEqual(500);
    client.send(query("select count(*) from pg_prepared_statements"));
    await client.until("D", 1);
    expect(client.values).toEqual(["50"]);
    client[Symbol.dispose]();
    await pooler.untilOnly(0);
  });
});
