/** Brief reads of several clients in the pipeline of one server: each gets its own replies, whatever happens to the others. */
import { describe, expect, test } from "vitest";
import { FaultProxy } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { type Client, Pooled, type PooledOptions, query, untilRunning } from "./pooled.ts";

const place = useLab();

/** A pooler in auto mode with few servers. */
async function multiplexed(
  size: number,
  settings: PooledOptions["settings"] = {},
  node: { readonly host: string; readonly port: number } = place.lab.primary,
): Promise<Pooled> {
  return await Pooled.start(place.lab, {
    node: { host: node.host, port: node.port },
    settings: {
      pool_mode: "auto",
      default_pool_size: size,
      max_client_conn: 300,
      admin_users: ["postgres"],
      ...settings,
    },
  });
}

/** Counts of SHOW MULTIPLEX, by name. */
async function counts(pooled: Pooled): Promise<Record<string, number>> {
  using console = await pooled.connect({ database: "pgbouncer" });
  const { messages, rows } = await console.run("show multiplex");
  const description = messages.find((message) => message.kind === "RowDescription");
  const names = description?.kind === "RowDescription" ? description.columns.map(({ name }) => name) : [];
  return Object.fromEntries(names.map((name, index) => [name, Number(rows[0]?.[index])]));
}

async function connectAll(pooled: Pooled, count: number): Promise<Client[]> {
  return await Promise.all(Array.from({ length: count }, () => pooled.connect()));
}

/**
 * Runs the statement until it is known to be brief, and shares. By a client of its own each time: whoever has run something before
 * the catalogs were read keeps its server for a while, if nobody wants it.
 */
async function warm(pooled: Pooled, sql: string): Promise<void> {
  const before = (await counts(pooled))["units"] ?? 0;
  await waitUntil(async () => {
    using client = await pooled.connect();
    await client.value(sql);
    return ((await counts(pooled))["units"] ?? 0) > before;
  }, `shared: ${sql}`);
}

/** Holds what readers of `locked` need, until it is disposed of. */
async function locked(): Promise<AsyncDisposable> {
  await place.lab.primary.query("create table if not exists locked (a int)");
  const client = await place.lab.primary.connect();
  await client.query("begin; lock table locked");
  return { [Symbol.asyncDispose]: () => client.close() };
}

