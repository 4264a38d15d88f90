/** What the console's commands do while clients work: nobody who should survive loses a statement. */
import { describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { openConsole, startPooled, table, Workers } from "./console-client.ts";
import { backends, untilRunning } from "./pooled.ts";

const place = useLab();
const servers = (database: string): Promise<number> =>
  backends(place.lab, `datname = '${database}' and application_name <> 'lab'`);

describe("PAUSE and RESUME", () => {
  test("in transaction mode: answered when the transactions have ended; work waits, and goes on", async () => {
    await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 5 } });
    using console = await openConsole(pooled);
    const workers = new Workers(pooled);
    await workers.start(60);
    for (let round = 0; round < 5; round++) {
      await workers.untilAnswered(200);
      expect((await console.run("PAUSE")).tags).toEqual(["PAUSE"]);
      expect(pooled.pooler.counts.servers).toBe(0);
      expect(await table(console, "show state")).toContainEqual({ key: "paused", value: "yes" });
      await pooled.untilWaiting(60);
      const answered = workers.answered;
      expect((await console.run("pause")).error?.message).toBe("already suspended/paused");
      expect(workers.answered).toBe(answered);
      expect((await console.run("RESUME;")).tags).toEqual(["RESUME"]);
    }
    await workers.untilAnswered(200);
    await workers.stop();
    expect(workers.sentAway).toEqual([]);
  });

  test("waits for open transactions, and is taken back by a cancel request", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    using client = await pooled.connect();
    using other = await pooled.connect();
    await client.run("begin");
    console.send({ kind: "Query", sql: "pause" });
    await waitUntil(async () => {
      using second = await openConsole(pooled, "watcher");
      return (await table(second, "show state"))[1]?.["value"] === "yes";
    }, "PAUSE is in force");
    expect(await client.value("select 'goes on'")).toBe("goes on");
    const waiting = other.value("select 'waits'");
    await pooled.untilWaiting(1);
    await console.cancel();
    expect(await console.outcome()).toMatchObject({ error: { code: "57014" }, status: "I" });
    expect(await waiting).toBe("waits");
    console.send({ kind: "Query", sql: "pause" });
    expect((await client.run("commit")).tags).toEqual(["COMMIT"]);
    expect(await console.outcome()).toMatchObject({ tags: ["PAUSE"], status: "I" });
    expect((await console.run("resume")).tags).toEqual(["RESUME"]);
    expect((await console.run("resume")).error?.message).toBe("pooler is not paused/suspended");
  });

  test("in session mode: answered when the clients have left; new ones are welcomed and wait with their first statement", async () => {
    await using pooled = await startPooled(place.lab, { settings: { pool_mode: "session" } });
    using console = await openConsole(pooled);
    const client = await pooled.connect();
    await client.run("select 1");
    console.send({ kind: "Query", sql: "pause" });
    using late = await pooled.connect();
    const waiting = late.value("select 'late'");
    await pooled.untilWaiting(1);
    expect(await client.value("select 2")).toBe("2");
    await client.close();
    expect((await console.outcome()).tags).toEqual(["PAUSE"]);
    expect((await console.run("resume")).tags).toEqual(["RESUME"]);
    expect(await waiting).toBe("late");
  });

  test("of one database leave the others alone", async () => {
    await place.lab.primary.query("create database shop");
    await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 3 } });
    using console = await openConsole(pooled);
    const shop = new Workers(pooled);
    const postgres = new Workers(pooled);
    await Promise.all([shop.start(20, "shop"), postgres.start(20)]);
    await shop.untilAnswered(100);
    expect((await console.run("pause shop")).tags).toEqual(["PAUSE"]);
    expect(await servers("shop")).toBe(0);
    expect((await table(console, "show databases")).filter(({ paused }) => paused === "1")).toMatchObject([
      { name: "shop" },
    ]);
    const before = shop.answered;
    await postgres.untilAnswered(200);
    expect(shop.answered).toBe(before);
    expect((await console.run("resume postgres")).error?.message).toBe("database postgres is not paused");
    expect((await console.run('resume "shop"')).tags).toEqual(["RESUME"]);
    await shop.untilAnswered(100);
    await Promise.all([shop.stop(), postgres.stop()]);
    expect([...shop.sentAway, ...postgres.sentAway]).toEqual([]);
  });

  test.each(["pause", "pause postgres"])(
    "%s holds clients of pools that nobody has used yet",
    async (sql) => {
      await using pooled = await startPooled(place.lab);
      using console = await openConsole(pooled);
      expect((await console.run(sql)).tags).toEqual(["PAUSE"]);
      const login = pooled.connect();
      await pooled.untilWaiting(1);
      expect(pooled.opened).toBe(0);
      expect((await console.run("resume")).tags).toEqual(["RESUME"]);
      using client = await login;
      expect(await client.value("select 1")).toBe("1");
    },
  );

  test("leave query_wait_timeout in force", async () => {
    await using pooled = await startPooled(place.lab, { settings: { query_wait_timeout: 0.3 } });
    using console = await openConsole(pooled);
    using client = await pooled.connect();
    await console.run("pause");
    client.send({ kind: "Query", sql: "select 1" });
    expect(await client.raw.rest()).toMatchObject([
      { fields: { severity: "FATAL", message: "query_wait_timeout" } },
    ]);
  });

  test("an administrator who goes away leaves the pause as it is", async () => {
    await using pooled = await startPooled(place.lab);
    using client = await pooled.connect();
    await client.run("begin");
    const first = await openConsole(pooled);
    first.send({ kind: "Query", sql: "pause" });
    using console = await openConsole(pooled);
    await waitUntil(
      async () => (await table(console, "show state"))[1]?.["value"] === "yes",
      "PAUSE is in force",
    );
    first.destroy();
    await waitUntil(
      async () => (await table(console, "show clients")).length === 2,
      "the first console is gone",
    );
    expect((await console.run("pause")).error?.message).toBe("already suspended/paused");
    await client.run("commit");
    await pooled.untilServers(0);
    expect((await console.run("resume")).tags).toEqual(["RESUME"]);
  });
});

