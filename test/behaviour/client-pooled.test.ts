/** The client through the pooler, in each of its modes: what works directly works there too. */
import { afterEach, describe, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { ConnectionOptions } from "../../src/client/connection-options.ts";
import { connectOptions } from "../../src/client/conninfo/options.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { Pooled } from "./pooled.ts";

const setup = useLab();
const closing: AsyncDisposable[] = [];

afterEach(async () => {
  for (const each of closing.splice(0).toReversed()) await each[Symbol.asyncDispose]();
});

async function start(mode: string, poolSize = 2): Promise<Pooled> {
  const pooled = await Pooled.start(setup.lab, {
    settings: { pool_mode: mode, default_pool_size: poolSize },
  });
  closing.push(pooled);
  return pooled;
}

async function open(pooled: Pooled, options: ConnectionOptions = {}): Promise<Connection> {
  const { host, port } = pooled.pooler.address;
  const target = connectOptions({ hosts: [{ host, port }], user: "postgres", sslmode: "disable" });
  const connection = await connect(target, options);
  closing.push(connection);
  return connection;
}

describe.each(["session", "transaction", "statement"])("in %s mode", (mode) => {
  test("queries asked for together by several clients come back to whom they belong", async () => {
    const pooled = await start(mode, 4);
    const clients = await Promise.all(Array.from({ length: 4 }, () => open(pooled, { prepareThreshold: 2 })));
    const answers = clients.flatMap((client, place) =>
      Array.from({ length: 200 }, async (_, index) => {
        const { rows } = await client.query("SELECT $1::int4 AS client, $2::int4 AS index", [place, index]);
        expect(rows).toEqual([{ client: place, index }]);
      }),
    );
    await Promise.all(answers);
  });

  test("rows as they come, leaving early, and COPY", async () => {
    const connection = await open(await start(mode));
    for await (const row of connection.query("SELECT generate_series(1, 1000000000) AS i")) {
      expect(row).toEqual({ i: 1 });
      break;
    }
    let bytes = 0;
    for await (const chunk of connection.copyTo("COPY (SELECT generate_series(1, 100000)) TO STDOUT")) {
      bytes += chunk.length;
    }
    expect(bytes).toBe(588_895);
    expect((await connection.query("SELECT $1::text[] AS list", [["a", null]])).rows).toEqual([
      { list: ["a", null] },
    ]);
  });

  test("a signal cancels what runs and nothing else", async () => {
    const pooled = await start(mode);
    const [connection, other] = [await open(pooled), await open(pooled)];
    const control = new AbortController();
    const slow = connection.query("SELECT pg_sleep(61)", [], { signal: control.signal });
    await waitUntil(async () => {
      const running = "SELECT FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(61)'";
      return (await setup.lab.primary.query(running)).rows.length === 1;
    }, "the query runs");
    const reason = new Error("enough");
    control.abort(reason);
    await expect(slow).rejects.toBe(reason);
    for (let round = 0; round < 20; round++) {
      await Promise.all([connection, other].map((client) => client.query("SELECT pg_sleep(0.001)")));
    }
  });
});

test("in transaction mode statements of one client are prepared on every server it comes to", async () => {
  const pooled = await start("transaction", 3);
  const clients = await Promise.all(
    Array.from({ length: 6 }, () => open(pooled, { prepareThreshold: 0, statementCacheSize: 5 })),
  );
  for (let round = 0; round < 30; round++) {
    const answers = clients.map((client) => client.query(`SELECT ${round % 8} AS a`));
    for (const { rows } of await Promise.all(answers)) expect(rows).toEqual([{ a: round % 8 }]);
  }
});

test("in transaction mode a pipeline and a transaction keep their server", async () => {
  const pooled = await start("transaction", 1);
  const connection = await open(pooled);
  await connection.transaction(async () => {
    await connection.query("CREATE TEMP TABLE t (a int) ON COMMIT DROP");
    await connection.query("INSERT INTO t VALUES (1)");
    expect((await connection.query("SELECT * FROM t")).rows).toEqual([{ a: 1 }]);
  });
  await using pipeline = connection.pipeline();
  const answers = [1, 2, 3].map((value) => pipeline.query("SELECT $1::int4 AS a", [value]));
  await pipeline.sync();
  expect((await Promise.all(answers)).map(({ rows }) => rows)).toEqual([[{ a: 1 }], [{ a: 2 }], [{ a: 3 }]]);
});
