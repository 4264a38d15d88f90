/**
 * Cancel requests: whom they stop, whom they never touch, and when the requester is told that it is done.
 * Statements are held by an advisory lock of the test's own session, so that the test says when they end.
 */
import { describe, expect, test } from "vitest";
import { protocolVersion32 } from "../../src/wire/constants.ts";
import { encodeStartup } from "../../src/wire/startup.ts";
import { ByteStream } from "../kit/byte-stream.ts";
import { useLab } from "../kit/lab.ts";
import { rawCancel } from "../kit/raw-client.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { CancelGate } from "./cancel-gate.ts";
import {
  backends,
  type Client,
  execute,
  Pooled,
  parse,
  query,
  running,
  sync,
  untilRunning,
} from "./pooled.ts";

const place = useLab();
const cancelled = { code: "57014", message: "canceling statement due to user request" };

/** Runs something while a lock is held that statements of other sessions wait for. */
async function holding(lock: number, use: (free: () => Promise<void>) => Promise<void>): Promise<void> {
  await using holder = await place.lab.primary.connect();
  await holder.query(`select pg_advisory_lock(${lock})`);
  await use(async () => {
    await holder.query("select pg_advisory_unlock_all()");
  });
}

const waitFor = (lock: number): string => `select pg_advisory_lock_shared(${lock})`;

describe("a cancel request with the client's own key", () => {
  for (const mode of ["session", "transaction", "statement"]) {
    for (const version of [undefined, protocolVersion32]) {
      const protocol = version === undefined ? "3.0" : "3.2";
      test(`acceptance 66, 68, 71: stops the statement that runs (${mode}, protocol ${protocol})`, async () => {
        await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
        using client = await pooled.connect(version === undefined ? {} : { version });
        expect(client.session.key.length).toBe(version === undefined ? 4 : 32);
        const outcome = client.run("select pg_sleep(60), 'first'");
        await untilRunning(place.lab, "first");
        await client.cancel();
        expect(await outcome).toMatchObject({ error: cancelled, status: "I" });
        expect(await client.value("select 2")).toBe("2");
      });
    }
  }

  test("acceptance 68: reaches a node behind a Unix socket", async () => {
    const { socketFolder } = place.lab.primary;
    await using pooled = await Pooled.start(place.lab, { node: { host: socketFolder } });
    using client = await pooled.connect();
    const outcome = client.run("select pg_sleep(60), 'unix'");
    await untilRunning(place.lab, "unix");
    await client.cancel();
    expect(await outcome).toMatchObject({ error: cancelled });
  });

  test("acceptance 66: stops a statement of a transaction, which then waits for its ROLLBACK", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    await client.run("begin");
    const outcome = client.ask(parse("", "select pg_sleep(60), 'in-block'"), ...execute(""), sync);
    await untilRunning(place.lab, "in-block");
    await client.cancel();
    expect(await outcome).toMatchObject({ error: cancelled, status: "E" });
    expect(await client.run("rollback")).toMatchObject({ tags: ["ROLLBACK"], status: "I" });
  });

  test("acceptance 66: stops nobody but its client", async () => {
    await using pooled = await Pooled.start(place.lab);
    using one = await pooled.connect();
    using two = await pooled.connect();
    await holding(1, async (free) => {
      const outcomes = [one.run(`${waitFor(1)}, 'pair'`), two.run(`${waitFor(1)}, 'pair'`)];
      await untilRunning(place.lab, "pair", 2);
      await one.cancel();
      expect(await outcomes[0]).toMatchObject({ error: cancelled });
      expect(await running(place.lab, "pair")).toBe(1);
      await free();
      expect((await outcomes[1])?.error).toBeUndefined();
    });
  });
});