describe("a pipeline", () => {
  test("serves many clients at once, each with its own answers, over few servers", async () => {
    await using pooled = await multiplexed(2);
    const clients = await connectAll(pooled, 40);
    await warm(pooled, "select 1");
    await Promise.all(
      clients.map(async (client, index) => {
        for (let round = 0; round < 25; round++) {
          const number = index * 1000 + round;
          expect(await client.value(`select ${number}`)).toBe(String(number));
        }
      }),
    );
    expect(pooled.mostServers).toBeLessThanOrEqual(2);
    const { units, joined } = await counts(pooled);
    expect(units).toBeGreaterThan(500);
    expect(joined, "units that found others in the pipeline").toBeGreaterThan(100);
    for (const client of clients) client.destroy();
  });

  test("runs prepared and unnamed statements of the extended protocol between others", async () => {
    await using pooled = await multiplexed(1);
    const clients = await connectAll(pooled, 12);
    await warm(pooled, "select 0");
    const bound = (statement: string, value: number) =>
      [
        {
          kind: "Bind",
          portal: "",
          statement,
          formats: [],
          values: [Buffer.from(String(value))],
          resultFormats: [],
        },
        { kind: "Execute", portal: "", maxRows: 0 },
        { kind: "Sync" },
      ] as const;
    await Promise.all(
      clients.map(async (client, index) => {
        await client.ask(
          { kind: "Parse", name: "s", sql: "select $1::int * 2", types: [] },
          { kind: "Sync" },
        );
        for (let round = 0; round < 20; round++) {
          const number = index * 100 + round;
          const named = await client.ask(...bound("s", number));
          expect(named.rows).toEqual([[String(number * 2)]]);
          const unnamed = await client.ask(
            { kind: "Parse", name: "", sql: `select $1::int + ${index}`, types: [] },
            ...bound("", number),
          );
          expect(unnamed.rows).toEqual([[String(number + index)]]);
        }
      }),
    );
    expect((await counts(pooled))["joined"]).toBeGreaterThan(20);
    for (const client of clients) client.destroy();
  });

  test("what follows one that had to run again runs once", async () => {
    await place.lab.primary.query("create table remade (a int)");
    await using pooled = await multiplexed(1);
    using client = await pooled.connect();
    const run = [
      { kind: "Bind", portal: "", statement: "s", formats: [], values: [], resultFormats: [] },
      { kind: "Execute", portal: "", maxRows: 0 },
      { kind: "Sync" },
    ] as const;
    await client.ask({ kind: "Parse", name: "s", sql: "select * from remade", types: [] }, { kind: "Sync" });
    await waitUntil(async () => {
      await client.ask(...run);
      return ((await counts(pooled))["units"] ?? 0) > 0;
    }, "the prepared statement shares");
    await place.lab.primary.query("alter table remade add b int");
    for (let i = 0; i < 6; i++) expect((await client.ask(...run)).error).toBeUndefined();
    expect((await counts(pooled))["returned"]).toBe(1);
  });

  test("statements of 40 clients are under way at once on few servers that are 20 ms away", async () => {
    const { host, port } = place.lab.primary;
    await using proxy = await FaultProxy.start({ host, port });
    await using pooled = await multiplexed(2, { server_connect_timeout: 15 }, proxy);
    await proxy.set({ latencyMs: 10 });
    const clients = await connectAll(pooled, 40);
    await warm(pooled, "select 1");
    await Promise.all(
      clients.map(async (client, index) => {
        for (let round = 0; round < 5; round++)
          expect(await client.value(`select ${index}`)).toBe(String(index));
      }),
    );
    const { joined, depth_max: depth } = await counts(pooled);
    expect(joined, "units that found others in the pipeline").toBeGreaterThan(100);
    expect(depth).toBeGreaterThan(8);
    for (const client of clients) client.destroy();
  });

  test("an error is its own client's only", async () => {
    await using pooled = await multiplexed(1);
    const clients = await connectAll(pooled, 10);
    await warm(pooled, "select 1/1");
    await Promise.all(
      clients.map(async (client, index) => {
        for (let round = 0; round < 20; round++) {
          const { rows, error, status } = await client.run(`select 1/${index % 2}`);
          expect(status).toBe("I");
          if (index % 2 === 0) expect(error?.code).toBe("22012");
          else expect(rows).toEqual([["1"]]);
        }
      }),
    );
    for (const client of clients) client.destroy();
  });

  test("a batch with a torn Bind ends its own client's session only", async () => {
    await using pooled = await multiplexed(1);
    const clients = await connectAll(pooled, 10);
    const torn = await pooled.connect();
    await warm(pooled, "select 3");
    const answers = clients.map((client) => client.value("select 3"));
    torn.send(
      { kind: "Parse", name: "", sql: "select 3", types: [] },
      Buffer.from("B\0\0\0\x06\0s", "latin1"),
      { kind: "Sync" },
    );
    expect((await torn.raw.until("ErrorResponse")).at(-1)).toMatchObject({ fields: { code: "08P01" } });
    expect(new Set(await Promise.all(answers))).toEqual(new Set(["3"]));
    for (const client of clients) expect(await client.value("select 3")).toBe("3");
    for (const client of clients) client.destroy();
  });

  test("settings of one client are not seen by another", async () => {
    await using pooled = await multiplexed(2);
    const clients = await connectAll(pooled, 12);
    for (const [index, client] of clients.entries())
      await client.run(`set work_mem = '${1000 + (index % 3)}kB'`);
    await warm(pooled, "select current_setting('work_mem')");
    await Promise.all(
      clients.map(async (client, index) => {
        for (let round = 0; round < 20; round++) {
          expect(await client.value("select current_setting('work_mem')")).toBe(`${1000 + (index % 3)}kB`);
        }
      }),
    );
    for (const client of clients) client.destroy();
  });

  test("who needs a server for itself gets one, while others keep it busy", async () => {
    await using pooled = await multiplexed(1);
    const readers = await connectAll(pooled, 20);
    const writer = await pooled.connect();
    await writer.run("create table if not exists written (a int)");
    await warm(pooled, "select 2");
    let written = false;
    const reading = readers.map(async (client) => {
      let answers = 0;
      for (; !written; answers++) expect(await client.value("select 2")).toBe("2");
      return answers;
    });
    for (let round = 0; round < 20; round++) {
      await writer.run("begin");
      await writer.run("insert into written values (1)");
      expect((await writer.run("commit")).tags).toEqual(["COMMIT"]);
    }
    written = true;
    for (const answers of await Promise.all(reading)) expect(answers).toBeGreaterThan(0);
    for (const client of [...readers, writer]) client.destroy();
  });
});

