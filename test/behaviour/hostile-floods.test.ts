/**
 * Clients that send without end, or never take what they asked for. What they cost is bounded: pressure
 * passes through the pooler as if it were not there, and everybody else is served meanwhile.
 */
import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { rawCancel } from "../kit/raw-client.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { FloodClient } from "./flood-client.ts";
import { Bystander, type MemoryMeter, PoolerProcess, patienceMs } from "./hostile-pooler.ts";

const pg = useLab({ settings: { max_connections: "50" } });

/** The noise of the process itself: garbage that is not collected yet, code that is compiled. */
const noiseMb = 60;
const preparedMax = 50;

const sync: FrontendMessage = { kind: "Sync" };
const close: FrontendMessage = { kind: "Close", target: "statement", name: "a" };
const parse = (name: string, sql: string): FrontendMessage => ({ kind: "Parse", name, sql, types: [] });
const query = (sql: string): FrontendMessage => ({ kind: "Query", sql });

let pooler: PoolerProcess;
let bystander: Bystander;
let memory: MemoryMeter;

beforeAll(async () => {
  const { host, port } = pg.lab.primary;
  pooler = await PoolerProcess.start({
    settings: { max_client_conn: 400, default_pool_size: 3, max_prepared_statements: preparedMax },
    nodes: { main: { host, port } },
  });
});
beforeEach(async () => {
  bystander = await Bystander.start(pooler.place);
  await bystander.works();
  memory = pooler.startMeasuring();
});
afterEach(async () => {
  await bystander[Symbol.asyncDispose]();
  await pooler.untilOnly(0);
});
afterAll(async () => {
  await pooler[Symbol.asyncDispose]();
});

/** Somebody else is served all the time, in bounded memory, and the client can send no more. */
async function untilStuckAtNoCost(client: FloodClient): Promise<void> {
  await client.untilStuck(bystander);
  expect(client.unsentBytes).toBeGreaterThan(0);
  expect(memory.grownMb()).toBeLessThan(noiseMb);
}

async function waitEvent(where: string): Promise<string | null | undefined> {
  const { rows } = await pg.lab.primary.query(`select wait_event from pg_stat_activity where ${where}`);
  return rows[0]?.[0];
}

/**
 * A server waits until somebody takes its bytes, and nobody does: it has not been woken once, while others worked. That it
 * waits alone says little: it does so between any two writes until the kernel's buffers on the way are full.
 */
async function untilServerSleeps(where: string): Promise<void> {
  const question = `select pid from pg_stat_activity where ${where} and wait_event = 'ClientWrite'`;
  let before: string | undefined;
  let same = 0;
  await waitToSee(
    async () => {
      const { rows } = await pg.lab.primary.query(question);
      const pid = rows[0]?.[0];
      const status = pid === undefined ? "" : readFileSync(`/proc/${pid}/status`, "utf8");
      const switches = /^voluntary_ctxt_switches:.*$/m.exec(status)?.[0];
      same = switches !== undefined && switches === before ? same + 1 : 0;
      before = switches;
      await bystander.works(5);
      return { pid, switches, same };
    },
    () => same === 5,
    "PostgreSQL waits, for good",
    patienceMs,
  );
}

describe("a client that takes no replies", () => {
  test("and sends megabytes of Sync is not read from, and has them all in the end", async () => {
    using client = await FloodClient.connect(pooler.place);
    client.pause();
    const times = 2_000_000;
    client.repeat([sync], times);
    await untilStuckAtNoCost(client);
    client.resume();
    await client.until("Z", times);
    expect([...client.received]).toEqual([["Z", times]]);
  });

  test("and asks 100,000 things at once has all answers in order in the end", async () => {
    using client = await FloodClient.connect(pooler.place);
    client.pause();
    const [times, padding] = [100_000, `/*${"-".repeat(100)}*/`];
    client.send(
      ...Array.from({ length: times }, (_, index) => query(`select ${index}, version() ${padding}`)),
    );
    await untilStuckAtNoCost(client);
    client.resume();
    await client.until("Z", times);
    expect(client.values.length).toBe(times);
    expect(client.values.findIndex((value, index) => value !== String(index))).toBe(-1);
  });

  test("of 1 GB stops its server; nothing piles up, and leaving frees everything", async () => {
    using client = await FloodClient.connect(pooler.place);
    client.pause();
    client.send(query("select repeat('x', 1000000) from generate_series(1, 1000) /* 1 GB */"));
    const itsServer = "query like '%1 GB */' and pid <> pg_backend_pid() and state = 'active'";
    await untilServerSleeps(itsServer);
    expect(memory.grownMb()).toBeLessThan(noiseMb);
    client.reset();
    await waitUntil(async () => (await waitEvent(itsServer)) === undefined, "its server is gone", patienceMs);
    await bystander.works();
  });
});

