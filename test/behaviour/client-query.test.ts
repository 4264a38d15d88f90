/** Queries of the client against a real server: results, errors, rows as they come, cancel, prepared statements. */
import { getEventListeners } from "node:events";
import { afterEach, describe, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { ConnectionOptions } from "../../src/client/connection-options.ts";
import { connectOptions } from "../../src/client/conninfo/options.ts";
import { ServerError } from "../../src/client/errors.ts";
import { nonNull, TypeRegistry, types } from "../../src/client/types/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil, within } from "../kit/wait.ts";

const setup = useLab();
const opened: Connection[] = [];

async function open(options: ConnectionOptions = {}): Promise<Connection> {
  const { primary } = setup.lab;
  const target = connectOptions({
    hosts: [{ host: primary.host, port: primary.port }],
    user: "postgres",
    sslmode: "disable",
  });
  const connection = await connect(target, options);
  opened.push(connection);
  return connection;
}

afterEach(async () => {
  for (const connection of opened.splice(0)) await connection.close();
});

const sqlstate = (code: string): unknown => expect.objectContaining({ sqlstate: code });

describe("a query", () => {
  test("returns rows as objects, with columns, command and count", async () => {
    const connection = await open();
    const result = await connection.query("SELECT 1 AS one, 'two' AS two, NULL AS three");
    expect(result).toMatchObject({
      command: "SELECT",
      rowCount: 1,
      rows: [{ one: 1, two: "two", three: null }],
    });
    expect(result.columns.map(({ name }) => name)).toEqual(["one", "two", "three"]);
  });

  test("takes parameters of any kind", async () => {
    const connection = await open();
    const { rows } = await connection.query(
      "SELECT $1::int4 AS a, $2::text AS b, $3::bool AS c, $4::int8 AS d, $5::bytea AS e, $6::text AS f",
      [7, "x'\"\\ ü😀", true, 9007199254740993n, Buffer.from([0, 255]), null],
    );
    expect(rows).toEqual([
      { a: 7, b: "x'\"\\ ü😀", c: true, d: 9007199254740993n, e: Buffer.from([0, 255]), f: null },
    ]);
  });

  test("tells an SQL array from JSON by the parameter's type", async () => {
    const connection = await open();
    const value = [1, 2, 3];
    for (let round = 0; round < 3; round++) {
      const { rows } = await connection.query(
        "SELECT $1::int4[] AS list, $2::jsonb AS json, $3::json AS object",
        [value, value, { a: [null, "b"] }],
      );
      expect(rows).toEqual([{ list: value, json: value, object: { a: [null, "b"] } }]);
    }
  });

  test("gives the same values in binary as in text", async () => {
    const connection = await open();
    const text = `SELECT 1::int2 a, -2::int4 b, 3::int8 c, 1.5::float8 d, 12345.678900::numeric e, 'x'::text f,
      true g, '\\xff00'::bytea h, '{"a":1}'::jsonb i, ARRAY[1,NULL,3] j, '2024-02-29'::date k,
      '2024-02-29 12:34:56.123456+02'::timestamptz l`;
    const binary = await connection.query(text, [], { format: "binary" });
    expect(binary.rows).toEqual((await connection.query(text, [])).rows);
  });

  test("gives rows as arrays, as bytes, or by the codecs that are named", async () => {
    const connection = await open();
    const text = "SELECT 1 AS a, 2 AS a";
    expect((await connection.query(text, [], { rowMode: "array" })).rows).toEqual([[1, 2]]);
    expect((await connection.query(text, [], { rowMode: "raw" })).rows).toEqual([
      [Buffer.from("1"), Buffer.from("2")],
    ]);
    expect((await connection.query(text)).rows).toEqual([{ a: 2 }]);
  });

  test("gives the server's own texts", async () => {
    const connection = await open();
    const { rows } = await connection.query("SELECT 1.50::numeric, true, NULL", [], { rowMode: "text" });
    expect(rows).toEqual([["1.50", "t", null]]);
  });

  test("checks the columns that it was said to return, and that they are not NULL", async () => {
    const connection = await open();
    const columns = { a: nonNull(types.int4), b: types.text };
    expect((await connection.query("SELECT 1 AS a, 'x' AS b", [], { columns })).rows).toEqual([
      { a: 1, b: "x" },
    ]);
    const wrong = connection.query("SELECT 1 AS a, 2 AS b", [], { columns });
    await expect(wrong).rejects.toMatchObject({ code: "client.column_type" });
    const missing = connection.query("SELECT 1 AS a", [], { columns });
    await expect(missing).rejects.toMatchObject({ code: "client.column_type" });
    const empty = connection.query("SELECT NULL::int4 AS a, 'x' AS b", [], { columns });
    await expect(empty).rejects.toMatchObject({ code: "client.bad_value", sqlstate: "22004" });
  });

  test("takes a value the same way, whatever stands beside it", async () => {
    const connection = await open();
    const day = new Date("2026-02-03T04:05:06Z");
    const text = "SELECT $1::jsonb AS a, $2::jsonb AS b, $3::int4[] AS c";
    const expected = { a: 5, b: day.toISOString() };
    expect((await connection.query(text, [5n, day, [1]])).rows).toEqual([{ ...expected, c: [1] }]);
    expect((await connection.query(`${text} `, [5n, day, null])).rows).toEqual([{ ...expected, c: null }]);
    expect((await connection.query(`${text}  `, [5n, null, null])).rows).toEqual([
      { a: 5, b: null, c: null },
    ]);
  });

  test("sends what a codec of the caller's makes of a value", async () => {
    const connection = await open({ types: TypeRegistry.builtin.extend(types.timestamptzAsMicroseconds) });
    const { rows } = await connection.query("SELECT $1::timestamptz AS a, $2::int4 AS b", [1_500_000n, 3]);
    expect(rows).toEqual([{ a: 1_500_000n, b: 3 }]);
  });

  test("keeps a column with the name __proto__", async () => {
    const connection = await open();
    const { rows } = await connection.query('SELECT 1 AS "__proto__", 2 AS b');
    expect(Object.entries(rows[0] ?? {})).toEqual(
      expect.arrayContaining([
        ["__proto__", 1],
        ["b", 2],
      ]),
    );
  });

  test("that returns no rows counts what it did", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    expect(await connection.query("INSERT INTO t SELECT generate_series(1, 10)")).toMatchObject({
      command: "INSERT",
      rowCount: 10,
      rows: [],
    });
    expect(await connection.query("")).toMatchObject({ command: "", rowCount: null });
    expect(await connection.query("CREATE TEMP TABLE u ()")).toMatchObject({
      command: "CREATE TABLE",
      rowCount: null,
    });
  });

  test("that fails rejects with every field of the server's error, and the session goes on", async () => {
    const connection = await open();
    const error = await connection.query("SELECT nonsense").then(undefined, (reason: unknown) => reason);
    expect(error).toBeInstanceOf(ServerError);
    expect(error).toMatchObject({ sqlstate: "42703", fields: { severity: "ERROR", position: "8" } });
    expect((await connection.query("SELECT 1 AS a")).rows).toEqual([{ a: 1 }]);
  });

  test("with a text that PostgreSQL cannot hold is refused before anything is sent", async () => {
    const connection = await open();
    await expect(connection.query("SELECT $1::text", ["a\0b"])).rejects.toMatchObject({ sqlstate: "22021" });
    await expect(connection.query("SELECT '\ud800'")).rejects.toMatchObject({ sqlstate: "22021" });
    expect((await connection.query("SELECT 2 AS a")).rows).toEqual([{ a: 2 }]);
  });

  test("of COPY is refused and leaves the session usable", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    const misused = { code: "client.copy_misused" };
    await expect(connection.query("COPY t FROM STDIN")).rejects.toMatchObject(misused);
    await expect(connection.query("COPY t TO STDOUT")).rejects.toMatchObject(misused);
    await expect(connection.execute("COPY t FROM STDIN")).rejects.toMatchObject(misused);
    await expect(connection.execute("COPY t TO STDOUT")).rejects.toMatchObject(misused);
    expect((await connection.query("SELECT count(*)::int AS n FROM t")).rows).toEqual([{ n: 0 }]);
  });
});

