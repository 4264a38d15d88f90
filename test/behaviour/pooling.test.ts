/** Which servers are shared by whom, what happens to one between two clients, and when one is given up. */
import { describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { backends, type Client, execute, Pooled, parse, query, sync, untilRunning } from "./pooled.ts";

const place = useLab({ settings: { max_connections: "100" } });

/** Settings of a pooler in session mode, where clients give their servers back at their end. */
const session = { pool_mode: "session" };

describe("sharing", () => {
  for (const mode of ["session", "transaction", "statement"]) {
    test(`acceptance 46: all clients of one user and database share servers, others do not (pool_mode ${mode})`, async () => {
      await place.lab.primary.query("drop role if exists other; create role other login");
      await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
      const first = await pidOfNewClient(pooled);
      expect(await pidOfNewClient(pooled)).toBe(first);
      expect(await pidOfNewClient(pooled, { user: "other" })).not.toBe(first);
      expect(await pidOfNewClient(pooled, { database: "template1" })).not.toBe(first);
      expect(await pidOfNewClient(pooled)).toBe(first);
    });
  }

  test("acceptance 46: a server that died is not missed by anybody", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    const pid = await client.backendPid();
    await place.lab.primary.query(`select pg_terminate_backend(${pid}, 5000)`);
    await pooled.untilServers(0);
    expect(await client.backendPid()).not.toBe(pid);
  });

  test("acceptance 47, 48, 51: a server serves whoever comes next, with that client's own settings", async () => {
    await using pooled = await Pooled.start(place.lab);
    const pids = new Set<string | null>();
    for (const [name, zone] of [
      ["billing", "UTC"],
      ["reports", "Asia/Tokyo"],
      ["billing", "Europe/Berlin"],
    ] as const) {
      using client = await pooled.connect({
        parameters: [
          ["application_name", name],
          ["TimeZone", zone],
        ],
      });
      expect(client.session.parameters.get("application_name")).toBe(name);
      expect(await client.value("show timezone")).toBe(zone);
      expect(
        await client.value("select application_name from pg_stat_activity where pid = pg_backend_pid()"),
      ).toBe(name);
      pids.add(await client.backendPid());
    }
    expect(pids.size).toBe(1);
  });

  test("acceptance 48: applications with different startup options do not evict each other", async () => {
    await using pooled = await Pooled.start(place.lab);
    const pids = new Set<string | null>();
    for (let round = 0; round < 5; round++) {
      for (const options of ["-c work_mem=1MB", "-c work_mem=2MB"]) {
        using client = await pooled.connect({ parameters: [["options", options]] });
        expect(await client.value("show work_mem")).toBe(options.slice(-3));
        pids.add(await client.backendPid());
        await client.close();
      }
    }
    expect(pids.size).toBe(2);
  });

  test("acceptance 50: no server is opened before a client needs one, and only as many as work at once", async () => {
    await using pooled = await Pooled.start(place.lab);
    expect(pooled.pooler.counts.servers).toBe(0);
    const clients = await Promise.all(Array.from({ length: 10 }, () => pooled.connect()));
    for (const client of clients) expect(await client.value("select 1")).toBe("1");
    // Those that logged in before anything was known of the node each asked for a server, once.
    const servers = pooled.pooler.counts.servers;
    const more = await Promise.all(Array.from({ length: 10 }, () => pooled.connect()));
    for (const client of more) expect(await client.value("select 1")).toBe("1");
    expect(pooled.pooler.counts.servers).toBe(servers);
    for (const client of [...clients, ...more]) client.destroy();
  });

  test("acceptance 57: what is in use and what waits can be read", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using one = await pooled.connect();
    using two = await pooled.connect();
    expect(pooled.pooler.counts).toEqual({ sessions: 2, logins: 0, servers: 1, waiting: 0, pools: 1 });
    await one.run("begin");
    two.send(query("select 1"));
    await pooled.untilWaiting(1);
    await one.run("commit");
    await two.outcome();
    expect(pooled.pooler.counts).toEqual({ sessions: 2, logins: 0, servers: 1, waiting: 0, pools: 1 });
  });
});