describe("in front of a pipeline", () => {
  const counting = "select count(*) from locked";

  /** A pooler whose only server has the statements of all clients in its pipeline, the first one blocked. */
  async function blocked(count: number): Promise<{ pooled: Pooled; clients: Client[] } & AsyncDisposable> {
    await place.lab.primary.query("create table if not exists locked (a int)");
    const pooled = await multiplexed(1);
    const clients = await connectAll(pooled, count);
    await warm(pooled, counting);
    return {
      pooled,
      clients,
      [Symbol.asyncDispose]: async () => {
        for (const client of clients) client.destroy();
        await pooled[Symbol.asyncDispose]();
      },
    };
  }

  test("a statement that is blocked can be cancelled, and those behind it go on", async () => {
    await using crowd = await blocked(3);
    const [first, second, third] = crowd.clients as [Client, Client, Client];
    {
      await using _lock = await locked();
      for (const client of [first, second, third]) client.send(query(counting));
      await untilRunning(place.lab, "from locked");
      await first.cancel();
      expect((await first.outcome()).error?.code).toBe("57014");
      await second.cancel();
      expect((await second.outcome()).error?.code).toBe("57014");
    }
    expect((await third.outcome()).rows).toEqual([["0"]]);
  });

  test("a cancel request for one that is not in front waits for nobody, and hits nobody else", async () => {
    await using crowd = await blocked(3);
    const [first, second, third] = crowd.clients as [Client, Client, Client];
    {
      await using _lock = await locked();
      for (const client of [first, second, third]) client.send(query(counting));
      await untilRunning(place.lab, "from locked");
      await second.cancel();
      expect((await second.outcome()).error?.code).toBe("57014");
    }
    expect((await first.outcome()).rows).toEqual([["0"]]);
    expect((await third.outcome()).rows).toEqual([["0"]]);
    expect(await second.value("select 'usable'")).toBe("usable");
  });

  test("when the server is killed, nobody notices: everything is run again elsewhere", async () => {
    await using crowd = await blocked(4);
    {
      await using _lock = await locked();
      for (const client of crowd.clients) client.send(query(counting));
      await untilRunning(place.lab, "from locked");
      await place.lab.primary.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like '%from locked%' and pid <> pg_backend_pid()",
      );
      await waitUntil(() => crowd.pooled.opened === 2, "there is another server");
      await untilRunning(place.lab, "from locked");
    }
    for (const client of crowd.clients) expect((await client.outcome()).rows).toEqual([["0"]]);
    expect((await counts(crowd.pooled))["returned"]).toBeGreaterThanOrEqual(1);
  });

  test("a client that leaves takes nothing away from the others", async () => {
    await using crowd = await blocked(3);
    const [first, second, third] = crowd.clients as [Client, Client, Client];
    {
      await using _lock = await locked();
      for (const client of [first, second, third]) client.send(query(counting));
      await untilRunning(place.lab, "from locked");
      first.destroy();
      second.destroy();
      await crowd.pooled.untilSessions(1);
    }
    expect((await third.outcome()).rows).toEqual([["0"]]);
  });

  test("a client that does not take a large result holds up nobody", async () => {
    await place.lab.primary.query(
      "create table if not exists texts as select n as id, repeat('x', case n when 1 then 10 else 3000000 end) as text from generate_series(1, 2) n",
    );
    await using pooled = await multiplexed(2);
    const [slow, ...others] = (await connectAll(pooled, 6)) as [Client, ...Client[]];
    await warm(pooled, "select text from texts where id = 1");
    slow.raw.stream.pause();
    slow.send(query("select text from texts where id = 2"));
    for (const client of others) client.send(query("select text from texts where id = 1"));
    for (const client of others) expect((await client.outcome()).rows).toEqual([["xxxxxxxxxx"]]);
    slow.raw.stream.resume();
    expect((await slow.outcome()).rows[0]?.[0]).toHaveLength(3_000_000);
    // Neither server is left as it was when it had to wait.
    const both = others.slice(0, 2);
    for (const client of both) expect((await client.run("begin; select 1")).status).toBe("T");
    for (const client of both) expect((await client.run("commit")).status).toBe("I");
    for (const client of [slow, ...others]) client.destroy();
  });
});

