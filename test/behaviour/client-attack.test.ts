/** A connection under attack: servers that stall or lie, callers that leave, sources that fail, ends at bad moments. */
import { getEventListeners } from "node:events";
import { afterEach, describe, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { ConnectionOptions } from "../../src/client/connection-options.ts";
import { connectOptions } from "../../src/client/conninfo/options.ts";
import { TransactionStatus } from "../../src/wire/constants.ts";
import type { BackendMessage } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { type Script, ScriptedServer } from "../kit/scripted-server.ts";
import { within } from "../kit/wait.ts";

const setup = useLab();
const opened: Connection[] = [];

async function open(options: ConnectionOptions = {}): Promise<Connection> {
  const { primary } = setup.lab;
  const hosts = [{ host: primary.host, port: primary.port }];
  const connection = await connect(connectOptions({ hosts, user: "postgres", sslmode: "disable" }), options);
  opened.push(connection);
  return connection;
}

async function openTo(server: ScriptedServer): Promise<Connection> {
  const hosts = [{ host: "127.0.0.1", port: server.port }];
  const connection = await connect(connectOptions({ hosts, user: "u", sslmode: "disable" }));
  opened.push(connection);
  return connection;
}

afterEach(async () => {
  for (const connection of opened.splice(0)) {
    connection.destroy();
    await connection.close();
  }
});

const ready: BackendMessage = { kind: "ReadyForQuery", status: TransactionStatus.idle };

async function tableOf(connection: Connection): Promise<unknown[]> {
  return (await connection.query("SELECT * FROM t", [], { rowMode: "array" })).rows;
}

describe("copyFrom", () => {
  /** A source that says when it has been asked for more, which it never has. */
  function stalled(): { source: AsyncGenerator<string>; asked: Promise<void> } {
    let tell: () => void = () => {};
    const asked = new Promise<void>((resolve) => {
      tell = resolve;
    });
    async function* chunks(): AsyncGenerator<string> {
      yield "1\n";
      tell();
      await new Promise(() => {});
    }
    return { source: chunks(), asked };
  }

  test("is aborted while its source gives nothing, and never will", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    const control = new AbortController();
    const { source, asked } = stalled();
    const copying = connection.copyFrom("COPY t FROM STDIN", source, { signal: control.signal });
    await asked;
    control.abort(new Error("stop"));
    await expect(within(copying, "the copy ends")).rejects.toThrow("stop");
    expect(await tableOf(connection)).toEqual([]);
    expect(getEventListeners(control.signal, "abort")).toEqual([]);
  });

  test("ends with its session, whatever its source does", async () => {
    const [connection, other] = [await open(), await open()];
    await connection.query("CREATE TEMP TABLE t (a int)");
    const { source, asked } = stalled();
    const copying = connection.copyFrom("COPY t FROM STDIN", source);
    copying.catch(() => {});
    await asked;
    await other.query("SELECT pg_terminate_backend($1)", [connection.backendPid]);
    await expect(within(copying, "the copy ends")).rejects.toMatchObject({ sqlstate: "57P01" });
  });

  test("with two COPY in one text is refused, not left waiting for data", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    const copying = connection.copyFrom("COPY t FROM STDIN; COPY t FROM STDIN", ["1\n"]);
    await expect(within(copying, "the copy ends")).rejects.toMatchObject({ code: "client.copy_misused" });
    expect(await tableOf(connection)).toEqual([]);
  });

  test("counts the rows of the COPY, whatever stands around it", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    const sql = "COPY t FROM STDIN; SELECT generate_series(1, 5)";
    expect(await connection.copyFrom(sql, ["1\n2\n"])).toEqual({ rowCount: 2 });
  });

  test("takes text that is cut within a character, and refuses half of one", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a text)");
    const bytes = Buffer.from("\n");
    await connection.copyFrom("COPY t FROM STDIN", ["a\ud83d", "", "\ude00b", bytes]);
    expect(await tableOf(connection)).toEqual([["a😀b"]]);
    for (const half of [["\ud83d"], ["\ud83d", bytes], ["\ude00"]]) {
      await expect(connection.copyFrom("COPY t FROM STDIN", half)).rejects.toMatchObject({
        code: "client.bad_text",
      });
    }
    expect(await tableOf(connection)).toEqual([["a😀b"]]);
  });

  test("refuses chunks that are no bytes and no text, and the session survives", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a text)");
    for (const chunk of [undefined, 7, new Uint16Array(40_000), new ArrayBuffer(40_000), {}]) {
      const copying = connection.copyFrom("COPY t FROM STDIN", [chunk as unknown as string]);
      await expect(copying).rejects.toMatchObject({ code: "client.bad_parameter" });
    }
    expect(await tableOf(connection)).toEqual([]);
  });

  test("takes a source that uses its buffer again, empty chunks, and very large ones", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    async function* reusing(): AsyncGenerator<Uint8Array> {
      const buffer = Buffer.alloc(100_000);
      for (let round = 0; round < 10; round++) {
        buffer.fill("1\n");
        yield buffer;
        buffer.fill("x");
        yield Buffer.alloc(0);
      }
      yield Buffer.alloc(8 * 1024 * 1024, "2\n");
      await Promise.resolve();
    }
    expect(await connection.copyFrom("COPY t FROM STDIN", reusing())).toEqual({
      rowCount: 10 * 50_000 + 4 * 1024 * 1024,
    });
  });

  test("lets a source clean up that is no longer wanted", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a int)");
    let cleaned = 0;
    const endless: AsyncIterable<string> = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.resolve({ done: false, value: "no number\n".repeat(1000) }),
        return: () => {
          cleaned++;
          return Promise.reject(new Error("while cleaning up"));
        },
      }),
    };
    await expect(connection.copyFrom("COPY t FROM STDIN", endless)).rejects.toMatchObject({
      sqlstate: "22P02",
    });
    expect(cleaned).toBe(1);
  });

  test("leaves turns to others though source and server are always ready", async () => {
    const connection = await open();
    await connection.query("CREATE TEMP TABLE t (a text)");
    const control = new AbortController();
    function* endless(): Generator<Buffer> {
      setImmediate(() => control.abort(new Error("stop")));
      for (;;) yield Buffer.alloc(1000, "x\n");
    }
    await expect(
      connection.copyFrom("COPY t FROM STDIN", endless(), { signal: control.signal }),
    ).rejects.toThrow("stop");
  });
});