describe("RECONNECT and WAIT_CLOSE", () => {
  test("every client goes on with new servers", async () => {
    await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 4 } });
    using console = await openConsole(pooled);
    const workers = new Workers(pooled);
    await workers.start(50);
    for (let round = 0; round < 5; round++) {
      await workers.untilAnswered(200);
      const before = new Set((await table(console, "show servers")).map(({ id }) => id));
      expect((await console.run("reconnect; wait_close")).tags).toEqual(["RECONNECT", "WAIT_CLOSE"]);
      const after = (await table(console, "show servers")).map(({ id }) => id);
      expect(after.filter((id) => before.has(id))).toEqual([]);
    }
    await workers.stop();
    expect(workers.sentAway).toEqual([]);
    expect(pooled.closeReasons).toContain("RECONNECT");
  });

  test("WAIT_CLOSE waits for the transaction that a server is in", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    using client = await pooled.connect();
    await client.run("begin");
    expect((await console.run("reconnect postgres")).tags).toEqual(["RECONNECT"]);
    expect(await table(console, "show servers")).toMatchObject([{ close_needed: "1", state: "active" }]);
    console.send({ kind: "Query", sql: "wait_close postgres" });
    expect((await client.run("commit")).tags).toEqual(["COMMIT"]);
    expect((await console.outcome()).tags).toEqual(["WAIT_CLOSE"]);
    expect(await client.value("select 1")).toBe("1");
  });
});

describe("KILL", () => {
  test("sends the clients of one database away and keeps others out until RESUME", async () => {
    await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 3 } });
    using console = await openConsole(pooled);
    await place.lab.primary.query("create database victim");
    const [victims, others] = [new Workers(pooled), new Workers(pooled)];
    await Promise.all([victims.start(20, "victim"), others.start(20)]);
    await Promise.all([victims.untilAnswered(50), others.untilAnswered(50)]);
    expect((await console.run("kill victim")).tags).toEqual(["KILL"]);
    await within(victims.stop(), "all victims are gone");
    expect(victims.sentAway).toEqual(Array.from({ length: 20 }, () => "admin forced disconnect"));
    await waitUntil(async () => (await servers("victim")) === 0, "their servers are closed");
    await others.untilAnswered(100);
    const late = pooled.connect({ database: "victim" });
    expect((await console.run("resume victim")).tags).toEqual(["RESUME"]);
    using client = await late;
    expect(await client.value("select 1")).toBe("1");
    await others.stop();
    expect(others.sentAway).toEqual([]);
  });

  test("without a database sends everybody away, and RESUME without one lets all in again", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    const workers = new Workers(pooled);
    await workers.start(10);
    await workers.untilAnswered(20);
    expect((await console.run("kill")).tags).toEqual(["KILL"]);
    await within(workers.stop(), "everybody is gone");
    expect(workers.sentAway.length).toBe(10);
    const late = pooled.connect();
    expect((await console.run("resume")).tags).toEqual(["RESUME"]);
    using client = await late;
    expect(await client.value("select 1")).toBe("1");
  });

  test("a statement that runs is ended on its server", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    using client = await pooled.connect();
    client.send({ kind: "Query", sql: "select pg_sleep(61)" });
    await untilRunning(place.lab, "pg_sleep(61)");
    await console.run("kill postgres");
    await untilRunning(place.lab, "pg_sleep(61)", 0);
  });

  test("KILL_CLIENT sends one away, by its id or ptr", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    for (const column of ["id", "ptr"]) {
      using one = await pooled.connect();
      using two = await pooled.connect();
      const row = (await table(console, "show clients")).find(({ database }) => database === "postgres");
      expect((await console.run(`kill_client ${row?.[column]}`)).tags).toEqual(["KILL_CLIENT"]);
      expect(await one.raw.rest()).toMatchObject([
        { fields: { code: "57P01", message: "admin forced disconnect" } },
      ]);
      expect(await two.value("select 1")).toBe("1");
      expect((await console.run(`kill_client ${row?.[column]}`)).error?.message).toBe("client not found");
    }
    expect((await console.run("kill_client me")).error?.message).toBe("invalid client pointer supplied");
  });
});