describe("queries asked for together", () => {
  test("are answered in order, each with its own outcome", async () => {
    const connection = await open();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 2000 }, (_, index) =>
        index % 7 === 3
          ? connection.query("SELECT 1 / 0")
          : connection.query<{ i: number }>("SELECT $1::int4 AS i", [index]),
      ),
    );
    for (const [index, outcome] of outcomes.entries()) {
      if (index % 7 === 3)
        expect(outcome).toMatchObject({ status: "rejected", reason: { sqlstate: "22012" } });
      else expect(outcome).toMatchObject({ status: "fulfilled", value: { rows: [{ i: index }] } });
    }
  });

  test("of one text are prepared under a name once it has come often", async () => {
    const connection = await open({ prepareThreshold: 2 });
    const prepared =
      "SELECT count(*)::int AS n FROM pg_prepared_statements WHERE statement = 'SELECT 42 AS a'";
    const run = async (): Promise<unknown> => (await connection.query("SELECT 42 AS a")).rows;
    for (let round = 0; round < 5; round++) expect(await run()).toEqual([{ a: 42 }]);
    expect((await connection.query(prepared)).rows).toEqual([{ n: 1 }]);
  });
});

describe("a prepared statement", () => {
  test("whose result has changed is prepared anew, unseen", async () => {
    const connection = await open({ prepareThreshold: 0 });
    await connection.query("CREATE TEMP TABLE t AS SELECT 1 AS a");
    expect((await connection.query("SELECT * FROM t")).rows).toEqual([{ a: 1 }]);
    await connection.query("ALTER TABLE t ADD COLUMN b text DEFAULT 'new'");
    expect((await connection.query("SELECT * FROM t")).rows).toEqual([{ a: 1, b: "new" }]);
    expect((await connection.query("SELECT * FROM t")).rows).toEqual([{ a: 1, b: "new" }]);
  });

  test("that somebody has deallocated is prepared anew, unseen", async () => {
    const connection = await open({ prepareThreshold: 0 });
    for (let round = 0; round < 2; round++) await connection.query("SELECT 5 AS a");
    await connection.query("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$");
    expect((await connection.query("SELECT 5 AS a")).rows).toEqual([{ a: 5 }]);
    await connection.execute("DISCARD ALL");
    expect((await connection.query("SELECT 5 AS a")).rows).toEqual([{ a: 5 }]);
  });

  test("is closed when it leaves the cache", async () => {
    const connection = await open({ prepareThreshold: 0, statementCacheSize: 3 });
    for (let index = 0; index < 20; index++) await connection.query(`SELECT ${index} AS a`);
    const { rows } = await connection.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM pg_prepared_statements",
    );
    expect(rows[0]?.n).toBeLessThanOrEqual(4);
  });

  test("that cannot be parsed fails with the parser's error, every time", async () => {
    const connection = await open({ prepareThreshold: 0 });
    const outcomes = await Promise.allSettled([
      connection.query("SELECT * FROM missing"),
      connection.query("SELECT * FROM missing"),
      connection.query("SELECT 1 AS a"),
    ]);
    expect(outcomes).toMatchObject([
      { reason: { sqlstate: "42P01" } },
      { reason: { sqlstate: "42P01" } },
      { value: { rows: [{ a: 1 }] } },
    ]);
  });
});