describe("copyTo", () => {
  test("as a stream is cancelled while it waits for data that never come", async () => {
    const connection = await open();
    const sql = "COPY (SELECT pg_sleep(600)) TO STDOUT";
    const reader = connection.copyTo(sql).readable().getReader();
    const read = reader.read();
    await within(reader.cancel(), "the stream is cancelled");
    expect(await read).toEqual({ done: true, value: undefined });
    expect((await connection.query("SELECT 1 AS a")).rows).toEqual([{ a: 1 }]);
  });

  test("aborted while nobody takes its data, lets the session go on", async () => {
    const [connection, other] = [await open(), await open()];
    const control = new AbortController();
    const sql = "COPY (SELECT generate_series(1, 1000000000)) TO STDOUT";
    const chunks = connection.copyTo(sql, { signal: control.signal })[Symbol.asyncIterator]();
    await chunks.next();
    const waits = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1";
    await expect
      .poll(async () => (await other.query(waits, [connection.backendPid])).rows, { timeout: 10_000 })
      .toEqual([{ wait_event: "ClientWrite" }]);
    control.abort(new Error("stop"));
    // Asking for anything else would make it read on by itself.
    await expect.poll(() => connection.transactionState, { timeout: 10_000 }).toBe("idle");
    expect(getEventListeners(control.signal, "abort")).toEqual([]);
  });
});