describe("a cancel request that matches nothing", () => {
  test("acceptance 67, 71: is only closed, and stops nothing", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    using gone = await pooled.connect();
    const { pid, key } = client.session;
    const backend = await client.backendPid();
    await gone.close();
    await pooled.untilSessions(1);
    const otherKey = Buffer.from(key);
    otherKey[3] = (otherKey[3] ?? 0) ^ 1;
    await holding(2, async (free) => {
      const outcome = client.run(`${waitFor(2)}, 'wrong-key'`);
      await untilRunning(place.lab, "wrong-key");
      const zero = Buffer.alloc(4);
      await sendCancel(pooled, { pid, key: otherKey });
      await sendCancel(pooled, { pid, key: zero });
      await sendCancel(pooled, { pid, key: Buffer.concat([key, zero]) });
      await sendCancel(pooled, { pid: 0, key: zero });
      await sendCancel(pooled, { pid: pid === 1 ? 2 : pid - 1, key });
      await sendCancel(pooled, { pid: Number(backend), key });
      await sendCancel(pooled, gone.session);
      expect(await running(place.lab, "wrong-key")).toBe(1);
      await free();
      expect((await outcome).error).toBeUndefined();
    });
    expect(pooled.log.filter(({ message }) => message === "failed cancel request").length).toBe(7);
  });

  test("acceptance 70, 88: comes too late, and the client's next statement runs", async () => {
    await using gate = await CancelGate.start(place.lab.primary);
    for (const mode of ["session", "transaction"]) {
      await using pooled = await Pooled.start(place.lab, {
        settings: { pool_mode: mode },
        node: { host: "127.0.0.1", port: gate.port },
      });
      using client = await pooled.connect();
      expect(await client.value("select 1")).toBe("1");
      await client.cancel();
      expect(await client.value("select 2")).toBe("2");
      await client.run("begin");
      await client.cancel();
      expect(await client.run("commit")).toMatchObject({ tags: ["COMMIT"], status: "I" });
    }
    // Where nothing runs the node is not even asked.
    expect(gate.cancels).toBe(0);
  });
});

/** Sends a cancel request and expects to be closed without having been told anything. */
async function sendCancel(pooled: Pooled, session: { pid: number; key: Buffer }): Promise<void> {
  await rawCancel(pooled.place, session);
}

describe("a client that waits for a server", () => {
  /** One server, which `holder` keeps, and a client behind it. */
  async function queued(
    use: (pooled: Pooled, client: Client, free: () => Promise<void>) => Promise<void>,
  ): Promise<void> {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using holder = await pooled.connect();
    using client = await pooled.connect();
    await holder.run("begin");
    await use(pooled, client, async () => {
      await holder.run("commit");
    });
  }

  test("acceptance 72: its cancel answers 57014 at once, and the session goes on", async () => {
    await queued(async (pooled, client, free) => {
      const outcome = client.run("create table never_made()");
      await pooled.untilWaiting(1);
      await client.cancel();
      expect(await outcome).toMatchObject({ error: { ...cancelled, severity: "ERROR" }, status: "I" });
      expect(pooled.pooler.counts.waiting).toBe(0);
      const next = client.value("select to_regclass('never_made') is null");
      await pooled.untilWaiting(1);
      await free();
      expect(await next).toBe("t");
    });
  });

  test("acceptance 72: of a batch that is cancelled nothing runs", async () => {
    await queued(async (pooled, client, free) => {
      const outcome = client.ask(parse("", "create table never_made()"), ...execute(""), sync);
      await pooled.untilWaiting(1);
      await client.cancel();
      expect((await outcome).messages.map(({ kind }) => kind)).toEqual(["ErrorResponse", "ReadyForQuery"]);
      await free();
      expect(await client.value("select to_regclass('never_made') is null")).toBe("t");
    });
  });

  test("acceptance 72: a batch without its Sync is skipped up to it", async () => {
    await queued(async (pooled, client, free) => {
      client.send(parse("", "select 1"), { kind: "Flush" });
      await pooled.untilWaiting(1);
      await client.cancel();
      expect(await client.raw.next()).toMatchObject({ kind: "ErrorResponse", fields: { code: "57014" } });
      await free();
      client.send(...execute(""), parse("", "create table never_made()"), ...execute(""), sync);
      expect((await client.outcome()).messages.map(({ kind }) => kind)).toEqual(["ReadyForQuery"]);
      expect(await client.value("select to_regclass('never_made') is null")).toBe("t");
    });
  });

  test("acceptance 72: what it had sent behind the cancelled unit still runs", async () => {
    await queued(async (pooled, client, free) => {
      client.send(query("select 'one'"), query("select 'two'"));
      await pooled.untilWaiting(1);
      await client.cancel();
      expect(await client.outcome()).toMatchObject({ error: cancelled, status: "I" });
      await free();
      expect(await client.outcome()).toMatchObject({ rows: [["two"]], status: "I" });
    });
  });
});

