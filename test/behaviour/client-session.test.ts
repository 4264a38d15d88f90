/** COPY, pipelines, transactions, LISTEN, cancel and tracing of the client, against a real server. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterEach, describe, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { ConnectionOptions } from "../../src/client/connection-options.ts";
import { connectOptions } from "../../src/client/conninfo/options.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";

const setup = useLab();
const opened: Connection[] = [];

async function open(options: ConnectionOptions = {}): Promise<Connection> {
  const { primary } = setup.lab;
  const hosts = [{ host: primary.host, port: primary.port }];
  const connection = await connect(connectOptions({ hosts, user: "postgres", sslmode: "disable" }), options);
  opened.push(connection);
  return connection;
}

afterEach(async () => {
  for (const connection of opened.splice(0)) await connection.close();
});

async function count(connection: Connection, table: string): Promise<number> {
  const { rows } = await connection.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`);
  return rows[0]?.n ?? -1;
}

describe("copyFrom", () => {
  test("takes any iterable of bytes or text, in chunks of any size", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int, b text)");
    expect(await connection.copyFrom("COPY t FROM STDIN", ["1\to", "ne\n2\ttwo\n"])).toEqual({ rowCount: 2 });
    async function* generated(): AsyncGenerator<Buffer> {
      for (let i = 0; i < 1000; i++) yield Buffer.from(`${i}\t${"x".repeat(i % 97)}\n`);
      await Promise.resolve();
      yield Buffer.concat(Array.from({ length: 50_000 }, (_, i) => Buffer.from(`${i}\tlarge chunk\n`)));
    }
    expect(await connection.copyFrom("COPY t FROM STDIN", generated())).toEqual({ rowCount: 51_000 });
    const stream = new Blob(["7\tstream\n"]).stream();
    expect(await connection.copyFrom("COPY t FROM STDIN", stream)).toEqual({ rowCount: 1 });
    expect(await count(connection, "t")).toBe(51_003);
  });

  test("is undone if its source fails, and rejects with the source's error", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    const fault = new Error("source");
    function* failing(): Generator<string> {
      yield "1\n";
      throw fault;
    }
    await expect(connection.copyFrom("COPY t FROM STDIN", failing())).rejects.toBe(fault);
    expect(await count(connection, "t")).toBe(0);
  });

  test("rejects with the server's error and stops taking from its source", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    let taken = 0;
    function* wrong(): Generator<string> {
      for (; taken < 1e9; taken++) yield "no number\n".repeat(1000);
    }
    await expect(connection.copyFrom("COPY t FROM STDIN", wrong())).rejects.toMatchObject({
      sqlstate: "22P02",
    });
    expect(taken).toBeLessThan(1e9);
    await expect(connection.copyFrom("COPY missing FROM STDIN", ["1\n"])).rejects.toMatchObject({
      sqlstate: "42P01",
    });
    await expect(connection.copyFrom("COPY t TO STDOUT", ["1\n"])).rejects.toMatchObject({
      code: "client.copy_misused",
    });
    const misused = { code: "client.copy_misused" };
    await expect(connection.copyFrom("SELECT 1", [])).rejects.toMatchObject(misused);
    await expect(connection.copyTo("SELECT 1")[Symbol.asyncIterator]().next()).rejects.toMatchObject(misused);
    expect(await count(connection, "t")).toBe(0);
  });

  test("is aborted by a signal, also while its source gives nothing", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    const control = new AbortController();
    let asked: () => void = () => {};
    const waiting = new Promise<void>((resolve) => {
      asked = resolve;
    });
    async function* stalled(): AsyncGenerator<string> {
      yield "1\n";
      asked();
      await new Promise<void>((resolve) => control.signal.addEventListener("abort", () => resolve()));
    }
    const copying = connection.copyFrom("COPY t FROM STDIN", stalled(), { signal: control.signal });
    await waiting;
    control.abort(new Error("stop"));
    await expect(copying).rejects.toThrow("stop");
    expect(await count(connection, "t")).toBe(0);
  });
});

describe("copyTo", () => {
  test("yields everything, in chunks", async () => {
    const connection = await open();
    const chunks: Buffer[] = [];
    const copy = connection.copyTo(
      "COPY (SELECT i, repeat('x', 100) FROM generate_series(1, 100000) i) TO STDOUT",
    );
    for await (const chunk of copy) chunks.push(chunk);
    expect(copy.rowCount).toBe(100_000);
    const lines = Buffer.concat(chunks).toString().trimEnd().split("\n");
    expect(lines).toHaveLength(100_000);
    expect(lines[99_999]).toBe(`100000\t${"x".repeat(100)}`);
    expect(chunks.length).toBeLessThan(5000);
  });

  test("is a stream of the web, too; cancelling it cancels the rest", async () => {
    const connection = await open();
    const text = await new Response(connection.copyTo("COPY (VALUES (1), (2)) TO STDOUT").readable()).text();
    expect(text).toBe("1\n2\n");
    const reader = connection
      .copyTo("COPY (SELECT generate_series(1, 1000000000)) TO STDOUT")
      .readable()
      .getReader();
    await reader.read();
    await reader.cancel();
    expect((await connection.query("SELECT 1 AS a")).rows).toEqual([{ a: 1 }]);
  });

  test("copies a table through two connections with one line", async () => {
    const [from, to] = [await open(), await open()];
    await to.query("CREATE TEMP TABLE t (a int)");
    const source = from.copyTo("COPY (SELECT generate_series(1, 200000)) TO STDOUT (FORMAT binary)");
    expect(await to.copyFrom("COPY t FROM STDIN (FORMAT binary)", source)).toEqual({ rowCount: 200_000 });
  });

  test("throws the server's error, and refuses the other direction", async () => {
    const connection = await open();
    const read = async (sql: string): Promise<void> => {
      for await (const _ of connection.copyTo(sql));
    };
    await expect(read("COPY missing TO STDOUT")).rejects.toMatchObject({ sqlstate: "42P01" });
    await connection.query("CREATE TEMP TABLE t (a int)");
    await expect(read("COPY t FROM STDIN")).rejects.toMatchObject({ code: "client.copy_misused" });
    expect(await count(connection, "t")).toBe(0);
  });
});

describe("a pipeline", () => {
  test("is one implicit transaction up to each sync", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int PRIMARY KEY)");
    await using pipeline = connection.pipeline();
    const outcomes = Promise.allSettled([
      pipeline.query("INSERT INTO t VALUES (1)"),
      pipeline.query("INSERT INTO t VALUES (1)"),
      pipeline.query("INSERT INTO t VALUES (2)"),
    ]);
    await pipeline.sync();
    expect(await outcomes).toMatchObject([
      { status: "fulfilled" },
      { reason: { sqlstate: "23505" } },
      { reason: { code: "client.pipeline_aborted" } },
    ]);
    const rows = pipeline.query("SELECT * FROM t");
    await pipeline.sync();
    expect((await rows).rows).toEqual([]);
  });

  test("gives results before its sync when asked to flush", async () => {
    const connection = await open();
    await using pipeline = connection.pipeline();
    const first = pipeline.query("SELECT 1 AS a");
    pipeline.flush();
    expect((await first).rows).toEqual([{ a: 1 }]);
  });

  test("longer than what is sent at once comes through", async () => {
    const connection = await open();
    await using pipeline = connection.pipeline();
    const queries = Array.from({ length: 3000 }, (_, i) => pipeline.query("SELECT $1::int4 AS i", [i]));
    await pipeline.sync();
    for (const [i, query] of queries.entries()) expect((await query).rows).toEqual([{ i }]);
  });

  test("an error of the commit is the sync's", async () => {
    const connection = await open();
    await connection.execute("CREATE TEMP TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    await using pipeline = connection.pipeline();
    const inserted = pipeline.query("INSERT INTO t VALUES (1), (1)").then(({ rowCount }) => rowCount);
    await expect(pipeline.sync()).rejects.toMatchObject({ sqlstate: "23505" });
    expect(await inserted).toBe(2);
  });

  test("is ended by the end of its connection", async () => {
    const connection = await open();
    const query = connection.pipeline().query("SELECT 1 AS a");
    await connection.close();
    expect((await query).rows).toEqual([{ a: 1 }]);
  });

  test("refuses other statements until it is closed", async () => {
    const connection = await open();
    const pipeline = connection.pipeline();
    expect(() => connection.query("SELECT 1")).toThrow(
      expect.objectContaining({ code: "client.pipeline_open" }),
    );
    await pipeline.close();
    expect((await connection.query("SELECT 1 AS a")).rows).toEqual([{ a: 1 }]);
    expect(() => pipeline.query("SELECT 1")).toThrow(
      expect.objectContaining({ code: "client.pipeline_closed" }),
    );
  });
});

describe("a transaction", () => {
  test("is committed, or rolled back when its block is left", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    const fault = new Error("mine");
    await expect(
      connection.transaction(async () => {
        await connection.query("INSERT INTO t VALUES (1)");
        throw fault;
      }),
    ).rejects.toBe(fault);
    expect(await count(connection, "t")).toBe(0);
    await connection.transaction(() => connection.query("INSERT INTO t VALUES (2)").then(() => {}), {
      isolation: "serializable",
    });
    expect(await count(connection, "t")).toBe(1);
    {
      await using transaction = await connection.begin({ readOnly: true });
      expect((await connection.query("SHOW transaction_read_only")).rows).toEqual([
        { transaction_read_only: "on" },
      ]);
      expect(transaction).toBeDefined();
    }
    expect(connection.transactionState).toBe("idle");
  });

  test("within another is refused, and the outer one is not committed", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    const nested = connection.transaction(async () => {
      await connection.query("INSERT INTO t VALUES (1)");
      await connection.transaction(() => connection.query("INSERT INTO t VALUES (2)"));
    });
    await expect(nested).rejects.toMatchObject({ code: "client.transaction_open", sqlstate: "25001" });
    expect(await count(connection, "t")).toBe(0);
    const together = await Promise.allSettled([connection.begin(), connection.begin()]);
    expect(together.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
  });

  test("may be ended by the work itself", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    await connection.transaction(async (transaction) => {
      await connection.query("INSERT INTO t VALUES (1)");
      await transaction.rollback();
    });
    expect(await count(connection, "t")).toBe(0);
    expect(connection.transactionState).toBe("idle");
  });

  test("that had failed says so at commit", async () => {
    const connection = await open();
    const transaction = await connection.begin();
    await connection.query("SELECT 1/0").catch(() => {});
    await expect(transaction.commit()).rejects.toMatchObject({ code: "client.transaction_rolled_back" });
    await expect(transaction.rollback()).rejects.toMatchObject({ code: "client.transaction_ended" });
  });
});

describe("a listener", () => {
  test("hears what others send, in order, while idle", async () => {
    const [hears, tells] = [await open(), await open()];
    await using listener = await hears.listen('odd "name"');
    for (const payload of ["a", "b"]) await tells.query("SELECT pg_notify($1, $2)", ['odd "name"', payload]);
    expect(await listener.next()).toEqual({
      done: false,
      value: { channel: 'odd "name"', payload: "a", pid: tells.backendPid },
    });
    expect((await listener.next()).value).toMatchObject({ payload: "b" });
  });

  test("stops when its loop is left", async () => {
    const connection = await open();
    await connection.query("SELECT 1");
    const listener = await connection.listen("news");
    await connection.query("NOTIFY news, 'x'");
    for await (const { payload } of listener) {
      expect(payload).toBe("x");
      break;
    }
    expect((await connection.query("SELECT pg_listening_channels()")).rows).toEqual([]);
  });

  test("fails with the session, and goes on after a reset", async () => {
    const [hears, tells] = [await open(), await open()];
    const listener = await hears.listen("news");
    const waiting = expect(listener.next()).rejects.toMatchObject({ sqlstate: "57P01" });
    await tells.query("SELECT pg_terminate_backend($1)", [hears.backendPid]);
    await waiting;
    await hears.reset();
    await tells.query("NOTIFY news, 'after'");
    expect((await listener.next()).value).toMatchObject({ payload: "after" });
    const { rows } = await hears.query("SELECT pg_listening_channels() AS c");
    expect(rows).toEqual([{ c: "news" }]);
  });
});

describe("cancel", () => {
  test("ends what runs with 57014; the session stays usable; too late, it does nothing", async () => {
    const [connection, watcher] = [await open(), await open()];
    const slow = connection.query("SELECT pg_sleep(60)");
    const isRunning =
      "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%pg_sleep%' AND state = 'active'";
    await waitUntil(
      async () => (await watcher.query(isRunning, [connection.backendPid])).rows.length === 1,
      "the statement runs",
    );
    await connection.cancel();
    await expect(slow).rejects.toMatchObject({ sqlstate: "57014" });
    await connection.cancel();
    expect((await connection.query("SELECT 1 AS a")).rows).toEqual([{ a: 1 }]);
  });
});

test("notices are told, and a listener that throws harms nobody", async () => {
  const notices: string[] = [];
  const connection = await open({
    onNotice: ({ message }) => {
      notices.push(message);
      throw new Error("in a listener");
    },
  });
  const warnings: string[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning.message);
  process.on("warning", onWarning);
  await connection.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$");
  await waitUntil(() => warnings.length > 0, "the warning of the process");
  process.off("warning", onWarning);
  expect(notices).toEqual(["hello"]);
});

test("trace prints what goes and comes in libpq's format", async () => {
  const connection = await open();
  const lines: string[] = [];
  connection.trace((line) => lines.push(line), { regress: true });
  await connection.query("SELECT 1 AS a");
  connection.untrace();
  await connection.query("SELECT 2");
  expect(lines.map((line) => line.split("\t").slice(0, 3).join(" ").trimEnd())).toEqual([
    "F 21 Parse",
    "F 12 Bind",
    "F 6 Describe",
    "F 9 Execute",
    "F 4 Sync",
    "B 4 ParseComplete",
    "B 4 BindComplete",
    expect.stringContaining("RowDescription"),
    "B 11 DataRow",
    "B 13 CommandComplete",
    "B 5 ReadyForQuery",
  ]);
});

test("diagnostics channels tell of queries and their ends, without parameters", async () => {
  const connection = await open();
  const events: unknown[] = [];
  const onStart = (message: unknown): void => void events.push(message);
  const ended: unknown[] = [];
  const onEnd = (message: unknown): void => void ended.push(message);
  subscribe("tracing:pgsluice:query:start", onStart);
  subscribe("tracing:pgsluice:query:asyncEnd", onEnd);
  await connection.query("SELECT $1::text AS a", ["secret"]);
  await connection.query("SELECT 1/0").catch(() => {});
  unsubscribe("tracing:pgsluice:query:start", onStart);
  unsubscribe("tracing:pgsluice:query:asyncEnd", onEnd);
  expect(events).toMatchObject([
    { "db.query.text": "SELECT $1::text AS a" },
    { "db.query.text": "SELECT 1/0" },
  ]);
  expect(ended).toMatchObject([{ "db.response.returned_rows": 1 }, { "db.response.status_code": "22012" }]);
  expect(JSON.stringify(events)).not.toContain("secret");
});
