/** Prepared statements while servers change under them, and what becomes of them when something goes wrong. */
import { describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import {
  type Client,
  closeStatement,
  execute,
  type Outcome,
  Pooled,
  type PooledOptions,
  parse,
  query,
  sync,
} from "./pooled.ts";

const place = useLab();

/** Two servers, of which a test can choose the one that its client gets. */
class TwoServers implements AsyncDisposable {
  readonly pooled: Pooled;
  readonly client: Client;
  readonly #blocker: Client;

  private constructor(pooled: Pooled, client: Client, blocker: Client) {
    this.pooled = pooled;
    this.client = client;
    this.#blocker = blocker;
  }

  static async open(settings: PooledOptions["settings"] = {}): Promise<TwoServers> {
    const pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 2, ...settings } });
    return new TwoServers(pooled, await pooled.connect(), await pooled.connect());
  }

  /** Runs something on the other server than the one it would get by itself. */
  async elsewhere<T>(run: () => Promise<T>): Promise<T> {
    await this.#blocker.run("begin");
    const result = await run();
    await this.#blocker.run("commit");
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.destroy();
    this.#blocker.destroy();
    await this.pooled[Symbol.asyncDispose]();
  }
}

const kinds = (outcome: Outcome): string[] => outcome.messages.map(({ kind }) => kind);

async function prepare(client: Client, name: string, sql: string): Promise<void> {
  expect(kinds(await client.ask(parse(name, sql), sync))).toEqual(["ParseComplete", "ReadyForQuery"]);
}

/** Executes a prepared statement and returns the one value of its result. */
async function valueOf(client: Client, name: string, values: readonly string[] = []): Promise<string | null> {
  const { rows, error } = await client.ask(...execute(name, values), sync);
  if (error !== undefined) throw new Error(`${error.code}: ${error.message}`);
  return rows[0]?.[0] ?? null;
}

/** Statements of ours that a server holds. */
async function held(client: Client): Promise<number> {
  return Number(await client.value("select count(*) from pg_prepared_statements"));
}

test("a statement is there on every server that its client meets", async () => {
  await using servers = await TwoServers.open();
  const { client } = servers;
  await prepare(client, "who", "select pg_backend_pid() || $1::text");
  const here = await valueOf(client, "who", ["!"]);
  const there = await servers.elsewhere(() => valueOf(client, "who", ["!"]));
  expect(there).not.toBe(here);
  expect(kinds(await client.ask(...execute("who", ["!"]), sync))).toEqual([
    "BindComplete",
    "DataRow",
    "CommandComplete",
    "ReadyForQuery",
  ]);
});

describe("with room for two statements on a server", () => {
  const settings = { max_prepared_statements: 2, default_pool_size: 1 };

  test("the least recently used one makes room, and comes back when it is wanted", async () => {
    await using pooled = await Pooled.start(place.lab, { settings });
    using client = await pooled.connect();
    for (let i = 0; i < 5; i++) await prepare(client, `s${i}`, `select ${i}`);
    expect(await held(client)).toBe(2);
    for (const i of [0, 4, 1, 1, 3, 0, 2]) {
      expect(await valueOf(client, `s${i}`)).toBe(String(i));
      expect(await held(client)).toBe(2);
    }
  });

  test("all of them work in one batch", async () => {
    await using pooled = await Pooled.start(place.lab, { settings });
    using client = await pooled.connect();
    const names = [0, 1, 2, 3, 4];
    const messages = [
      ...names.map((i) => parse(`s${i}`, `select ${i}`)),
      ...names.flatMap((i) => execute(`s${i}`)),
      ...names.toReversed().flatMap((i) => execute(`s${i}`)),
    ];
    const { rows } = await client.ask(...messages, sync);
    expect(rows.map(([value]) => value)).toEqual(["0", "1", "2", "3", "4", "4", "3", "2", "1", "0"]);
    expect(await held(client)).toBe(2);
  });

  test("a statement that had to go in a batch that failed is still known to be there", async () => {
    await using pooled = await Pooled.start(place.lab, { settings });
    using client = await pooled.connect();
    await prepare(client, "a", "select 'a'");
    await prepare(client, "b", "select 'b'");
    // The first Parse fails, so the server skips everything behind it, also what was to make room.
    const failed = await client.ask(parse("", "select no_such_column"), parse("c", "select 'c'"), sync);
    expect(failed).toMatchObject({ error: { code: "42703" }, status: "I" });
    expect(await valueOf(client, "a")).toBe("a");
    expect(await valueOf(client, "b")).toBe("b");
    await prepare(client, "c", "select 'c'");
    for (const name of ["a", "b", "c", "a"]) expect(await valueOf(client, name)).toBe(name);
    expect(await held(client)).toBe(2);
  });

  test("clients that want different ones take turns", async () => {
    await using pooled = await Pooled.start(place.lab, { settings });
    const clients = await Promise.all([0, 1, 2, 3].map(() => pooled.connect()));
    for (const [i, client] of clients.entries()) await prepare(client, "mine", `select ${i}`);
    for (let round = 0; round < 5; round++) {
      const values = await Promise.all(clients.map((client) => valueOf(client, "mine")));
      expect(values).toEqual(["0", "1", "2", "3"]);
    }
    for (const client of clients) client.destroy();
  });
});

