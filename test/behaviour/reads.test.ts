/**
 * Reads on standbys in auto mode. Where a statement ran is asked of the nodes themselves: a standby whose replay is
 * paused shows what it has, and every node's pg_stat_activity what was run there.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { LabNode } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { watched } from "./node-kit.ts";
import type { Client, Pooled } from "./pooled.ts";

const place = useLab({ standbys: 2 });

async function start(settings: Readonly<Record<string, unknown>> = {}): Promise<Pooled> {
  const { lab } = place;
  const pooled = await startPooled(
    lab,
    watched(lab, { settings: { pool_mode: "auto", load_balance_mode: true, ...settings } }),
  );
  using console = await openConsole(pooled);
  await waitUntil(
    async () => (await table(console, "show nodes")).every(({ state }) => state === "up"),
    "all nodes are up",
  );
  return pooled;
}

/** Nodes on which a text was run last by some server. */
async function ranOn(text: string): Promise<LabNode["role"][]> {
  const found = await Promise.all(
    place.lab.nodes.map(async (node) => {
      const { rows } = await node.query(
        `select 1 from pg_stat_activity where query = '${text.replaceAll("'", "''")}' and pid <> pg_backend_pid()`,
      );
      return rows.length > 0 ? [node.role] : [];
    }),
  );
  return found.flat();
}

async function replay(paused: boolean): Promise<void> {
  for (const node of place.lab.standbys) {
    await node.query(`select pg_wal_replay_${paused ? "pause" : "resume"}()`);
    if (!paused) continue;
    await waitUntil(
      async () => (await node.query("select pg_get_wal_replay_pause_state()")).rows[0]?.[0] === "paused",
      "replay is paused",
    );
  }
}

const count = "select count(*) from things";

/** Resolves when a read of this client goes to a standby: its catalogs are known, and its writes have arrived. */
async function untilOnStandby(client: Client, mark: string): Promise<void> {
  let turn = 0;
  await waitUntil(async () => {
    const text = `select count(*) as ${mark}_${++turn} from things`;
    await client.value(text);
    return (await ranOn(text)).includes("standby");
  }, "reads go to a standby");
}

beforeEach(async () => {
  await place.lab.primary.query("create table things (id int)");
  await place.lab.untilReplayed();
});

afterEach(async () => {
  await replay(false);
  await place.lab.primary.query("drop table things");
  await place.lab.untilReplayed();
});

describe("load_balance_mode", () => {
  test("sends reads to standbys; writes, transactions and what tells of the node go to the primary", async () => {
    await using pooled = await start();
    using client = await pooled.connect();
    await untilOnStandby(client, "first");
    await client.run("insert into things values (1)");
    expect(await ranOn("insert into things values (1)")).toEqual(["primary"]);
    expect(await client.value("select pg_is_in_recovery()")).toBe("f");
    await client.run("begin");
    expect(await client.value(count)).toBe("1");
    expect(await client.value("select pg_is_in_recovery()")).toBe("f");
    await client.run("commit");
    expect(await client.value("/* pgsluice: primary */ select count(*) as hinted from things")).toBe("1");
    expect(await ranOn("/* pgsluice: primary */ select count(*) as hinted from things")).toEqual(["primary"]);
    await untilOnStandby(client, "later");
    // Several messages at once: the write behind the read goes where it belongs.
    client.send({ kind: "Query", sql: count }, { kind: "Query", sql: "insert into things values (2)" });
    expect((await client.outcome()).rows).toEqual([["1"]]);
    expect((await client.outcome()).tags).toEqual(["INSERT 0 1"]);
    expect(await client.value(count)).toBe("2");
  });

  test("an error that may be the standby's own is not the client's: the primary answers", async () => {
    await using pooled = await start({ read_your_writes: "none" });
    using client = await pooled.connect();
    await untilOnStandby(client, "known");
    await replay(true);
    await place.lab.primary.query("create table newer (id int)");
    expect(await client.value("select count(*) from newer")).toBe("0");
    // And one that is the client's own is told.
    const { error } = await client.run("select 1 / (count(*) - count(*)) from things");
    expect(error?.code).toBe("22012");
    await place.lab.primary.query("drop table newer");
  });

  test("a standby that dies takes no reads with it", async () => {
    const { lab } = place;
    await using pooled = await start({ read_your_writes: "none" });
    const clients = await Promise.all(Array.from({ length: 6 }, () => pooled.connect()));
    await untilOnStandby(clients[0] as Client, "alive");
    let running = true;
    let answered = 0;
    const reading = clients.map(async (client) => {
      for (; running; answered++) expect(await client.value(count)).toBe("0");
    });
    await waitUntil(() => answered > 100, "clients read");
    const [standby] = lab.standbys as [LabNode];
    await standby.kill();
    const seen = answered;
    await waitUntil(() => answered > seen + 500, "clients go on");
    running = false;
    await Promise.all(reading);
    for (const client of clients) client[Symbol.dispose]();
    await standby.start();
  });

  test("a read on a standby can be cancelled", async () => {
    await using pooled = await start({ read_your_writes: "none" });
    using client = await pooled.connect();
    await untilOnStandby(client, "quick");
    const endless = "select count(*) as endless from generate_series(1, 4000000000) a";
    const running = client.run(endless);
    await waitUntil(async () => (await ranOn(endless)).includes("standby"), "it runs on a standby");
    await client.cancel();
    expect((await running).error?.code).toBe("57014");
    expect(await client.value(count)).toBe("0");
  });
});

describe("read_your_writes", () => {
  test("session: a client sees its own writes, others what the standby has", async () => {
    await using pooled = await start();
    using writer = await pooled.connect();
    using other = await pooled.connect();
    await untilOnStandby(writer, "writer");
    await untilOnStandby(other, "other");
    await replay(true);
    for (let written = 1; written <= 20; written++) {
      await writer.run("insert into things values (1)");
      expect(await writer.value(count)).toBe(String(written));
      expect(await other.value(count)).toBe("0");
    }
    await replay(false);
    await untilOnStandby(writer, "again");
    expect(await writer.value(count)).toBe("20");
  });

  test("global: everybody sees what anybody has written; none: nobody waits for anything", async () => {
    for (const [level, expected] of [
      ["global", "1"],
      ["none", "0"],
    ] as const) {
      await using pooled = await start({ read_your_writes: level });
      using writer = await pooled.connect();
      using other = await pooled.connect();
      await untilOnStandby(writer, "writer");
      await untilOnStandby(other, "other");
      await replay(true);
      await writer.run("insert into things values (1)");
      expect(await other.value(count)).toBe(expected);
      await writer.run("delete from things");
      await replay(false);
      await place.lab.untilReplayed();
    }
  });
});

describe("lag", () => {
  test.each([
    ["delay_threshold", { delay_threshold: 100 }],
    ["delay_threshold_by_time", { delay_threshold_by_time: 0.5 }],
  ])("%s: a standby over it gets no reads until it is well below", async (_, settings) => {
    await using pooled = await start({ read_your_writes: "none", ...settings });
    using client = await pooled.connect();
    await untilOnStandby(client, "before");
    await replay(true);
    await place.lab.primary.query("insert into things select generate_series(1, 1000)");
    await waitUntil(async () => (await client.value(count)) === "1000", "the primary is read instead");
    await replay(false);
    await untilOnStandby(client, "after");
    expect(await client.value(count)).toBe("1000");
  });
});