describe("reset", () => {
  test("asked for twice at once is one: no session is left over", async () => {
    const [connection, other] = [await open(), await open()];
    const count = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend'";
    await Promise.all([connection.reset(), connection.reset()]);
    const pid = connection.backendPid;
    await connection.query("SELECT 1");
    await other.query("SELECT pg_terminate_backend($1, 10000)", [pid]);
    expect((await other.query(count)).rows).toEqual([{ n: 1 }]);
  });

  test.each(["close", "destroy"] as const)("is ended by %s, and leaves no session behind", async (how) => {
    const [connection, other] = [await open(), await open()];
    const resetting = connection.reset();
    const outcome = expect(resetting).rejects.toMatchObject({ code: "client.connection_closed" });
    await connection[how]();
    await outcome;
    expect(connection.usable).toBe(false);
    const others = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend'";
    await expect.poll(async () => (await other.query(others)).rows).toEqual([{ n: 1 }]);
  });

  test("leaves pipelines and transactions of the lost session without effect on the new one", async () => {
    const connection = await open();
    const transaction = await connection.begin();
    const before = connection.pipeline();
    await connection.reset();
    const lost = { code: "client.connection_closed" };
    await expect(transaction.commit()).rejects.toMatchObject(lost);
    await expect(
      within(
        before.query("SELECT 1").then((result) => result),
        "an answer",
      ),
    ).rejects.toMatchObject(lost);
    const after = connection.pipeline();
    await before.close().catch(() => {});
    expect(() => connection.query("SELECT 1")).toThrow(
      expect.objectContaining({ code: "client.pipeline_open" }),
    );
    await after.close();
    expect((await connection.query("SELECT 1 AS a")).rows).toEqual([{ a: 1 }]);
  });
});

describe("a transaction", () => {
  test("whose commit cannot be asked for is still rolled back", async () => {
    const connection = await open();
    const transaction = await connection.begin();
    const pipeline = connection.pipeline();
    await expect(transaction.commit()).rejects.toMatchObject({ code: "client.pipeline_open" });
    await pipeline.close();
    await transaction[Symbol.asyncDispose]();
    expect(connection.transactionState).toBe("idle");
  });

  test("whose session is lost while it is rolled back has nothing to complain of", async () => {
    await using server = await ScriptedServer.start(async (peer) => {
      await peer.expectStartup("startup");
      peer.welcome();
      await peer.expect("Parse");
      for (const kind of ["Bind", "Describe", "Execute", "Sync"] as const) await peer.expect(kind);
      peer.send(
        { kind: "ParseComplete" },
        { kind: "BindComplete" },
        { kind: "NoData" },
        { kind: "CommandComplete", tag: "BEGIN" },
        { kind: "ReadyForQuery", status: TransactionStatus.inTransaction },
      );
      await peer.expect("Parse"); // ROLLBACK; the end of the script closes
    });
    const connection = await openTo(server);
    const fault = new Error("mine");
    await expect(connection.transaction(() => Promise.reject(fault))).rejects.toBe(fault);
  });
});

test("what a trace throws touches no query", async () => {
  const connection = await open();
  connection.trace(() => {
    throw new Error("in a trace");
  });
  const warned = new Promise((resolve) => process.once("warning", resolve));
  expect(
    (
      await within(
        connection.query("SELECT 1 AS a").then((result) => result),
        "an answer",
      )
    ).rows,
  ).toEqual([{ a: 1 }]);
  expect(await warned).toMatchObject({ message: "in a trace" });
});

test("a server that ends in the middle of a row is a lost connection, for all that waits", async () => {
  const cut: Script = async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    for (const kind of ["Parse", "Bind", "Describe", "Execute", "Sync"] as const) await peer.expect(kind);
    peer.send({ kind: "ParseComplete" }, { kind: "BindComplete" }, Buffer.from([0x44, 0, 0, 1, 0, 0, 1]));
  };
  await using server = await ScriptedServer.start(cut);
  const connection = await openTo(server);
  const asked = Array.from({ length: 100_000 }, () => connection.query("SELECT 1").then((result) => result));
  for (const outcome of await within(Promise.allSettled(asked), "all end", 60_000)) {
    if (outcome.status === "fulfilled") throw new Error("nothing was answered");
    if (outcome.reason.code !== "client.connection_lost") throw outcome.reason;
  }
  expect(await connection.closed).toMatchObject({ code: "client.connection_lost" });
});

test("what a server says before it closes an idle session is the reason", async () => {
  await using server = await ScriptedServer.start(async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    peer.fail("57P05", "idle for too long");
  });
  const connection = await openTo(server);
  expect(await within(connection.closed, "the end")).toMatchObject({ sqlstate: "57P05" });
  await expect(connection.query("SELECT 1").then((result) => result)).rejects.toMatchObject({
    sqlstate: "57P05",
  });
});