describe("a statement that cannot be prepared again", () => {
  test("its table was dropped: the client is told by the server, and its session goes on", async () => {
    await using servers = await TwoServers.open();
    const { client } = servers;
    await client.run("create table dropped (n int)");
    await prepare(client, "rows", "select count(*) from dropped");
    expect(await valueOf(client, "rows")).toBe("0");
    await client.run("drop table dropped");
    for (const run of [(use: () => Promise<Outcome>) => use(), servers.elsewhere.bind(servers)]) {
      const failed = await run(() => client.ask(...execute("rows"), sync));
      expect(failed).toMatchObject({ error: { severity: "ERROR", code: "42P01" }, status: "I" });
      expect(await client.value("select 'goes on'")).toBe("goes on");
    }
    await client.run("create table dropped (n int)");
    expect(await servers.elsewhere(() => valueOf(client, "rows"))).toBe("0");
    expect(await valueOf(client, "rows")).toBe("0");
  });

  test("in a transaction: the transaction fails, and nothing else", async () => {
    await using servers = await TwoServers.open();
    const { client } = servers;
    await client.run("create table dropped_later (n int)");
    await prepare(client, "rows", "select count(*) from dropped_later");
    await client.run("drop table dropped_later");
    await servers.elsewhere(async () => {
      await client.run("begin");
      expect(await client.ask(...execute("rows"), sync)).toMatchObject({
        error: { code: "42P01" },
        status: "E",
      });
      expect(await client.ask(...execute("rows"), sync)).toMatchObject({
        error: { code: "25P02" },
        status: "E",
      });
      expect(await client.run("rollback")).toMatchObject({ status: "I" });
    });
    expect(await client.value("select 'goes on'")).toBe("goes on");
  });

  test("it never could: its name stays free", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    for (let i = 0; i < 2; i++) {
      const failed = await client.ask(parse("s", "select no_such_column"), sync);
      expect(failed).toMatchObject({ error: { code: "42703" }, status: "I" });
    }
    expect(await client.ask(...execute("s"), sync)).toMatchObject({ error: { code: "26000" } });
    await prepare(client, "s", "select 'at last'");
    expect(await valueOf(client, "s")).toBe("at last");
  });
});

describe("names", () => {
  test("one that is taken is refused as PostgreSQL refuses it", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    await prepare(client, "s", "select 'first'");
    expect(await client.ask(parse("s", "select 'second'"), sync)).toMatchObject({
      error: { severity: "ERROR", code: "42P05", message: 'prepared statement "s" already exists' },
      status: "I",
    });
    expect(await valueOf(client, "s")).toBe("first");
  });

  test("one that was closed can be used for something else, on every server", async () => {
    await using servers = await TwoServers.open();
    const { client } = servers;
    await prepare(client, "s", "select 'first'");
    await servers.elsewhere(() => valueOf(client, "s"));
    expect(kinds(await client.ask(closeStatement("s"), sync))).toEqual(["CloseComplete", "ReadyForQuery"]);
    expect(await client.ask(...execute("s"), sync)).toMatchObject({ error: { code: "26000" } });
    await prepare(client, "s", "select 'second'");
    expect(await valueOf(client, "s")).toBe("second");
    expect(await servers.elsewhere(() => valueOf(client, "s"))).toBe("second");
  });

  test("a close and a new statement of the same name go in one batch", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    await prepare(client, "s", "select 'first'");
    const { rows } = await client.ask(
      ...execute("s"),
      closeStatement("s"),
      parse("s", "select 'second'"),
      ...execute("s"),
      sync,
    );
    expect(rows).toEqual([["first"], ["second"]]);
  });

  test("a close that is skipped after an error has closed nothing", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    await prepare(client, "s", "select 'kept'");
    await client.ask(parse("", "select no_such_column"), closeStatement("s"), sync);
    expect(await valueOf(client, "s")).toBe("kept");
  });

  test("the same one of two clients means two statements", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using one = await pooled.connect();
    using two = await pooled.connect();
    await prepare(one, "s", "select 'one'");
    await prepare(two, "s", "select 'two'");
    expect([await valueOf(one, "s"), await valueOf(two, "s")]).toEqual(["one", "two"]);
    await one.ask(closeStatement("s"), sync);
    expect(await valueOf(two, "s")).toBe("two");
  });

  test("one that looks like the pooler's own is the client's", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using one = await pooled.connect();
    using two = await pooled.connect();
    for (let i = 0; i < 3; i++) await prepare(one, `x${i}`, `select 'one ${i}'`);
    for (let i = 0; i < 5; i++) {
      expect(await two.ask(...execute(`pgsluice_${i}`), sync)).toMatchObject({ error: { code: "26000" } });
    }
    await prepare(two, "pgsluice_1", "select 'two'");
    expect(await valueOf(two, "pgsluice_1")).toBe("two");
    expect(await valueOf(one, "x0")).toBe("one 0");
  });
});