describe("between two clients", () => {
  test("acceptance 54, 58, 60: what one left on its server is gone for the next (session)", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { ...session, default_pool_size: 1 } });
    using first = await pooled.connect();
    const pid = await first.backendPid();
    await first.run("set work_mem = '77MB'; create temp table leftover (n int); listen leftover");
    await first.run("prepare leftover as select 1; select pg_advisory_lock(1)");
    await first.ask(parse("named", "select 1"), sync);
    await first.close();
    using next = await pooled.connect();
    expect(await next.backendPid()).toBe(pid);
    expect(await next.value("show work_mem")).toBe("4MB");
    expect(await next.value("select to_regclass('leftover') is null")).toBe("t");
    expect(await next.value("select count(*) from pg_prepared_statements")).toBe("0");
    expect(await next.value("select count(*) from pg_listening_channels()")).toBe("0");
    expect(await next.value("select count(*) from pg_locks where locktype = 'advisory'")).toBe("0");
  });

  test("acceptance 60: nothing is reset where nothing was done", async () => {
    const settings = { ...session, server_reset_query: "insert into resets values (1)" };
    await place.lab.primary.query("create table resets (n int)");
    await using pooled = await Pooled.start(place.lab, { settings });
    for (let i = 0; i < 3; i++) await (await pooled.connect()).close();
    await pooled.untilSessions(0);
    using client = await pooled.connect();
    expect(await client.value("select count(*) from resets")).toBe("0");
    await client.close();
    using next = await pooled.connect();
    expect(await next.value("select count(*) from resets")).toBe("1");
  });

  const unclean: readonly (readonly [string, (client: Client) => Promise<unknown>])[] = [
    ["an open transaction", (client) => client.run("begin")],
    ["a failed transaction", (client) => client.run("begin; select 1/0")],
    [
      "a batch without its Sync",
      async (client) => {
        client.send(parse("", "select 1"), { kind: "Flush" });
        await client.raw.expect("ParseComplete");
      },
    ],
    [
      "an unfinished COPY",
      async (client) => {
        client.send(query("create temp table t (n int); copy t from stdin"));
        await client.raw.expect("CommandComplete");
        await client.raw.expect("CopyInResponse");
      },
    ],
  ];
  for (const mode of ["session", "transaction"]) {
    for (const [what, leave] of unclean) {
      for (const how of ["says goodbye", "disappears"] as const) {
        test(`acceptance 54, 59, 60: a server with ${what} is given to nobody when its client ${how} (${mode})`, async () => {
          await using pooled = await Pooled.start(place.lab, {
            settings: { pool_mode: mode, default_pool_size: 1 },
          });
          using client = await pooled.connect();
          const pid = await client.backendPid();
          await leave(client);
          if (how === "disappears") client.destroy();
          else await client.close();
          using next = await pooled.connect();
          expect(await next.backendPid()).not.toBe(pid);
          await waitUntil(
            async () => (await backends(place.lab, `pid = ${pid}`)) === 0,
            "its backend is gone",
          );
        });
      }
    }
  }

  test("acceptance 60: a server whose reset fails is discarded", async () => {
    const settings = { ...session, server_reset_query: "select 1/0" };
    await using pooled = await Pooled.start(place.lab, { settings });
    const first = await pidOfNewClient(pooled);
    await pooled.untilClosedFor("server_reset_query failed");
    expect(await pidOfNewClient(pooled)).not.toBe(first);
  });

  test("acceptance 60: a server that is not idle after its reset is discarded", async () => {
    const settings = { ...session, server_reset_query: "begin" };
    await using pooled = await Pooled.start(place.lab, { settings });
    const first = await pidOfNewClient(pooled);
    await pooled.untilClosedFor("server_reset_query failed");
    expect(await pidOfNewClient(pooled)).not.toBe(first);
  });

  test("acceptance 60: a server whose reset takes too long (server_reset_timeout) is discarded, and nobody waits for it", async () => {
    await using holder = await place.lab.primary.connect();
    await holder.query("select pg_advisory_lock(60)");
    const settings = {
      ...session,
      default_pool_size: 1,
      server_reset_query: "select pg_advisory_lock_shared(60), 'slow-reset'",
      server_reset_timeout: 0.5,
    };
    await using pooled = await Pooled.start(place.lab, { settings });
    const first = await pidOfNewClient(pooled);
    await untilRunning(place.lab, "slow-reset");
    using next = await pooled.connect();
    expect(await next.backendPid()).not.toBe(first);
    expect(pooled.closeReasons).toContain("server_reset_timeout");
    await holder.query("select pg_advisory_unlock_all()");
  });

  test("acceptance 60: with server_reset_query_always a server is reset between transactions too", async () => {
    const settings = { default_pool_size: 1, server_reset_query_always: true };
    await using pooled = await Pooled.start(place.lab, { settings });
    using client = await pooled.connect();
    const pid = await client.backendPid();
    await client.run("set work_mem = '77MB'");
    expect(await client.value("show work_mem")).toBe("4MB");
    expect(await client.backendPid()).toBe(pid);
  });

  test("acceptance 60: without a server_reset_query a server is handed on as it is", async () => {
    await using pooled = await Pooled.start(place.lab, {
      settings: { ...session, server_reset_query: "", default_pool_size: 1 },
    });
    using first = await pooled.connect();
    await first.run("set work_mem = '77MB'");
    await first.close();
    using next = await pooled.connect();
    expect(await next.value("show work_mem")).toBe("77MB");
  });

  test("a server on which another user was set is discarded, not handed on", async () => {
    await place.lab.primary.query("drop role if exists nobody; create role nobody");
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using client = await pooled.connect();
    const pid = await client.backendPid();
    await client.run("set session authorization nobody");
    using next = await pooled.connect();
    expect(await next.value("select current_user")).toBe("postgres");
    expect(await next.backendPid()).not.toBe(pid);
  });

  test("acceptance 59: template databases are never kept connected, so that CREATE DATABASE can copy them", async () => {
    for (const mode of ["session", "transaction"]) {
      await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
      using client = await pooled.connect({ database: "template1" });
      expect(await client.value("select 1")).toBe("1");
      if (mode === "session") await client.close();
      await waitUntil(
        async () => (await backends(place.lab, "datname = 'template1'")) === 0,
        "nobody is connected to template1",
      );
      expect(pooled.closeReasons).toContain("server is not reused");
      await place.lab.primary.query(`create database copied_${mode} template template1`);
    }
  });
});