test("cancel requests at random hit only those who asked", async () => {
  await using pooled = await multiplexed(2);
  const sql = "select count(*) from generate_series(1, 1000)";
  const clients = await connectAll(pooled, 12);
  await warm(pooled, sql);
  let cancelled = 0;
  await Promise.all(
    clients.map(async (client, index) => {
      for (let round = 0; round < 60; round++) {
        const answered = client.run(sql);
        const cancels = index % 3 === 0 ? client.cancel() : undefined;
        const { error, rows } = await answered;
        await cancels;
        if (error === undefined) expect(rows).toEqual([["1000"]]);
        else {
          expect(error.code).toBe("57014");
          expect(index % 3, "only who asks is cancelled").toBe(0);
          cancelled++;
        }
      }
    }),
  );
  expect(cancelled).toBeLessThan(240);
  for (const client of clients) client.destroy();
});

test("a pool that is paused gets everything back, and goes on where it was", async () => {
  await using pooled = await multiplexed(1);
  const clients = await connectAll(pooled, 10);
  await warm(pooled, "select 3");
  pooled.pooler.pauseServers();
  await pooled.untilServers(0);
  for (const client of clients) client.send(query("select 3"));
  pooled.pooler.resumeServers();
  for (const client of clients) expect((await client.outcome()).rows).toEqual([["3"]]);
  for (const client of clients) client.destroy();
});

test("a brief read has its turn among clients that never stop to want a server for themselves", async () => {
  await using pooled = await multiplexed(1);
  using reader = await pooled.connect();
  await warm(pooled, "select 4");
  const greedy = await connectAll(pooled, 4);
  const each = 200;
  let done = 0;
  const working = greedy.map(async (client) => {
    client.send(...Array.from({ length: each }, () => query("/* pgsluice: exclusive */ select 1")));
    for (let answers = 0; answers < each; answers++, done++)
      expect((await client.outcome()).error).toBeUndefined();
  });
  await waitUntil(() => done > 20, "all are at work");
  for (let round = 0; round < 5; round++) {
    const before = done;
    expect(await reader.value("select 4")).toBe("4");
    // A turn of each or two, and what was on its way.
    expect(done - before).toBeLessThan(60);
  }
  expect(done).toBeLessThan(greedy.length * each);
  await Promise.all(working);
  for (const client of greedy) client.destroy();
});

test("multiplex = false switches it off, for one database too", async () => {
  await using pooled = await multiplexed(1, { multiplex: false });
  using client = await pooled.connect();
  for (let run = 0; run < 10; run++) await client.value("select 1");
  expect(await counts(pooled)).toMatchObject({ units: 0 });
});

test("a statement that says so in a comment has its server for itself", async () => {
  await using pooled = await multiplexed(1);
  using client = await pooled.connect();
  await warm(pooled, "select 1");
  const { units } = await counts(pooled);
  // As often as is enough for others to be called brief.
  for (let round = 0; round < 10; round++)
    expect(await client.value("/* pgsluice: exclusive */ select 1")).toBe("1");
  expect((await counts(pooled))["units"]).toBe(units);
  expect(await client.value("select 2")).toBe("2");
  expect((await counts(pooled))["units"]).toBe((units ?? 0) + 1);
});