describe("rows as they come", () => {
  test("all arrive, in order, and memory stays bounded", async () => {
    const connection = await open();
    let next = 0;
    const query = connection.query<{ i: number }>(
      "SELECT i, repeat('x', 500) AS t FROM generate_series(0, 99999) i",
    );
    for await (const { i } of query) expect(i).toBe(next++);
    expect(next).toBe(100_000);
  });

  test("leaving early cancels the rest, and the session is usable", async () => {
    const connection = await open();
    for await (const row of connection.query("SELECT generate_series(1, 1000000000) AS i")) {
      expect(row).toBeDefined();
      break;
    }
    expect((await connection.query("SELECT 1 AS a")).rows).toEqual([{ a: 1 }]);
  });

  test("leaving early within a transaction leaves the transaction whole", async () => {
    const connection = await open();
    await connection.query("BEGIN");
    for await (const row of connection.query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)")) {
      expect(row).toBeDefined();
      break;
    }
    for await (const chunk of connection.copyTo("COPY (SELECT generate_series(1, 1000000)) TO STDOUT")) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    expect(connection.transactionState).toBe("in-transaction");
    expect((await connection.query("COMMIT")).command).toBe("COMMIT");
  });

  test("an error behind rows is thrown behind them", async () => {
    const connection = await open();
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const row of connection.query("SELECT 1 / (3 - i) AS q FROM generate_series(1, 5) i"))
        seen.push(row);
    })();
    await expect(reading).rejects.toMatchObject({ sqlstate: "22012" });
  });

  test("another query inside of the loop does not wait for ever", async () => {
    const connection = await open();
    const rows = connection.query<{ i: number }>(
      "SELECT i, repeat('x', 1000) t FROM generate_series(1, 5000) i",
    );
    let sum = 0;
    for await (const { i } of rows) {
      if (i === 1) sum += (await connection.query<{ a: number }>("SELECT 1000 AS a")).rows[0]?.a ?? 0;
      sum++;
    }
    expect(sum).toBe(6000);
  });

  test("are taken once", async () => {
    const connection = await open();
    const query = connection.query("SELECT 1");
    await query;
    await expect(query.chunks().next()).rejects.toMatchObject({ code: "client.query_taken" });
  });
});

