/** How a pooler ends: what each mode tells whom, and that nothing of it is left. */
import net from "node:net";
import { describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { rawClient } from "../kit/raw-client.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { CancelGate } from "./cancel-gate.ts";
import { backends, Client, Pooled, query, running, untilRunning } from "./pooled.ts";

const place = useLab();
const farewell = {
  kind: "ErrorResponse",
  fields: {
    severity: "FATAL",
    code: "57P01",
    message: "terminating connection due to administrator command",
  },
};

/** Whether nobody listens there any more. */
async function refused(options: net.NetConnectOpts): Promise<boolean> {
  const socket = net.connect(options);
  return await new Promise<boolean>((resolve) => {
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", () => resolve(true));
  });
}

describe("a smart shutdown", () => {
  test("acceptance 2: closes the listeners at once, and lets the sessions finish", async () => {
    await using folder = await tempFolder();
    await using pooled = await Pooled.start(place.lab, { settings: { unix_socket_dir: folder.path } });
    const { port } = pooled.pooler.address;
    const path = `${folder.path}/.s.PGSQL.${port}`;
    using idle = await pooled.connect();
    using byUnix = await Client.connect({ host: folder.path, port });
    using busy = await pooled.connect();
    await busy.run("begin");
    expect(await refused({ path })).toBe(false);

    let over = false;
    const shutdown = pooled.pooler.shutdown("smart").then(() => {
      over = true;
    });
    await waitUntil(() => refused({ port, host: "127.0.0.1" }), "the TCP listener is closed");
    expect(await refused({ path })).toBe(true);
    const begun = pooled.log.find(({ message }) => message === "shutting down");
    expect(begun?.fields).toMatchObject({ mode: "smart", clients: 3 });
    expect(await idle.value("select 'goes on'")).toBe("goes on");
    expect(await byUnix.value("select 'too'")).toBe("too");
    await byUnix.close();
    await idle.close();
    await pooled.untilSessions(1);
    expect(over).toBe(false);
    expect(await busy.run("commit")).toMatchObject({ tags: ["COMMIT"] });
    await busy.close();
    await within(shutdown, "the pooler has ended");
  });

  test("acceptance 2: lets those who wait for a server have one", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using holder = await pooled.connect();
    using waiting = await pooled.connect();
    await holder.run("begin");
    const outcome = waiting.value("select 'served'");
    await pooled.untilWaiting(1);
    const shutdown = pooled.pooler.shutdown("smart");
    await holder.run("commit");
    expect(await outcome).toBe("served");
    await holder.close();
    await waiting.close();
    await within(shutdown, "the pooler has ended");
  });

  test("acceptance 2, 94: tells those who are about to log in that it is shutting down", async () => {
    await using pooled = await Pooled.start(place.lab);
    using session = await pooled.connect();
    using login = await rawClient(pooled.place);
    await waitUntil(() => pooled.pooler.counts.logins === 1, "its login has begun");
    const shutdown = pooled.pooler.shutdown("smart");
    login.sendStartup({ database: "postgres" });
    expect(await login.rest()).toMatchObject([
      {
        kind: "ErrorResponse",
        fields: { severity: "FATAL", code: "57P03", message: "pooler is shutting down" },
      },
    ]);
    await session.close();
    await within(shutdown, "the pooler has ended");
  });

  test("acceptance 2: ends at once where nobody is logged in", async () => {
    await using pooled = await Pooled.start(place.lab);
    const client = await pooled.connect();
    await client.value("select 1");
    await client.close();
    await pooled.untilSessions(0);
    using halfOpen = await rawClient(pooled.place);
    await within(pooled.pooler.shutdown("smart"), "the pooler has ended");
    expect(await halfOpen.rest()).toEqual([]);
  });

  test("acceptance 3: is overtaken by a more urgent one", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    await client.run("begin");
    const smart = pooled.pooler.shutdown("smart");
    const fast = pooled.pooler.shutdown("fast");
    expect(await client.raw.rest()).toMatchObject([farewell]);
    await within(Promise.all([smart, fast]), "both are done");
  });
});

describe("a fast shutdown", () => {
  for (const mode of ["session", "transaction"]) {
    test(`acceptance 4: tells each client 57P01, ends what runs, and says goodbye to PostgreSQL (${mode})`, async () => {
      const logged = (await place.lab.primary.log()).length;
      await using pooled = await Pooled.start(place.lab, {
        settings: { pool_mode: mode, default_pool_size: 3 },
      });
      const clients = await Promise.all(Array.from({ length: 4 }, () => pooled.connect()));
      const [idle, block, busy, waiting] = clients as [Client, Client, Client, Client];
      await idle.value("select 1");
      if (mode === "transaction") await idle.run("begin");
      await block.run("begin");
      busy.send(query("select pg_sleep(60), 'shut-down'"));
      await untilRunning(place.lab, "shut-down");
      waiting.send(query("select 'never'"));
      await pooled.untilWaiting(1);
      const rests = Promise.all(clients.map((client) => client.raw.rest()));
      await within(pooled.pooler.shutdown("fast"), "the pooler has ended");
      for (const rest of await rests) expect(rest).toMatchObject([farewell]);
      await waitUntil(async () => (await running(place.lab, "shut-down")) === 0, "nothing runs any more");
      await waitUntil(async () => (await backends(place.lab)) === 0, "no backend is left");
      expect((await place.lab.primary.log()).slice(logged)).not.toContain("unexpected EOF");
    });
  }

  test("acceptance 4: is not held up by a client that does not read", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    client.raw.stream.pause();
    client.send(query("select repeat('x', 1000000), 'unread' from generate_series(1, 100)"));
    await untilRunning(place.lab, "unread");
    await within(pooled.pooler.shutdown("fast"), "the pooler has ended");
    await waitUntil(async () => (await backends(place.lab)) === 0, "no backend is left");
  });
});