describe("multiplex_coalesce", () => {
  /** Clients that all wait for the only server with their statements, and what they are answered once it is free. */
  async function waiting(
    pooled: Pooled,
    clients: readonly Client[],
    statements: readonly string[],
    meanwhile?: () => Promise<void>,
  ): Promise<(string | null | undefined)[]> {
    using holder = await pooled.connect();
    await holder.run("begin; select 1");
    const answers = clients.map((client, index) => client.run(statements[index] ?? ""));
    await waitUntil(async () => {
      const { coalesced, queued } = await counts(pooled);
      return (coalesced ?? 0) + (queued ?? 0) >= clients.length;
    }, "all wait");
    await meanwhile?.();
    await holder.run("commit");
    return (await Promise.all(answers)).map(({ error, rows }) => error?.code ?? rows[0]?.[0]);
  }

  test("runs what is the same and waits only once, and answers everybody", async () => {
    await using pooled = await multiplexed(1, { multiplex_coalesce: true });
    const clients = await connectAll(pooled, 8);
    await warm(pooled, "select 1 as a");
    await warm(pooled, "select now()");
    const before = await counts(pooled);
    const same = await waiting(pooled, clients, Array(8).fill("select now()"));
    expect(new Set(same).size).toBe(1);
    const after = await counts(pooled);
    expect((after["coalesced"] ?? 0) - (before["coalesced"] ?? 0)).toBe(7);
    expect((after["units"] ?? 0) - (before["units"] ?? 0)).toBe(1);
    // Each goes on as if its own statement had run.
    expect(await Promise.all(clients.map((client) => client.value("select 7")))).toEqual(Array(8).fill("7"));
    const texts = clients.map((_client, index) => `select ${index % 2} as a`);
    expect(await waiting(pooled, clients, texts)).toEqual(clients.map((_client, index) => String(index % 2)));
    for (const client of clients) client.destroy();
  });

  test("not what other settings make another statement", async () => {
    await using pooled = await multiplexed(1, { multiplex_coalesce: true });
    const clients = await connectAll(pooled, 4);
    const sql = "select current_setting('TimeZone')";
    await warm(pooled, sql);
    await clients[1]?.run("set timezone = 'Asia/Tokyo'");
    await clients[3]?.run("set timezone = 'Asia/Tokyo'");
    const [first, second, third, fourth] = await waiting(pooled, clients, Array(4).fill(sql));
    expect([second, fourth]).toEqual(["Asia/Tokyo", "Asia/Tokyo"]);
    expect(third).toBe(first);
    expect(first).not.toBe("Asia/Tokyo");
    for (const client of clients) client.destroy();
  });

  test("whatever becomes of the one that runs, the others are answered", async () => {
    await using pooled = await multiplexed(1, { multiplex_coalesce: true });
    const clients = await connectAll(pooled, 5);
    const sql = "select 1 as a";
    await warm(pooled, sql);
    const canceled = await waiting(pooled, clients, Array(5).fill(sql), async () => {
      // The first in the queue is the one that would have run for all, the second one of those it would have run for.
      await clients[0]?.cancel();
      await clients[1]?.cancel();
    });
    expect(canceled).toEqual(["57014", "57014", "1", "1", "1"]);
    const left = await connectAll(pooled, 2);
    using holder = await pooled.connect();
    await holder.run("begin; select 1");
    for (const client of left) client.send(query(sql));
    const rest = clients.map((client) => client.value(sql));
    await pooled.untilSessions(8);
    for (const client of left) client.destroy();
    await pooled.untilSessions(6);
    await holder.run("commit");
    expect(await Promise.all(rest)).toEqual(Array(5).fill("1"));
    for (const client of clients) client.destroy();
  });

  test("an error is everyone's own", async () => {
    await using pooled = await multiplexed(1, { multiplex_coalesce: true });
    const clients = await connectAll(pooled, 3);
    await warm(pooled, "select 1 / 1");
    expect(await waiting(pooled, clients, Array(3).fill("select 1 / 0"))).toEqual(Array(3).fill("22012"));
    for (const client of clients) client.destroy();
  });
});