test("close waits for queries that are aborted before their turn, and for nothing more", async () => {
  let goOn: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  await using server = await ScriptedServer.start(async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    for (const kind of ["Parse", "Bind", "Describe", "Execute", "Sync"] as const) await peer.expect(kind);
    await held;
    peer.send(
      { kind: "ParseComplete" },
      { kind: "BindComplete" },
      { kind: "NoData" },
      { kind: "EmptyQueryResponse" },
      ready,
    );
    await peer.expect("Terminate");
  });
  const connection = await openTo(server);
  const control = new AbortController();
  const first = connection.query("", [], { signal: new AbortController().signal }).then((result) => result);
  const second = connection.query("b", [], { signal: control.signal }).then((result) => result);
  const closing = connection.close();
  control.abort(new Error("stop"));
  await expect(second).rejects.toThrow("stop");
  goOn();
  await first;
  await within(closing, "the connection is closed");
  await server.finished;
});

test("a listener that is left while its session ends has nothing to complain of", async () => {
  const connection = await open();
  const listener = await connection.listen("news");
  const closing = connection.close();
  await listener.return();
  await closing;
});

test("a statement that its table has left behind works again, in transactions and in crowds", async () => {
  const connection = await open({ prepareThreshold: 0 });
  await connection.query("CREATE TEMP TABLE t (a int)");
  await connection.query("INSERT INTO t VALUES (1)");
  await connection.query("SELECT * FROM t");
  await connection.query("ALTER TABLE t ADD COLUMN b int");
  const inTransaction = (): Promise<unknown> => connection.transaction(() => tableObjects(connection));
  await expect(inTransaction()).rejects.toMatchObject({ sqlstate: "0A000" });
  expect(await inTransaction()).toEqual([{ a: 1, b: null }]);
  await connection.query("ALTER TABLE t DROP COLUMN b");
  const crowd = (): Promise<unknown>[] => [tableObjects(connection), tableObjects(connection)];
  await Promise.allSettled(crowd());
  expect(await Promise.all(crowd())).toEqual([[{ a: 1 }], [{ a: 1 }]]);
});

async function tableObjects(connection: Connection): Promise<unknown[]> {
  return (await connection.query("SELECT * FROM t")).rows;
}

test("names are closed on the server however statements come and go", async () => {
  const connection = await open({ prepareThreshold: 0, statementCacheSize: 3 });
  for (let round = 0; round < 20; round++) {
    const texts = Array.from({ length: 10 }, (_, i) => `SELECT ${(i * round) % 7} AS a`);
    const results = await Promise.all(texts.map((text) => connection.query<{ a: number }>(text)));
    expect(results.map(({ rows }) => rows[0]?.a)).toEqual(texts.map((_, i) => (i * round) % 7));
  }
  await connection.query("SELECT 1");
  const { rows } = await connection.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM pg_prepared_statements",
  );
  expect(rows[0]?.n).toBeLessThanOrEqual(5);
});

test("the widest, the longest and the emptiest results", async () => {
  const connection = await open();
  const columns = Array.from({ length: 1600 }, (_, i) => `${i} AS c${i}`).join(", ");
  const wide = await connection.query<Record<string, number>>(`SELECT ${columns}`, [], { format: "binary" });
  expect(wide.rows[0]?.["c1599"]).toBe(1599);
  expect((await connection.query("SELECT FROM generate_series(1, 3)")).rows).toEqual([{}, {}, {}]);
  const values = Array.from({ length: 65_535 }, (_, i) => String(i));
  const many = await connection.query<{ n: bigint }>(
    `SELECT count(*) AS n FROM (VALUES ${values.map((_, i) => `($${i + 1})`).join(",")}) v`,
    values,
  );
  expect(many.rows).toEqual([{ n: 65_535n }]);
  await expect(connection.query("SELECT 1", [...values, "x"])).rejects.toMatchObject({
    code: "client.too_many_parameters",
  });
  const long = await connection.query<{ a: string }>("SELECT repeat('x', 80000000) AS a");
  expect(long.rows[0]?.a).toHaveLength(80_000_000);
});