test("acceptance 39, 72: a cancel gets through when all clients and all logins have taken their places", async () => {
  await using pooled = await Pooled.start(place.lab, {
    settings: { max_client_conn: 2, superuser_reserved_connections: 0 },
  });
  using client = await pooled.connect();
  using other = await pooled.connect();
  // Half-open logins: twice as many as clients have places, and some that are dead ends.
  const halfOpen = await Promise.all(Array.from({ length: 7 }, () => ByteStream.connect(pooled.place)));
  for (const stream of halfOpen) stream.write(encodeStartup(196_608, [["user", "postgres"]]).subarray(0, 9));
  await waitUntil(() => pooled.pooler.counts.logins === 7, "seven logins have begun");
  const outcome = client.run("select pg_sleep(60), 'crowded'");
  await untilRunning(place.lab, "crowded");
  await client.cancel();
  expect(await outcome).toMatchObject({ error: cancelled });
  await expect(pooled.connect()).rejects.toThrow("53300: no more connections allowed");
  for (const stream of halfOpen) stream.destroy();
  expect(await other.value("select 1")).toBe("1");
});

describe("while a cancel request is under way", () => {
  /** One server behind a gate that holds the cancel of `client`, whose statement waits for a lock. */
  async function underWay(
    settings: Readonly<Record<string, unknown>>,
    use: (at: {
      readonly pooled: Pooled;
      readonly gate: CancelGate;
      readonly client: Client;
      readonly outcome: ReturnType<Client["run"]>;
      readonly requested: Promise<void>;
      readonly free: () => Promise<void>;
    }) => Promise<void>,
  ): Promise<void> {
    await using gate = await CancelGate.start(place.lab.primary);
    await using pooled = await Pooled.start(place.lab, {
      settings: { default_pool_size: 1, ...settings },
      node: { host: "127.0.0.1", port: gate.port },
    });
    using client = await pooled.connect();
    await holding(3, async (free) => {
      const outcome = client.run(`${waitFor(3)}, 'under-way'`);
      await untilRunning(place.lab, "under-way");
      gate.hold();
      const requested = client.cancel();
      await waitUntil(() => gate.held === 1, "the cancel request is on its way");
      await use({ pooled, gate, client, outcome, requested, free });
    });
  }

  test("acceptance 70, 91: the requester is closed only when the node has taken it", async () => {
    await underWay({}, async ({ gate, client, outcome, requested }) => {
      let closed = false;
      void requested.then(() => {
        closed = true;
      });
      expect(await running(place.lab, "under-way")).toBe(1);
      expect(closed).toBe(false);
      await gate.release();
      expect(await outcome).toMatchObject({ error: cancelled });
      await requested;
      expect(await client.value("select 1")).toBe("1");
    });
  });

  test("acceptance 72: its server is given to nobody, so that it cannot hit a stranger", async () => {
    await underWay({}, async ({ pooled, gate, outcome, requested, free }) => {
      using stranger = await pooled.connect();
      await free();
      expect((await outcome).error).toBeUndefined();
      const waiting = stranger.run("select pg_sleep(0.05), 'stranger'");
      await pooled.untilWaiting(1);
      expect(await running(place.lab, "stranger")).toBe(0);
      await gate.release();
      await requested;
      expect((await waiting).error).toBeUndefined();
    });
  });

  test("acceptance 69, 72: a server is not used again if the node did not take it in time (cancel_wait_timeout)", async () => {
    await underWay({ cancel_wait_timeout: 0.2 }, async ({ pooled, gate, outcome, requested, free }) => {
      using stranger = await pooled.connect();
      await free();
      expect((await outcome).error).toBeUndefined();
      await requested;
      await holding(4, async (freeStranger) => {
        // The request arrives after all, while somebody else works.
        const other = stranger.run(`${waitFor(4)}, 'stranger'`);
        await untilRunning(place.lab, "stranger");
        await gate.release();
        expect(await running(place.lab, "stranger")).toBe(1);
        await freeStranger();
        expect((await other).error).toBeUndefined();
      });
    });
  });

  test("acceptance 72: the client's session can end, and its server comes back clean", async () => {
    await underWay({ pool_mode: "session" }, async ({ pooled, gate, client, outcome, requested, free }) => {
      await free();
      await outcome;
      const pid = await client.backendPid();
      await client.run("set work_mem = '77MB'");
      await client.close();
      using next = await pooled.connect();
      const waiting = next.run("select pg_backend_pid(), current_setting('work_mem')");
      await pooled.untilWaiting(1);
      await gate.release();
      await requested;
      expect((await waiting).rows).toEqual([[pid, "4MB"]]);
    });
  });
});

