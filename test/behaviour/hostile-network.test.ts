/**
 * What networks do to a pooler, on either side of it: delay, tear apart, cut, reset, swallow. And a server
 * process that is killed. Answers are right or there are none; what has failed is told; afterwards all is well.
 */
import { describe, expect, test } from "vitest";
import { FaultProxy } from "../../src/lab/index.ts";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { rawClient } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { Client, execute, Pooled, parse, query, sync, untilRunning } from "./pooled.ts";

const pg = useLab();

const quickly = { server_connect_timeout: 0.5, server_login_retry: 0.1, cancel_wait_timeout: 0.5 };

/** A pooler whose way to PostgreSQL leads through a proxy. */
async function behind(proxy: FaultProxy, settings: Readonly<Record<string, unknown>> = {}): Promise<Pooled> {
  return await Pooled.start(pg.lab, {
    settings: { default_pool_size: 2, ...quickly, ...settings },
    node: { host: proxy.host, port: proxy.port },
  });
}

/** A bit of everything; what it saw, in short. */
async function work(client: Client): Promise<unknown[]> {
  const seen: unknown[] = [];
  const ask = async (...messages: FrontendMessage[]): Promise<void> => {
    const { rows, tags, error, status } = await client.ask(...messages);
    seen.push([rows, tags, error?.code, status]);
  };
  await ask(query("select 1, null, 'two'; select 3"));
  await ask(query("begin"));
  await ask(parse("mine", "select $1::int + 1"), ...execute("mine", ["41"]), sync);
  await ask(query("select 1/0"));
  await ask(query("rollback"));
  await ask(...execute("mine", ["1"]), ...execute("mine", ["x"]), ...execute("mine", ["2"]), sync);
  await ask(query("copy (select 'out') to stdout"));
  return seen;
}

async function workDirectly(): Promise<unknown[]> {
  const { host, port } = pg.lab.primary;
  using client = await Client.connect({ host, port });
  return await work(client);
}

describe("answers are the same", () => {
  test.each([
    ["byte by byte", { writeBytesMax: 1 }],
    ["in pieces of three bytes", { writeBytesMax: 3 }],
    ["late", { latencyMs: 15 }],
  ])("%s, on both sides", async (_, faults) => {
    const { host, port } = pg.lab.primary;
    await using far = await FaultProxy.start({ host, port });
    await using pooled = await behind(far, { server_connect_timeout: 15 });
    await using near = await FaultProxy.start(pooled.pooler.address);
    await far.set(faults);
    await near.set(faults);
    using client = await Client.connect({ host: near.host, port: near.port });
    expect(await work(client)).toEqual(await workDirectly());
    client.destroy();
    await pooled.untilSessions(0);
  });
});

describe("a connection to the server that is cut", () => {
  /** Bytes of a login, roughly, and of the answers behind it. */
  const cuts = [0, 1, 4, 5, 8, 9, 10, 30, 100, 200, 300, 400, 430, 460, 480, 500, 520, 540, 560, 600, 700];

  test.each(["from-server", "from-client"] as const)(
    "anywhere (%s): the client has right answers and an error, or is refused",
    async (direction) => {
      const { host, port } = pg.lab.primary;
      const expected = await workDirectly();
      await using proxy = await FaultProxy.start({ host, port });
      await using pooled = await behind(proxy);
      for (const cutAfterBytes of cuts) {
        pooled.pooler.closeIdleServers();
        await proxy.set({ cutAfterBytes, direction });
        const client = await pooled.connect().catch(() => undefined);
        if (client !== undefined) {
          const seen = await work(client).catch((error: unknown) => [String(error)]);
          if (seen.length === expected.length) expect(seen).toEqual(expected);
          client.destroy();
        }
        await proxy.heal();
        await pooled.untilSessions(0);
        // A login that failed is not tried again at once.
        await waitUntil(async () => {
          const next = await pooled.connect().catch(() => undefined);
          const value = await next?.value("select 'well again'").catch(() => undefined);
          next?.destroy();
          return value === "well again";
        }, `all is well after a cut behind ${cutAfterBytes} bytes`);
      }
    },
  );

  test.each(["resetAll", "closeAll"] as const)("in every state of its client (%s)", async (how) => {
    const { host, port } = pg.lab.primary;
    await using proxy = await FaultProxy.start({ host, port });
    await using pooled = await behind(proxy);
    using idle = await pooled.connect();
    using inTransaction = await pooled.connect();
    using working = await pooled.connect();
    using waiting = await pooled.connect();
    await inTransaction.run("begin");
    working.send(query("select pg_sleep(1000) /* cut */"));
    await untilRunning(pg.lab, "/* cut */");
    waiting.send(query("select 'served in the end'"));
    await pooled.untilWaiting(1);
    proxy[how]();
    for (const victim of [inTransaction, working]) {
      const last = (await victim.raw.rest()).at(-1);
      expect(last).toMatchObject({ kind: "ErrorResponse", fields: { severity: "FATAL", code: "08006" } });
    }
    // Who had no server has lost nothing.
    expect((await waiting.outcome()).rows).toEqual([["served in the end"]]);
    expect(await idle.value("select 'still here'")).toBe("still here");
    await pooled.untilSessions(2);
    await pg.lab.primary.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where query like '%/* cut */'",
    );
  });
});