describe("a client that sends without end", () => {
  test("Flush in a transaction: megabytes of it change nothing", async () => {
    using client = await FloodClient.connect(pooler.place);
    client.send(query("begin"));
    await client.until("Z", 1);
    client.repeat([{ kind: "Flush" }], 400_000);
    client.send(query("select 'after the flood'"), query("commit"));
    await client.until("Z", 3);
    await bystander.works();
    expect(client.values).toEqual(["after the flood"]);
    expect(memory.grownMb()).toBeLessThan(noiseMb);
  });

  test.each([
    ["Close", [close], 1_000_000],
    ["Parse and Close", [parse("a", `select '${"-".repeat(100)}'`), close], 50_000],
  ])(
    "%s behind a statement that runs: it has to wait, and has all answers in the end",
    async (_, batch, times) => {
      using client = await FloodClient.connect(pooler.place);
      client.send(query("select pg_sleep(1000)"));
      client.repeat(batch, times);
      client.send(sync);
      await untilStuckAtNoCost(client);
      await rawCancel(pooler.place, client.session);
      await client.until("Z", 2);
      expect(client.lastError?.code).toBe("57014");
      expect(client.received.get("3")).toBe(times);
      expect(client.received.get("1")).toBe(batch.length === 1 ? undefined : times);
    },
  );

  test("requests that no server answers before it reads the Sync behind them", async () => {
    using client = await FloodClient.connect(pooler.place);
    const times = 50_000;
    client.send(parse("", "select 1"));
    client.repeat([close], times);
    client.send(sync);
    await client.until("Z", 1);
    expect(client.received.get("3")).toBe(times);
  });

  test("COPY data to a server that has stopped: it has to wait, and nothing is stored", async () => {
    await pg.lab.primary.query("create table if not exists flooded (line text)");
    using client = await FloodClient.connect(pooler.place);
    client.send(query("begin"), query("select pg_backend_pid()"), query("copy flooded from stdin"));
    await client.until("G", 1);
    const backend = Number(client.values[0]);
    process.kill(backend, "SIGSTOP");
    try {
      client.repeat([{ kind: "CopyData", data: Buffer.alloc(9999, "copied\n") }], 5000);
      await untilStuckAtNoCost(client);
      client.reset();
      await bystander.works();
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

test("clients that stop in the middle of a message cost a socket each, whatever length they claim", async () => {
  const claims = [
    ["P", 60_000_000],
    ["B", 1_000_000_000],
    ["Q", 1_000_000_000],
    ["d", 1_000_000_000],
  ] as const;
  const clients = await Promise.all(Array.from({ length: 300 }, () => FloodClient.connect(pooler.place)));
  for (const [index, client] of clients.entries()) {
    const [letter, bytes] = claims[index % claims.length] ?? claims[0];
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes);
    client.send(Buffer.concat([Buffer.from(letter), length, Buffer.from("a")]));
  }
  // There are three servers: if these held some, nobody else would get one.
  await bystander.works(10);
  expect(memory.grownMb()).toBeLessThan(noiseMb);
  for (const client of clients) client[Symbol.dispose]();
});

describe("prepared statements", () => {
  /** Each batch prepares statements with texts and names that were never seen before. */
  async function prepare(
    client: FloodClient,
    batches: number,
    batch: number,
    closes: boolean,
  ): Promise<void> {
    for (let done = 0; done < batches; done++) {
      const names = Array.from({ length: batch }, (_, index) => `s${done * batch + index}`);
      client.send(...names.map((name) => parse(name, `select '${name}'`)));
      if (closes)
        client.send(...names.map((name): FrontendMessage => ({ ...close, name }) as FrontendMessage));
      client.send(sync);
      await client.until("Z", done + 1);
    }
  }

  test("of one client, 12,000 different ones, are its own affair and are forgotten with it", async () => {
    using client = await FloodClient.connect(pooler.place);
    const [batches, batch] = [4, 3000];
    await prepare(client, batches, batch, false);
    expect(client.received.get("1")).toBe(batches * batch);
    // A kilobyte or so for each, and noise; a PostgreSQL backend would keep ten times as much.
    expect(memory.grownMb()).toBeLessThan(60);
    expect((await pooler.alive()).SharedStatement).toBeLessThanOrEqual(batches * batch + 500);
    client.send(
      { kind: "Bind", portal: "", statement: "s10456", formats: [], values: [], resultFormats: [] },
      { kind: "Execute", portal: "", maxRows: 0 },
      sync,
    );
    await client.until("D", 1);
    expect(client.values).toEqual(["s10456"]);
    client[Symbol.dispose]();
    await pooler.untilOnly(1);
    // What the next client will perhaps prepare again is remembered, in a bounded number.
    expect((await pooler.alive()).SharedStatement).toBeLessThanOrEqual(500);
  });

  test("that are closed again do not pile up, in the pooler or on a server", async () => {
    using client = await FloodClient.connect(pooler.place);
    const [batches, batch] = [4, 500];
    await prepare(client, batches, batch, true);
    expect(client.received.get("3")).toBe(batches * batch);
    expect((await pooler.alive()).SharedStatement).toBeLessThanOrEqual(500);
    client.send(query("select count(*) from pg_prepared_statements"));
    await client.until("D", 1);
    expect(Number(client.values[0])).toBeLessThanOrEqual(preparedMax);
  });
});

test("after all this everybody is forgotten", async () => {
  await bystander[Symbol.asyncDispose]();
  const alive = await pooler.untilForgotten();
  expect(alive).toMatchObject({ Session: 0, Login: 0, Pool: 1 });
});