describe("a signal", () => {
  test("cancels what runs, rejects with its reason, and hits nothing else", async () => {
    const connection = await open();
    const control = new AbortController();
    const slow = connection.query("SELECT pg_sleep(60)", [], { signal: control.signal });
    const behind = connection.query("SELECT 'behind' AS a");
    const watcher = await open();
    await waitUntil(async () => {
      const { rows } = await watcher.query(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%' AND state = 'active'",
      );
      return rows.length === 1;
    }, "the query runs");
    const reason = new Error("enough");
    control.abort(reason);
    await expect(slow).rejects.toBe(reason);
    expect((await behind).rows).toEqual([{ a: "behind" }]);
    for (let round = 0; round < 20; round++) await connection.query("SELECT pg_sleep(0.001)");
  });

  test("ends the query also if the request overtakes it on its way to the server", async () => {
    const connection = await open();
    for (let round = 0; round < 200; round++) {
      const control = new AbortController();
      const slow = connection.query("SELECT pg_sleep(600)", [], { signal: control.signal });
      const outcome = expect(within(slow, "the query is aborted")).rejects.toThrow("enough");
      // From the same turn on until the server has surely begun.
      for (let turn = 0; turn < round % 20; turn++) await new Promise(setImmediate);
      control.abort(new Error("enough"));
      await outcome;
    }
    expect((await connection.query("SELECT 1 AS a")).rows).toEqual([{ a: 1 }]);
  });

  test("that was aborted before sends nothing", async () => {
    const connection = await open();
    const reason = new Error("too late");
    await expect(connection.query("SELECT 1/0", [], { signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    await expect(connection.execute("SELECT 1/0", { signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
  });

  test("takes a query out that still waits", async () => {
    const connection = await open();
    const control = new AbortController();
    const first = connection.query("SELECT pg_sleep(0.2)", [], { signal: new AbortController().signal });
    const waiting = connection.query("SELECT 1/0", [], { signal: control.signal });
    control.abort(new Error("out"));
    await expect(waiting).rejects.toThrow("out");
    await first;
  });

  test("leaves no listener behind", async () => {
    const connection = await open();
    const { signal } = new AbortController();
    await connection.query("SELECT 1", [], { signal });
    await connection.execute("SELECT 1", { signal });
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});

describe("execute", () => {
  test("runs several statements and gives a result for each", async () => {
    const connection = await open();
    const results = await connection.execute("SELECT 1 AS a; CREATE TEMP TABLE t (); ; SELECT 2 AS b");
    expect(results.map(({ command, rows }) => [command, rows])).toEqual([
      ["SELECT", [{ a: 1 }]],
      ["CREATE TABLE", []],
      ["SELECT", [{ b: 2 }]],
    ]);
  });

  test("rejects with the first error; nothing of the rest is run", async () => {
    const connection = await open();
    const heard: unknown[] = [];
    const onResult = ({ rows }: { rows: unknown[] }): void => void heard.push(rows);
    const failing = connection.execute("SELECT 1 AS a; SELECT 1/0 AS a; SELECT 3 AS a", { onResult });
    await expect(failing).rejects.toEqual(sqlstate("22012"));
    expect(heard).toEqual([[{ a: 1 }]]);
    await expect(connection.execute("SELECT 1; SELECT 1/0; SELECT 3")).rejects.toEqual(sqlstate("22012"));
    expect(connection.transactionState).toBe("idle");
  });
});

describe("the end of the session", () => {
  test("rejects what runs and what waits with the server's last words", async () => {
    const connection = await open();
    const killer = await open();
    const running = connection.query("SELECT pg_sleep(60)");
    const waiting = connection.execute("SELECT 1");
    const outcomes = Promise.allSettled([running, waiting]);
    await killer.query("SELECT pg_terminate_backend($1)", [connection.backendPid]);
    const [first, second] = await outcomes;
    expect(first).toMatchObject({ status: "rejected", reason: { sqlstate: "57P01" } });
    expect(second).toMatchObject({ status: "rejected", reason: { code: "client.connection_lost" } });
    expect(await connection.closed).toMatchObject({ sqlstate: "57P01" });
    expect(connection.usable).toBe(false);
    expect(connection.transactionState).toBe("unknown");
    await expect(connection.query("SELECT 1")).rejects.toMatchObject({ code: "client.connection_lost" });
  });

  test("comes at once if text could no longer be read", async () => {
    const connection = await open();
    await expect(connection.query("SET client_encoding = 'LATIN1'")).rejects.toMatchObject({
      code: "client.encoding_unsupported",
    });
    expect(connection.usable).toBe(false);
  });

  test("close lets what was asked for finish", async () => {
    const connection = await open();
    const last = connection.query("SELECT 1 AS a");
    await connection.close();
    expect((await last).rows).toEqual([{ a: 1 }]);
    await expect(connection.query("SELECT 1")).rejects.toMatchObject({ code: "client.connection_closed" });
    expect(await connection.closed).toBeUndefined();
  });

  test("reset gives a new session", async () => {
    const connection = await open();
    const pid = connection.backendPid;
    await connection.query("SET search_path = nowhere");
    await connection.reset();
    expect(connection.backendPid).not.toBe(pid);
    const { rows } = await connection.query("SHOW search_path");
    expect(rows).toEqual([{ search_path: '"$user", public' }]);
  });
});

test("what is known of a session is told", async () => {
  const connection = await open();
  expect(connection.serverVersion).toBeGreaterThanOrEqual(180000);
  expect(connection.protocolVersion).toBe(30000);
  expect(connection.parameterStatus("server_encoding")).toBe("UTF8");
  expect(connection.transactionState).toBe("idle");
  const running = connection.query("SELECT 1");
  expect(connection.transactionState).toBe("active");
  await running;
  await connection.query("BEGIN");
  expect(connection.transactionState).toBe("in-transaction");
  await expect(connection.query("SELECT 1/0")).rejects.toBeInstanceOf(ServerError);
  expect(connection.transactionState).toBe("failed");
  await connection.query("ROLLBACK");
  expect(connection.transactionState).toBe("idle");
  await connection.query("SET application_name = 'known'");
  expect(connection.parameterStatus("application_name")).toBe("known");
});