describe("a server that cannot be reached", () => {
  test.each([
    ["refuses", { refuse: true }, "connect failed"],
    ["swallows everything", { drop: true }, "connect timeout"],
    ["stops in its login", { stallAfterBytes: 20 }, "connect timeout"],
  ])("%s: clients are told in time, and served when it is back", async (_, faults, text) => {
    const { host, port } = pg.lab.primary;
    await using proxy = await FaultProxy.start({ host, port });
    await using pooled = await behind(proxy);
    using loggedIn = await pooled.connect();
    pooled.pooler.closeIdleServers();
    await proxy.set(faults);
    loggedIn.send(query("select"));
    const last = (await loggedIn.raw.rest()).at(-1);
    expect(last).toMatchObject({ kind: "ErrorResponse", fields: { severity: "FATAL", message: text } });
    await proxy.heal();
    await waitUntil(async () => {
      const next = await pooled.connect().catch(() => undefined);
      const value = await next?.value("select 'back'").catch(() => undefined);
      next?.destroy();
      return value === "back";
    }, "clients are served again");
    await pooled.untilSessions(0);
  });

  test("in the middle of a statement: query_timeout ends it, and its place comes free", async () => {
    const { host, port } = pg.lab.primary;
    await using proxy = await FaultProxy.start({ host, port });
    await using pooled = await behind(proxy, { default_pool_size: 1, query_timeout: 0.5 });
    using client = await pooled.connect();
    await client.run("select");
    await proxy.set({ drop: true });
    client.send(query("select 'lost'"));
    const last = (await client.raw.rest()).at(-1);
    expect(last).toMatchObject({
      kind: "ErrorResponse",
      fields: { severity: "FATAL", message: "query timeout" },
    });
    await pooled.untilServers(0);
    await proxy.heal();
    using next = await pooled.connect();
    expect(await next.value("select 'found'")).toBe("found");
  });
});

test("a client that the network swallows in the middle of a result stops nobody else", async () => {
  await using pooled = await Pooled.start(pg.lab, { settings: { default_pool_size: 2 } });
  await using proxy = await FaultProxy.start(pooled.pooler.address);
  const swallowed = await Client.connect({ host: proxy.host, port: proxy.port });
  await proxy.set({ stallAfterBytes: 100_000 });
  swallowed.send(query("select repeat('x', 1000) from generate_series(1, 100000)"));
  using other = await pooled.connect();
  for (let round = 0; round < 50; round++) expect(await other.value(`select ${round}`)).toBe(String(round));
  proxy.resetAll();
  await pooled.untilSessions(1);
  swallowed.destroy();
});

describe("a server process that is killed", () => {
  async function kill(pid: string | null): Promise<void> {
    process.kill(Number(pid), "SIGKILL");
    // PostgreSQL ends all others too, and starts anew.
    await waitUntil(
      async () => {
        const rows = await pg.lab.primary.query("select 1").catch(() => undefined);
        return rows !== undefined;
      },
      "PostgreSQL has recovered",
      30_000,
    );
  }

  test("in a transaction of one client: that one is told, the others go on when it has recovered", async () => {
    await using pooled = await Pooled.start(pg.lab, { settings: quickly });
    using victim = await pooled.connect();
    using working = await pooled.connect();
    using idle = await pooled.connect();
    await pg.lab.primary.query("create table if not exists killed (line text)");
    await victim.run("begin");
    await victim.run("insert into killed values ('in a transaction')");
    working.send(query("select pg_sleep(1000) /* killed too */"));
    await untilRunning(pg.lab, "/* killed too */");
    const killed = kill(await victim.backendPid());
    for (const client of [victim, working]) {
      const last = (await client.raw.rest()).at(-1);
      expect(last).toMatchObject({ kind: "ErrorResponse", fields: { severity: "FATAL" } });
    }
    await pooled.untilServers(0);
    // Not before: who connects in the moment in which PostgreSQL ends all its processes is hung up on without a word.
    await killed;
    expect(await idle.value("select count(*) from killed")).toBe("0");
    await pooled.untilSessions(1);
  });

  test("while nobody works: no client notices", async () => {
    await using pooled = await Pooled.start(pg.lab, { settings: quickly });
    using client = await pooled.connect();
    const backend = await client.backendPid();
    await kill(backend);
    await pooled.untilServers(0);
    expect(await client.value("select 'as if nothing had happened'")).toBe("as if nothing had happened");
    using next = await rawClient(pooled.place);
    await next.startup({ database: "postgres" });
  });
});