describe("dropping all of them", () => {
  for (const sql of ["deallocate all", "discard all"]) {
    test(`${sql} drops the client's, everywhere, and leaves those of others`, async () => {
      await using servers = await TwoServers.open();
      const { client, pooled } = servers;
      using other = await pooled.connect();
      await prepare(client, "s", "select 'mine'");
      await prepare(other, "s", "select 'theirs'");
      await servers.elsewhere(() => valueOf(client, "s"));
      expect((await client.run(sql)).error).toBeUndefined();
      expect(await client.ask(...execute("s"), sync)).toMatchObject({ error: { code: "26000" } });
      const elsewhere = await servers.elsewhere(() => client.ask(...execute("s"), sync));
      expect(elsewhere).toMatchObject({ error: { code: "26000" } });
      expect(await valueOf(other, "s")).toBe("theirs");
      expect(await servers.elsewhere(() => valueOf(other, "s"))).toBe("theirs");
      await prepare(client, "s", "select 'again'");
      expect(await valueOf(client, "s")).toBe("again");
    });

    test(`${sql} by the extended protocol, between other messages`, async () => {
      await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
      using client = await pooled.connect();
      await prepare(client, "s", "select 'before'");
      const first = await client.ask(parse("", sql), ...execute(""), sync);
      expect(first.error).toBeUndefined();
      await prepare(client, "s", "select 'after'");
      expect(await valueOf(client, "s")).toBe("after");
    });
  }
});

describe("with max_prepared_statements = 0", () => {
  const settings = { max_prepared_statements: 0, default_pool_size: 1 };

  test("names are passed on as they are", async () => {
    await using pooled = await Pooled.start(place.lab, { settings });
    using client = await pooled.connect();
    await client.run("begin");
    await prepare(client, "as_it_is", "select 'found'");
    expect(await client.value("select name from pg_prepared_statements")).toBe("as_it_is");
    expect(await valueOf(client, "as_it_is")).toBe("found");
    await client.run("commit");
    using other = await pooled.connect();
    // The server is the same, and what a client leaves on it is there for the next one.
    expect(await other.ask(parse("as_it_is", "select 1"), sync)).toMatchObject({ error: { code: "42P05" } });
  });

  test("unnamed statements work", async () => {
    await using pooled = await Pooled.start(place.lab, { settings });
    using client = await pooled.connect();
    const { rows } = await client.ask(parse("", "select $1::text"), ...execute("", ["x"]), sync);
    expect(rows).toEqual([["x"]]);
  });
});

test("the unnamed statement follows its client to another server", async () => {
  await using servers = await TwoServers.open();
  const { client } = servers;
  await client.ask(parse("", "select pg_backend_pid()"), sync);
  const here = await valueOf(client, "");
  expect(await servers.elsewhere(() => valueOf(client, ""))).not.toBe(here);
  await client.run("select 'a simple query drops it'");
  expect(await client.ask(...execute(""), sync)).toMatchObject({ error: { code: "26000" } });
});

test("many clients prepare and drop at random, and always get their own", async () => {
  await using pooled = await Pooled.start(place.lab, {
    settings: { default_pool_size: 3, max_prepared_statements: 4 },
  });
  await Promise.all(
    Array.from({ length: 12 }, async (_, who) => {
      using client = await pooled.connect();
      const names = new Map<string, string>();
      for (let round = 0; round < 60; round++) {
        const name = `s${Math.floor(Math.random() * 6)}`;
        const text = names.get(name);
        const dice = Math.random();
        if (text === undefined) {
          const next = `${dice < 0.5 ? "shared" : who} ${name}`;
          await prepare(client, name, `select '${next}'`);
          names.set(name, next);
        } else if (dice < 0.15) {
          await client.ask(closeStatement(name), sync);
          names.delete(name);
        } else if (dice < 0.25) {
          client.send(query("select 1/0"), parse("", "select no_such_column"), closeStatement(name), sync);
          await client.outcome();
          await client.outcome();
        } else {
          expect(await valueOf(client, name)).toBe(text);
        }
      }
    }),
  );
});