describe("DISABLE and ENABLE", () => {
  test("close a database to new clients and leave those who are there", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    const workers = new Workers(pooled);
    await workers.start(20);
    expect((await console.run("disable postgres")).tags).toEqual(["DISABLE"]);
    await expect(pooled.connect()).rejects.toThrow('FATAL 55000: database "postgres" is disabled');
    await workers.untilAnswered(100);
    expect(
      (await table(console, "show databases")).map(({ name, disabled }) => [name, disabled]),
    ).toContainEqual([...["postgres", "1"]]);
    expect((await console.run("enable postgres")).tags).toEqual(["ENABLE"]);
    using client = await pooled.connect();
    expect(await client.value("select 1")).toBe("1");
    await workers.stop();
    expect(workers.sentAway).toEqual([]);
    expect((await console.run("disable")).error?.message).toBe("a database is required");
  });
});

describe("RELOAD and SET", () => {
  test("RELOAD under load loses nothing; a new pool size is in force at once", async () => {
    await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 8 } });
    using console = await openConsole(pooled);
    const workers = new Workers(pooled);
    await workers.start(60);
    for (const size of [2, 6, 1, 4]) {
      await workers.untilAnswered(100);
      expect((await console.run(`set default_pool_size = ${size}`)).tags).toEqual([
        `SET default_pool_size=${size}`,
      ]);
      expect((await console.run("reload")).tags).toEqual(["RELOAD"]);
      await waitUntil(() => pooled.pooler.counts.servers <= size, `there are ${size} servers at most`);
    }
    await workers.stop();
    expect(workers.sentAway).toEqual([]);
    expect(await table(console, "show config")).toContainEqual({
      ...{ key: "default_pool_size", value: "4", default: "20", changeable: "yes" },
    });
  });

  test("what cannot be read leaves everything as it was", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    expect((await console.run("set auth_file = '/nowhere/at/all'")).error).toMatchObject({
      message: "SET failed",
    });
    expect((await table(console, "show config")).find(({ key }) => key === "auth_file")).toMatchObject({
      value: "",
    });
    for (const [sql, detail] of [
      ["set nothing = 1", "unknown setting"],
      ["set listen_port = 1", "takes effect only after a restart"],
      ["set default_pool_size = many", "must be an integer from 0 to 100000"],
      ["set min_pool_size = 21", "21 is more than default_pool_size, 20"],
    ] as const) {
      const { error } = await console.run(sql);
      expect(error).toMatchObject({
        code: "22023",
        message: "SET failed",
        detail: expect.stringContaining(detail),
      });
    }
  });
});

describe("SHUTDOWN", () => {
  test("WAIT_FOR_CLIENTS lets them finish", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    using client = await pooled.connect();
    await client.run("begin");
    expect((await console.run("shutdown wait_for_clients")).tags).toEqual(["SHUTDOWN"]);
    expect((await console.run("resume")).error?.message).toBe("pooler is shutting down");
    expect((await client.run("commit")).tags).toEqual(["COMMIT"]);
    expect(await client.value("select 'still'")).toBe("still");
    await client.close();
    await within(pooled.pooler.ended, "the pooler has ended");
    await console.raw.closed;
  });

  test("WAIT_FOR_SERVERS lets transactions finish and sends away who wants another server", async () => {
    await using pooled = await startPooled(place.lab, { settings: { default_pool_size: 1 } });
    using console = await openConsole(pooled);
    using busy = await pooled.connect();
    using idle = await pooled.connect();
    using queued = await pooled.connect();
    await busy.run("begin");
    queued.send({ kind: "Query", sql: "select 1" });
    await pooled.untilWaiting(1);
    expect((await console.run("SHUTDOWN WAIT_FOR_SERVERS")).tags).toEqual(["SHUTDOWN"]);
    expect(await queued.raw.rest()).toMatchObject([
      { fields: { severity: "FATAL", message: "server shutting down" } },
    ]);
    idle.send({ kind: "Query", sql: "select 1" });
    expect(await idle.raw.rest()).toMatchObject([{ fields: { message: "server shutting down" } }]);
    expect(await busy.value("select 'works'")).toBe("works");
    expect((await busy.run("commit")).tags).toEqual(["COMMIT"]);
    await within(pooled.pooler.ended, "the pooler has ended");
  });

  test("without a word ends everything at once", async () => {
    await using pooled = await startPooled(place.lab);
    using console = await openConsole(pooled);
    using client = await pooled.connect();
    expect((await console.run("shutdown now")).error?.message).toBe(
      "invalid command 'shutdown now', use SHOW HELP;",
    );
    console.send({ kind: "Query", sql: "shutdown" });
    await within(pooled.pooler.ended, "the pooler has ended");
    await Promise.all([client.raw.closed, console.raw.closed]);
  });
});
