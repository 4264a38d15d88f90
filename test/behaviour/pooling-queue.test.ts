/** Who is served when there are not enough servers: in the order of coming, across pools that share a budget. */
import { describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import type { RawStartup } from "../kit/raw-client.ts";
import { backends, type Client, execute, Pooled, parse, query, sync } from "./pooled.ts";

const place = useLab({ settings: { max_connections: "100" } });

/** Clients with this number have a pool of their own: their servers differ in an option of the startup. */
function withOption(number: number): RawStartup {
  return { parameters: [["options", `-c work_mem=${number + 1}MB`]] };
}

describe("waiting", () => {
  for (const mode of ["session", "transaction", "statement"]) {
    test(`clients are served in the order in which they asked (${mode})`, async () => {
      await place.lab.primary.query("drop table if exists served; create table served (n serial, who int)");
      await using pooled = await Pooled.start(place.lab, {
        settings: { pool_mode: mode, default_pool_size: 1 },
      });
      // In session mode a client that is logged in has no server yet.
      const holder = await pooled.connect();
      const clients: Client[] = [];
      for (let i = 0; i < 8; i++) clients.push(await pooled.connect());
      await using lock = await place.lab.primary.connect();
      await lock.query("select pg_advisory_lock(1)");
      holder.send(query("select pg_advisory_lock_shared(1)"));
      for (const [i, client] of clients.entries()) {
        client.send(query(`insert into served (who) values (${i})`));
        await pooled.untilWaiting(i + 1);
      }
      await lock.query("select pg_advisory_unlock(1)");
      await holder.outcome();
      await holder.close();
      for (const client of clients) {
        expect((await client.outcome()).error).toBeUndefined();
        await client.close();
      }
      const { rows } = await place.lab.primary.query("select who from served order by n");
      expect(rows.map(([who]) => Number(who))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    });
  }

  test("acceptance 49: a client that has waited too long is told so, and the others go on", async () => {
    await using pooled = await Pooled.start(place.lab, {
      settings: { default_pool_size: 1, query_wait_timeout: 0.3 },
    });
    using holder = await pooled.connect();
    using client = await pooled.connect();
    await holder.run("begin");
    client.send(query("select 1"));
    expect((await client.raw.rest()).at(-1)).toMatchObject({
      kind: "ErrorResponse",
      fields: { severity: "FATAL", message: "query_wait_timeout" },
    });
    expect(await holder.run("commit")).toMatchObject({ tags: ["COMMIT"] });
  });

  const ways = {
    "simple queries": [query("select pg_sleep(0.001)")],
    "extended batches": [parse("", "select pg_sleep(0.001)"), ...execute(""), sync],
    "prepared statements": [...execute("s"), sync],
  };
  for (const [what, unit] of Object.entries(ways)) {
    test(`a client that always has something in flight does not keep its server for ever (${what})`, async () => {
      await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
      using greedy = await pooled.connect();
      using patient = await pooled.connect();
      await greedy.ask(parse("s", "select pg_sleep(0.001)"), sync);
      let over = false;
      greedy.send(...Array.from({ length: 50 }, () => unit).flat());
      const stream = (async () => {
        for (let owed = 50; owed > 0; owed--) {
          expect((await greedy.outcome()).rows).toEqual([[""]]);
          if (over) continue;
          greedy.send(...unit);
          owed++;
        }
      })();
      for (let i = 0; i < 5; i++) expect(await patient.value("select 1")).toBe("1");
      over = true;
      await stream;
    });
  }

  test("a transaction that is sent in one write is not torn apart, whoever waits", async () => {
    await place.lab.primary.query("create table whole (n int)");
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    const clients = await Promise.all(Array.from({ length: 6 }, () => pooled.connect()));
    await Promise.all(
      clients.map(async (client, who) => {
        for (let round = 0; round < 10; round++) {
          client.send(
            query("begin"),
            query("lock table whole"),
            ...[parse("", `insert into whole values (${who})`), ...execute(""), sync],
            query("copy whole from stdin"),
            { kind: "CopyData", data: Buffer.from(`${who}\n`) },
            { kind: "CopyDone" },
            query("commit"),
            query("select 'next'"),
          );
          const outcomes = [];
          for (let i = 0; i < 6; i++) outcomes.push(await client.outcome());
          expect(outcomes.map(({ error, tags, status }) => [error?.code, tags[0], status])).toEqual([
            [undefined, "BEGIN", "T"],
            [undefined, "LOCK TABLE", "T"],
            [undefined, "INSERT 0 1", "T"],
            [undefined, "COPY 1", "T"],
            [undefined, "COMMIT", "I"],
            [undefined, "SELECT 1", "I"],
          ]);
        }
        client.destroy();
      }),
    );
    const { rows } = await place.lab.primary.query(
      "select who, count(*) from whole as w(who) group by who order by who",
    );
    expect(rows).toEqual(clients.map((_, who) => [String(who), "20"]));
  });
});

describe("a budget that pools with different startup options share", () => {
  test("acceptance 48, 49: the longest unused server of a sibling makes room", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 2 } });
    using first = await pooled.connect(withOption(0));
    using second = await pooled.connect(withOption(1));
    const pids = [await first.backendPid(), await second.backendPid()];
    await first.value("select 'used last'");
    using third = await pooled.connect(withOption(2));
    expect(await third.value("show work_mem")).toBe("3MB");
    expect(pooled.closeReasons).toEqual(["evicted for pool_size"]);
    expect(pooled.opened).toBe(3);
    expect(await backends(place.lab, `pid = ${pids[0]}`)).toBe(1);
    expect(await first.backendPid()).toBe(pids[0]);
  });

  for (const size of [1, 2, 3]) {
    test(`acceptance 49: ${size} server(s) serve six kinds of clients, and never become more`, async () => {
      await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: size } });
      const opened = new Set<string | null>();
      const work = async (number: number): Promise<void> => {
        using client = await pooled.connect(withOption(number));
        for (let i = 0; i < 8; i++) {
          expect(await client.value("show work_mem")).toBe(`${number + 1}MB`);
          opened.add(await client.backendPid());
        }
      };
      await Promise.all([0, 1, 2, 3, 4, 5].map(work));
      expect(opened.size).toBeGreaterThanOrEqual(6);
      expect(pooled.mostServers).toBe(size);
    });
  }

  test("acceptance 49: nobody starves behind a sibling whose clients always want more", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 2 } });
    let over = false;
    const busy = Array.from({ length: 6 }, async () => {
      using client = await pooled.connect(withOption(0));
      while (!over) await client.value("select 1");
    });
    try {
      for (const number of [1, 2]) {
        using modest = await pooled.connect(withOption(number));
        for (let i = 0; i < 5; i++) expect(await modest.value("show work_mem")).toBe(`${number + 1}MB`);
      }
    } finally {
      over = true;
    }
    await Promise.all(busy);
  });

  test("acceptance 49: a sibling's minimum does not keep a waiting client out", async () => {
    await using pooled = await Pooled.start(place.lab, {
      settings: { default_pool_size: 2, min_pool_size: 2 },
    });
    using first = await pooled.connect(withOption(0));
    await first.value("select 1");
    await pooled.untilServers(2);
    using second = await pooled.connect(withOption(1));
    for (let i = 0; i < 3; i++) {
      expect(await second.value("show work_mem")).toBe("2MB");
      expect(await first.value("show work_mem")).toBe("1MB");
    }
    expect(pooled.mostServers).toBe(2);
    expect(pooled.opened).toBe(3);
  });

  test("acceptance 49: who waits longest gets the place of a server that was closed", async () => {
    await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
    using holder = await pooled.connect(withOption(0));
    using first = await pooled.connect({ ...withOption(0), database: "postgres" });
    await holder.run("begin");
    const pid = await holder.backendPid();
    const other = pooled.connect(withOption(1));
    await pooled.untilWaiting(1);
    first.send(query("select 'second in the queue'"));
    await pooled.untilWaiting(2);
    const order: string[] = [];
    const served = other.then((client) => {
      order.push("other");
      return client;
    });
    const outcome = first.outcome().then(() => order.push("first"));
    await place.lab.primary.query(`select pg_terminate_backend(${pid})`);
    using client = await served;
    await outcome;
    expect(order).toEqual(["other", "first"]);
    expect(await client.value("show work_mem")).toBe("2MB");
  });
});