test("acceptance 4: an immediate shutdown just closes", async () => {
  await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 2 } });
  const clients = await Promise.all(Array.from({ length: 3 }, () => pooled.connect()));
  const [block, busy, waiting] = clients as [Client, Client, Client];
  await block.run("begin");
  busy.send(query("select pg_sleep(60), 'cut'"));
  await untilRunning(place.lab, "cut");
  waiting.send(query("select 'never'"));
  await pooled.untilWaiting(1);
  using halfOpen = await rawClient(pooled.place);
  await within(pooled.pooler.shutdown("immediate"), "the pooler has ended");
  for (const client of clients) expect(await client.raw.rest()).toEqual([]);
  expect(await halfOpen.rest()).toEqual([]);
  await waitUntil(async () => (await backends(place.lab)) === 0, "no backend is left");
});

test("acceptance 7, 19: a pause refuses new clients with 57P03, and RESUME takes them again", async () => {
  await using pooled = await Pooled.start(place.lab, {
    settings: { max_client_conn: 1, superuser_reserved_connections: 0 },
  });
  using client = await pooled.connect();
  pooled.pooler.enterRecovery();
  // More telling than that there is no place either.
  await expect(pooled.connect()).rejects.toThrow("FATAL 57P03: the database system is in recovery mode");
  expect(await client.value("select 'goes on'")).toBe("goes on");
  await client.cancel();
  pooled.pooler.resume();
  await expect(pooled.connect()).rejects.toThrow("53300");
  await client.close();
  await pooled.untilSessions(0);
  using next = await pooled.connect();
  expect(await next.value("select 1")).toBe("1");
});

describe("leftovers", () => {
  /** Kinds of the sockets, timers and look-ups of this process. */
  function resources(): string[] {
    return process.getActiveResourcesInfo().filter((kind) => /TCP|Timeout|Immediate|GetAddrInfo/.test(kind));
  }

  async function untilNothing(): Promise<void> {
    await waitUntil(() => resources().length === 0, "no socket and no timer is left").catch(() => undefined);
    expect(resources()).toEqual([]);
  }

  /** Runs a pooler and expects that nothing of it is left, neither in this process nor at PostgreSQL. */
  async function leavesNothing(use: () => Promise<void>): Promise<void> {
    await untilNothing();
    await use();
    await untilNothing();
    expect(await backends(place.lab)).toBe(0);
  }

  for (const mode of ["smart", "fast", "immediate"] as const) {
    test(`acceptance 9, 79: no socket and no timer after a ${mode} shutdown`, async () => {
      await leavesNothing(async () => {
        await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 3 } });
        const clients = await Promise.all(Array.from({ length: 10 }, () => pooled.connect()));
        await Promise.all(clients.map((client) => client.value("select 1")));
        for (const client of clients.slice(0, 5)) client.destroy();
        for (const client of clients.slice(5, 8)) await client.close();
        const [block, busy] = clients.slice(8) as [Client, Client];
        await block.run("begin");
        busy.send(query("select pg_sleep(60), 'left'"));
        await untilRunning(place.lab, "left");
        if (mode === "smart") {
          await busy.cancel();
          for (const client of [block, busy]) client.destroy();
        }
        await pooled.pooler.shutdown(mode);
        for (const client of clients) client.destroy();
      });
    });
  }

  test("acceptance 79: no socket and no timer after logins and connects that fail", async () => {
    await leavesNothing(async () => {
      for (const node of [{ port: 1 }, { host: "nowhere.invalid" }]) {
        await using pooled = await Pooled.start(place.lab, { node });
        await expect(pooled.connect()).rejects.toThrow("FATAL");
      }
      await using pooled = await Pooled.start(place.lab);
      await expect(pooled.connect({ database: "no_such_database" })).rejects.toThrow("3D000");
      await expect(pooled.connect({ parameters: [["no_such_setting", "1"]] })).rejects.toThrow("42704");
      const halfOpen = await rawClient(pooled.place);
      halfOpen.send(Buffer.from([0, 0]));
      halfOpen.destroy();
    });
  });

  test("acceptance 79: no socket and no timer after a shutdown while a cancel request is under way", async () => {
    await leavesNothing(async () => {
      await using gate = await CancelGate.start(place.lab.primary);
      await using pooled = await Pooled.start(place.lab, { node: { host: "127.0.0.1", port: gate.port } });
      using client = await pooled.connect();
      client.send(query("select pg_sleep(60), 'held'"));
      await untilRunning(place.lab, "held");
      gate.hold();
      const requested = client.cancel();
      await waitUntil(() => gate.held === 1, "the cancel request is on its way");
      await pooled.pooler.shutdown("immediate");
      await requested;
      await place.lab.primary.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like '%held%' and pid <> pg_backend_pid()",
      );
    });
  });

  test("acceptance 79: no socket and no timer after a shutdown while a server is being opened", async () => {
    await leavesNothing(async () => {
      const silent = net.createServer();
      silent.listen({ port: 0, host: "127.0.0.1" });
      const sockets: net.Socket[] = [];
      silent.on("connection", (socket) => sockets.push(socket.on("error", () => undefined)));
      await waitUntil(() => silent.listening, "the silent server listens");
      const { port } = silent.address() as net.AddressInfo;
      await using pooled = await Pooled.start(place.lab, { node: { host: "127.0.0.1", port } });
      const login = await rawClient(pooled.place);
      login.sendStartup({ database: "postgres" });
      await waitUntil(() => sockets.length === 1, "the pooler connects");
      await pooled.pooler.shutdown("fast");
      login.destroy();
      silent.close();
      for (const socket of sockets) socket.resume();
    });
  });
});