describe("age", () => {
  test("acceptance 12: with a lifetime of 0 a server is used once", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { server_lifetime: 0 } });
    using client = await pooled.connect();
    const pids = [await client.backendPid(), await client.backendPid(), await client.backendPid()];
    expect(new Set(pids).size).toBe(3);
    await pooled.untilServers(0);
    expect(new Set(pooled.closeReasons)).toEqual(new Set(["server_lifetime"]));
  });

  test("acceptance 11, 12, 65: an old server is closed when it comes free, and while it is idle, but not in use", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { server_lifetime: 0.3 } });
    using client = await pooled.connect();
    await client.run("begin");
    const pid = await client.backendPid();
    using other = await pooled.connect();
    await other.value("select 1");
    await pooled.untilClosedFor("server_lifetime");
    expect(await client.backendPid()).toBe(pid);
    await client.run("commit");
    await waitUntil(async () => (await backends(place.lab, `pid = ${pid}`)) === 0, "its backend is gone");
    expect(await client.value("select 1")).toBe("1");
  });

  test("acceptance 65: an unused server is closed, but not below the minimum", async () => {
    await using pooled = await Pooled.start(place.lab, {
      settings: { server_idle_timeout: 0.3, min_pool_size: 1 },
    });
    using one = await pooled.connect();
    using two = await pooled.connect();
    await Promise.all([one.run("begin"), two.run("begin")]);
    await Promise.all([one.run("commit"), two.run("commit")]);
    expect(pooled.pooler.counts.servers).toBe(2);
    await pooled.untilClosedFor("server_idle_timeout");
    expect(pooled.pooler.counts.servers).toBe(1);
  });

  test("acceptance 13, 14: after a change of the node idle servers are retired and sessions go on", async () => {
    const settings = session;
    await using pooled = await Pooled.start(place.lab, { settings });
    using client = await pooled.connect();
    const pid = await client.backendPid();
    using leaver = await pooled.connect();
    await leaver.backendPid();
    await leaver.close();
    await pooled.untilServers(2);
    // The same server by another name.
    await pooled.reload({ settings, node: { host: "localhost" } });
    await pooled.untilClosedFor("database configuration changed");
    expect(await client.backendPid()).toBe(pid);
    expect(pooled.pooler.counts.servers).toBe(1);
    await client.close();
    using next = await pooled.connect();
    expect(await next.backendPid()).not.toBe(pid);
    await waitUntil(() => pooled.closeReasons.length === 2, "the server in use is retired too");
  });

  test("acceptance 13: a change of a pool's size (default_pool_size) applies at once, to both sides", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using one = await pooled.connect();
    using two = await pooled.connect();
    await one.run("begin");
    const waiting = two.value("select 'served'");
    await pooled.untilWaiting(1);
    await pooled.reload({ settings: { default_pool_size: 2 } });
    expect(await waiting).toBe("served");
    await one.run("commit");
  });

  test("acceptance 13: a pool that is made smaller gives up servers when they come free", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 3 } });
    const clients = await Promise.all([0, 1, 2].map(() => pooled.connect()));
    const [one, two, three] = clients as [Client, Client, Client];
    await Promise.all(clients.map((client) => client.run("begin")));
    await one.run("commit");
    await pooled.reload({ settings: { default_pool_size: 1 } });
    await pooled.untilServers(2);
    expect(await two.run("commit")).toMatchObject({ tags: ["COMMIT"] });
    await pooled.untilServers(1);
    expect(await three.run("commit")).toMatchObject({ tags: ["COMMIT"] });
    expect(await Promise.all(clients.map((client) => client.value("select 1")))).toEqual(["1", "1", "1"]);
    expect(pooled.pooler.counts.servers).toBe(1);
    for (const client of clients) client.destroy();
  });

  test("acceptance 13: of a database that is taken away transactions are finished, and no more is begun", async () => {
    const databases = { postgres: {}, gone: { dbname: "postgres" } };
    await using pooled = await Pooled.start(place.lab, { databases });
    using client = await pooled.connect({ database: "gone" });
    using other = await pooled.connect();
    await client.run("begin");
    await pooled.reload({ databases: { postgres: {} } });
    expect(await client.run("commit")).toMatchObject({ tags: ["COMMIT"] });
    client.send(query("select 'never'"));
    expect((await client.raw.rest()).at(-1)).toMatchObject({
      kind: "ErrorResponse",
      fields: { severity: "FATAL" },
    });
    await expect(pooled.connect({ database: "gone" })).rejects.toThrow("no such database: gone");
    expect(await other.value("select 1")).toBe("1");
  });

  test("acceptance 6: closing idle servers leaves those in use alone", async () => {
    await using pooled = await Pooled.start(place.lab);
    using one = await pooled.connect();
    using two = await pooled.connect();
    await Promise.all([one.run("begin"), two.run("begin")]);
    const pid = await one.backendPid();
    const idle = await two.backendPid();
    await two.run("commit");
    pooled.pooler.closeIdleServers();
    await waitUntil(async () => (await backends(place.lab, `pid = ${idle}`)) === 0, "the idle one is gone");
    expect(await one.backendPid()).toBe(pid);
    await one.run("commit");
    expect(await one.backendPid()).toBe(pid);
  });
});

/** The server's process that a new client gets, which then leaves. */
async function pidOfNewClient(
  pooled: Pooled,
  startup: Parameters<Pooled["connect"]>[0] = {},
): Promise<string | null> {
  const client = await pooled.connect(startup);
  const sessions = pooled.pooler.counts.sessions;
  const { rows } = await client.ask(parse("", "select pg_backend_pid()"), ...execute(""), sync);
  await client.close();
  await pooled.untilSessions(sessions - 1);
  return rows[0]?.[0] ?? null;
}
