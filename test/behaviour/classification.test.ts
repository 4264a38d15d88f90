/**
 * Auto mode reads SQL, and so can be attacked with SQL: texts that are never the same, huge or deep. They cost bounded
 * memory, the event loop goes on, and others are served. What came of it SHOW CLASSIFIER tells.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { table } from "./console-client.ts";
import { FloodClient } from "./flood-client.ts";
import { Bystander, PoolerProcess } from "./hostile-pooler.ts";
import { Pooled } from "./pooled.ts";

const pg = useLab();
const query = (sql: string): FrontendMessage => ({ kind: "Query", sql });

test("SHOW CLASSIFIER counts by which way a text became known", async () => {
  await using pooled = await Pooled.start(pg.lab, {
    settings: { pool_mode: "auto", admin_users: "postgres" },
  });
  using console = await pooled.connect({ database: "pgbouncer" });
  expect(await table(console, "show classifier")).toEqual([
    expect.objectContaining({ parses: "0", unknown: "0", shape_hits: "0" }) as object,
  ]);
  using client = await pooled.connect();
  const gain = async (sql: string): Promise<Record<string, number>> => {
    const before = (await table(console, "show classifier"))[0] ?? {};
    await client.run(sql);
    const after = (await table(console, "show classifier"))[0] ?? {};
    const counts = ["shape_hits", "text_hits", "scanner_hits", "parses", "unparsable", "unknown"];
    const gained = counts.map((name) => [name, Number(after[name]) - Number(before[name])] as const);
    return Object.fromEntries(gained.filter(([, count]) => count !== 0));
  };
  expect(await gain("select 1 as one")).toEqual({ parses: 1 });
  expect(await gain("select 2 as one")).toEqual({ shape_hits: 1 });
  expect(await gain("set work_mem = '5MB'")).toEqual({ scanner_hits: 1 });
  expect(await gain("set work_mem = '5MB'")).toEqual({ text_hits: 1 });
  expect(await gain("selct")).toEqual({ parses: 1, unparsable: 1 });
  expect(await gain(`select '${"x".repeat(70_000)}'`)).toEqual({ unknown: 1 });
});

describe("hostile texts", () => {
  let pooler: PoolerProcess;
  let bystander: Bystander;
  beforeAll(async () => {
    const { host, port } = pg.lab.primary;
    pooler = await PoolerProcess.start({
      settings: { pool_mode: "auto", default_pool_size: 4, admin_users: "postgres" },
      nodes: { main: { host, port } },
    });
    bystander = await Bystander.start(pooler.place);
    await bystander.works();
  });
  afterAll(async () => {
    await bystander[Symbol.asyncDispose]();
    await pooler[Symbol.asyncDispose]();
  });

  /** All caches together (Classifier). */
  const cacheBytesMax = 16 * 1024 * 1024;
  const clients = 10;

  const streams: readonly (readonly [what: string, times: number, sql: (unique: string) => string])[] = [
    [
      "thousands of small ones",
      300,
      (unique) => `select 1 as c${unique}, a${unique} from (select 2 as a${unique}) t${unique}`,
    ],
    ["of a megabyte", 3, (unique) => `select '${unique.padEnd(1_000_000, "x")}'`],
    [
      "100,000 parentheses deep",
      3,
      (unique) => `select ${"(".repeat(100_000)}${unique}${")".repeat(100_000)}`,
    ],
    [
      "as deep as their length allows",
      10,
      (unique) => `select ${"(".repeat(30_000)}${unique}${")".repeat(30_000)}`,
    ],
    ["of as many words as are read", 10, (unique) => `select ${`c${unique}, `.repeat(4000)}1`],
  ];

  test.each(streams)(
    "that are never the same, %s: others work, and it costs bounded memory",
    async (what, times, sql) => {
      const flood = await Promise.all(
        Array.from({ length: clients }, () => FloodClient.connect(pooler.place)),
      );
      await pooler.delays();
      const memory = pooler.startMeasuring();
      const startedMs = performance.now();
      for (const [index, client] of flood.entries()) {
        for (let time = 0; time < times; time++)
          client.send(query(sql(`${index}${String(time).padStart(5, "0")}`)));
      }
      await Promise.all(flood.map((client) => client.until("Z", times)));
      const seconds = (performance.now() - startedMs) / 1000;
      const { p50Ms, p99Ms, maxMs } = await pooler.delays();
      console.info(
        `${what}: ${Math.round((clients * times) / seconds)} statements/s, event loop p50 ${p50Ms.toFixed(0)} ms, p99 ${p99Ms.toFixed(0)} ms, max ${maxMs.toFixed(0)} ms, ${memory.grownMb().toFixed(0)} MB`,
      );
      for (const client of flood) client[Symbol.dispose]();
      await bystander.works();
      // The caches may be full, each of the ten may have a megabyte on its way in, and the rest is young garbage.
      expect(memory.grownMb()).toBeLessThan(120);
      using console_ = await pooler.connect({ database: "pgbouncer" });
      console_.send(query("show classifier"));
      const rows = await console_.until("ReadyForQuery");
      const row = rows.flatMap((message) => (message.kind === "DataRow" ? message.values.map(Number) : []));
      expect((row[8] ?? 0) + (row[10] ?? 0)).toBeLessThanOrEqual(cacheBytesMax);
      expect(row[11]).toBe(0);
    },
  );
});