test("acceptance 69: a node that cannot be reached holds up neither the requester nor anybody else", async () => {
  await using gate = await CancelGate.start(place.lab.primary);
  const viaGate = { host: "127.0.0.1", port: gate.port };
  await using pooled = await Pooled.start(place.lab, {
    settings: { cancel_wait_timeout: 0.3 },
    node: viaGate,
  });
  using client = await pooled.connect();
  using other = await pooled.connect();
  await holding(5, async (free) => {
    const outcome = client.run(`${waitFor(5)}, 'unreachable'`);
    await untilRunning(place.lab, "unreachable");
    gate.hold();
    const requested = client.cancel();
    expect(await other.value("select 1")).toBe("1");
    await requested;
    expect(pooled.log.some(({ message }) => message === "could not send cancel request")).toBe(true);
    await free();
    expect((await outcome).error).toBeUndefined();
    expect(await other.value("select 1")).toBe("1");
  });
});

describe("a client that disappears while its statement runs", () => {
  const gone = "query like '%abandoned%'";

  for (const [how, leave] of [
    ["closes", (client: Client) => client.raw.stream.end()],
    ["resets", (client: Client) => client.raw.stream.reset()],
  ] as const) {
    for (const mode of ["session", "transaction"]) {
      test(`acceptance 73: has it cancelled, and its server's place comes free (${how}, ${mode})`, async () => {
        await using pooled = await Pooled.start(place.lab, {
          settings: { pool_mode: mode, default_pool_size: 1 },
        });
        using client = await pooled.connect();
        client.send(query("select pg_sleep(60), 'abandoned'"));
        await untilRunning(place.lab, "abandoned");
        leave(client);
        await waitUntil(async () => (await backends(place.lab, gone)) === 0, "its statement has ended");
        using next = await pooled.connect();
        expect(await next.value("select 1")).toBe("1");
        expect(pooled.pooler.counts).toMatchObject({ sessions: 1, servers: 1 });
      });
    }
  }

  test("acceptance 73: has it finished if so configured (cancel_on_client_disconnect)", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { cancel_on_client_disconnect: false } });
    await place.lab.primary.query("create table kept (n int)");
    using client = await pooled.connect();
    await holding(6, async (free) => {
      client.send(query(`insert into kept select 1 from (${waitFor(6)}) as abandoned`));
      await untilRunning(place.lab, "abandoned");
      client.destroy();
      await pooled.untilSessions(0);
      await free();
      await waitUntil(async () => (await backends(place.lab, gone)) === 0, "its statement has ended");
    });
    expect((await place.lab.primary.query("select count(*) from kept")).rows).toEqual([["1"]]);
  });

  test("acceptance 73: takes its place in the queue with it", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using holder = await pooled.connect();
    using client = await pooled.connect();
    await holder.run("begin");
    client.send(query("create table never_made()"));
    await pooled.untilWaiting(1);
    client.destroy();
    await pooled.untilWaiting(0);
    await holder.run("commit");
    expect(await holder.value("select to_regclass('never_made') is null")).toBe("t");
  });
});

test("acceptance 71: clients have keys of their own, different ones, and none of a server", async () => {
  await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
  const seen = new Set<string>();
  for (let i = 0; i < 50; i++) {
    using client = await pooled.connect();
    const { pid, key } = client.session;
    expect(pid).toBeGreaterThan(0);
    expect(key.equals(Buffer.alloc(4))).toBe(false);
    expect(await client.backendPid()).not.toBe(String(pid));
    seen.add(`${pid} ${key.toString("hex")}`);
    await within(client.close(), "the client is closed");
  }
  expect(seen.size).toBe(50);
});
