/** Clients that are slow, rude or broken: what they cost, and that nobody else notices. */
import { describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { rawClient } from "../kit/raw-client.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
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
const megabyte = 1024 * 1024;

async function rowsOf(table: string): Promise<number> {
  const { rows } = await place.lab.primary.query(`select count(*) from ${table}`);
  return Number(rows[0]?.[0]);
}

async function emptyTable(name: string): Promise<string> {
  await place.lab.primary.query(`drop table if exists ${name}; create table ${name} (n text)`);
  return name;
}

describe("a client that does not read", () => {
  for (const mode of ["session", "transaction"]) {
    test(`of a result of a gigabyte only a little is kept, and others go on (${mode})`, async () => {
      await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
      using slow = await pooled.connect();
      using other = await pooled.connect();
      const row = "repeat('x', 1000000)";
      const before = process.memoryUsage().rss;
      slow.raw.stream.pause();
      slow.send(query(`select ${row}, 'slow-reader' from generate_series(1, 1000)`));
      await untilRunning(place.lab, "slow-reader");
      await untilClientWrite("slow-reader");
      for (let i = 0; i < 50; i++) expect(await other.value("select 1")).toBe("1");
      expect(process.memoryUsage().rss - before).toBeLessThan(100 * megabyte);
      expect(await running(place.lab, "slow-reader")).toBe(1);
      slow.destroy();
      await waitUntil(
        async () => (await backends(place.lab, "query like '%slow-reader%'")) === 0,
        "its statement has ended",
      );
    });
  }

  test("it gets all of it once it reads, in order", async () => {
    await using pooled = await Pooled.start(place.lab);
    using slow = await pooled.connect();
    slow.raw.stream.pause();
    slow.send(
      query("select n, repeat('x', 100000), 'patient' from generate_series(1, 400) n"),
      query("select 'behind'"),
    );
    await untilRunning(place.lab, "patient");
    await untilClientWrite("patient");
    slow.raw.stream.resume();
    const { rows } = await slow.outcome();
    expect(rows.map(([n]) => Number(n))).toEqual(Array.from({ length: 400 }, (_, i) => i + 1));
    expect(rows.every(([, text]) => text?.length === 100_000)).toBe(true);
    expect((await slow.outcome()).rows).toEqual([["behind"]]);
  });
});

/** Waits until PostgreSQL cannot send more of a statement's result. */
async function untilClientWrite(text: string): Promise<void> {
  await waitToSee(
    () => backends(place.lab, `wait_event = 'ClientWrite' and query like '%${text}%'`),
    (found) => found === 1,
    `PostgreSQL waits until more of ${text} is read`,
  );
}

describe("COPY", () => {
  const someRows = Buffer.from("one\ntwo\n");
  const ways: readonly (readonly [string, (client: Client) => void])[] = [
    ["between two messages", (client) => client.send({ kind: "CopyData", data: someRows })],
    [
      "inside a message, five bytes before its end",
      (client) => {
        const header = Buffer.from([0x64, 0, 0, 0, 4 + someRows.length + 5]);
        client.send({ kind: "CopyData", data: someRows }, header, someRows);
      },
    ],
    [
      "inside a message of a gigabyte",
      (client) => client.send(Buffer.from([0x64, 0x3f, 0xff, 0xff, 0xff]), someRows),
    ],
    [
      "inside a header",
      (client) => client.send({ kind: "CopyData", data: someRows }, Buffer.from([0x64, 0])),
    ],
    [
      "after a Terminate",
      (client) => client.send({ kind: "CopyData", data: someRows }, { kind: "Terminate" }),
    ],
  ];
  for (const mode of ["session", "transaction"]) {
    for (const [where, stop] of ways) {
      for (const how of ["closes", "resets"] as const) {
        test(`nothing is kept of what a client had sent that stops ${where} and ${how} (${mode})`, async () => {
          const table = await emptyTable("copied");
          await using pooled = await Pooled.start(place.lab, {
            settings: { pool_mode: mode, default_pool_size: 1 },
          });
          using client = await pooled.connect();
          const pid = await client.backendPid();
          client.send(query(`copy ${table} from stdin`));
          await client.raw.expect("CopyInResponse");
          stop(client);
          if (how === "closes") client.raw.stream.end();
          else client.raw.stream.reset();
          await pooled.untilSessions(0);
          using next = await pooled.connect();
          expect(await next.value("select 1")).toBe("1");
          await waitUntil(
            async () => (await backends(place.lab, `pid = ${pid}`)) === 0,
            "its backend is gone",
          );
          expect(await rowsOf(table)).toBe(0);
        });
      }
    }
  }
});

describe("a client that says goodbye in the same write as its last statement", () => {
  const lasts = {
    "a simple query": [query("insert into farewell values ('bye')")],
    "an extended batch": [parse("", "insert into farewell values ('bye')"), ...execute(""), sync],
  };
  for (const mode of ["session", "transaction", "statement"]) {
    for (const [what, messages] of Object.entries(lasts)) {
      test(`has ${what} executed and committed (${mode})`, async () => {
        const table = await emptyTable("farewell");
        await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
        const client = await pooled.connect();
        client.send(...messages, { kind: "Terminate" });
        client.raw.stream.end();
        await waitUntil(async () => (await rowsOf(table)) === 1, "its row is there");
        await pooled.untilSessions(0);
      });

      test(`has ${what} executed and committed when a server comes free (${mode})`, async () => {
        const table = await emptyTable("farewell");
        await using pooled = await Pooled.start(place.lab, {
          settings: { pool_mode: mode, default_pool_size: 1 },
        });
        const client = await pooled.connect();
        using holder = await pooled.connect();
        await using lock = await place.lab.primary.connect();
        await lock.query("select pg_advisory_lock(1)");
        holder.send(query("select pg_advisory_lock_shared(1), 'holder'"));
        await untilRunning(place.lab, "holder");
        client.send(...messages, { kind: "Terminate" });
        client.raw.stream.end();
        await pooled.untilWaiting(1);
        // A later client's statement shows that the pooler has heard all that there was.
        const probe = await rawClient(pooled.place);
        await probe.close();
        await lock.query("select pg_advisory_unlock(1)");
        await holder.outcome();
        await holder.close();
        await waitUntil(async () => (await rowsOf(table)) === 1, "its row is there");
        await pooled.untilSessions(0);
      });
    }
  }
});

describe("a session that fails", () => {
  const failures: readonly (readonly [string, (client: Client) => void])[] = [
    ["sends an unknown message", (client) => client.send(Buffer.from([0x01, 0, 0, 0, 4]))],
    ["sends a wrong length", (client) => client.send(Buffer.from([0x51, 0, 0, 0, 1]))],
    ["resets its connection", (client) => client.raw.stream.reset()],
  ];
  for (const mode of ["session", "transaction"]) {
    for (const [what, fail] of failures) {
      test(`acceptance 58, 61, 62: because it ${what} is the only one that is lost (${mode})`, async () => {
        await using pooled = await Pooled.start(place.lab, { settings: { pool_mode: mode } });
        using client = await pooled.connect();
        using busy = await pooled.connect();
        using idle = await pooled.connect();
        await busy.run("begin");
        const pid = await busy.backendPid();
        await client.value("select 1");
        fail(client);
        await client.raw.closed;
        await pooled.untilSessions(2);
        expect(await busy.backendPid()).toBe(pid);
        expect(await busy.run("commit")).toMatchObject({ tags: ["COMMIT"] });
        expect(await idle.value("select 1")).toBe("1");
      });
    }
  }

  test("acceptance 61, 63: a server that fails takes its own client with it, and no other", async () => {
    await using pooled = await Pooled.start(place.lab);
    using client = await pooled.connect();
    using other = await pooled.connect();
    await client.run("begin");
    await other.run("begin");
    const pid = await client.backendPid();
    await place.lab.primary.query(`select pg_terminate_backend(${pid})`);
    const last = (await client.raw.rest()).at(-1);
    expect(last).toMatchObject({ kind: "ErrorResponse", fields: { severity: "FATAL", code: "57P01" } });
    expect(await other.run("commit")).toMatchObject({ tags: ["COMMIT"] });
    expect(pooled.pooler.counts).toMatchObject({ sessions: 1, servers: 1 });
  });
});
