/**
 * Reads on standbys in auto mode. Where a statement ran is asked of the nodes themselves: a standby whose replay is
 * paused shows what it has, and every node's pg_stat_activity what was run there.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { LabNode } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { startPooled } from "./console-client.ts";
import { nodesOf, nodesThatRan, watched } from "./node-kit.ts";
import { type Client, execute, type Pooled, type PooledOptions, parse, query, sync } from "./pooled.ts";
import { listsOfFunctions, noticesOnTheWay, ofDatabases, routed, routeHook } from "./reads-functions.ts";
import { lagOfStandbys } from "./reads-lag.ts";
import { openedTransactions } from "./reads-openings.ts";
import { type ReadsKit, readOnlyTransactions } from "./reads-transactions.ts";

const place = useLab({ standbys: 2 });
let pooled: Pooled;

function options(settings: Readonly<Record<string, unknown>>, nodes = nodesOf(place.lab)): PooledOptions {
  return watched(place.lab, { nodes, settings: { pool_mode: "auto", load_balance_mode: true, ...settings } });
}

beforeAll(async () => {
  pooled = await startPooled(place.lab, options({}), { routeRead: (read) => routed.hook?.(read) });
});

afterAll(() => pooled[Symbol.asyncDispose]());

const portText = "select current_setting('port')";

/** The node that answers a read of this client; `hint` goes before it. */
async function nodeOf(client: Client, hint = ""): Promise<LabNode> {
  const port = Number(await client.value(`${hint}${portText}`));
  const node = place.lab.nodes.find((one) => one.port === port);
  if (node === undefined) throw new Error(`no node has the port ${port}`);
  return node;
}

/** Resolves when a read of this client goes to a standby: its catalogs are known, and its writes have arrived. */
async function untilOnStandby(client: Client): Promise<void> {
  await waitToSee(
    async () => (await nodeOf(client)).role,
    (role) => role === "standby",
    "reads go to a standby",
  );
}

/** Nodes on which a text was run last by some server. */
async function ranOn(text: string): Promise<LabNode["role"][]> {
  return (await nodesThatRan(place.lab, text)).map(({ role }) => role);
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

const readsKit: ReadsKit = {
  lab: () => place.lab,
  pooled: () => pooled,
  options,
  reload: (settings, nodes) => pooled.reload(options(settings, nodes)),
  untilOnStandby,
  replay,
};

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
    using client = await pooled.connect();
    await untilOnStandby(client);
    await client.run("insert into things values (1)");
    expect(await ranOn("insert into things values (1)")).toEqual(["primary"]);
    expect(await client.value("select pg_is_in_recovery()")).toBe("f");
    await client.run("begin");
    expect(await client.value(count)).toBe("1");
    expect(await client.value("select pg_is_in_recovery()")).toBe("f");
    await client.run("commit");
    await untilOnStandby(client);
    expect((await nodeOf(client, "/* pgsluice: primary */ ")).role).toBe("primary");
    for (const node of place.lab.standbys) {
      for (let turn = 0; turn < 5; turn++) {
        expect((await nodeOf(client, `/* pgsluice: node=${node.name} */ `)).name).toBe(node.name);
      }
    }
    // Several messages at once: the write behind the read goes where it belongs.
    client.send({ kind: "Query", sql: count }, { kind: "Query", sql: "insert into things values (2)" });
    expect((await client.outcome()).rows).toEqual([["1"]]);
    expect((await client.outcome()).tags).toEqual(["INSERT 0 1"]);
    expect(await client.value(count)).toBe("2");
  });

  test("a client's settings and prepared statements are there on a standby, too", async () => {
    using client = await pooled.connect();
    await untilOnStandby(client);
    await client.run("set datestyle to german");
    await client.ask(parse("dated", "select date '2026-11-28', current_setting('port')"), sync);
    const asked = async (): Promise<(string | null)[]> =>
      (await client.ask(...execute("dated"), sync)).rows[0] ?? [];
    const ports = new Set<string | null | undefined>();
    await waitUntil(async () => {
      const [date, port] = await asked();
      expect(date).toBe("28.11.2026");
      return ports.add(port).size === 2;
    }, "both standbys have answered");
    expect(ports).toEqual(new Set(place.lab.standbys.map(({ port }) => String(port))));
  });

  test("a client's first statement without a name goes to a standby, made and run in one batch", async () => {
    using other = await pooled.connect();
    await untilOnStandby(other);
    using client = await pooled.connect();
    const { rows } = await client.ask(parse("", portText), ...execute(""), sync);
    expect(place.lab.standbys.map(({ port }) => String(port))).toContain(rows[0]?.[0]);
  });

  test("an error that may be the standby's own is not the client's: the primary answers", async () => {
    await pooled.reload(options({ read_your_writes: "none" }));
    using client = await pooled.connect();
    await untilOnStandby(client);
    await replay(true);
    await place.lab.primary.query("create table newer (id int)");
    expect(await client.value("select count(*) from newer")).toBe("0");
    // And one that is the client's own is told.
    const { error } = await client.run("select 1 / (count(*) - count(*)) from things");
    expect(error?.code).toBe("22012");
    await place.lab.primary.query("drop table newer");
  });

  test("a plan on a standby that is out of date is made anew, unseen", async () => {
    await pooled.reload(options({ read_your_writes: "none" }));
    using client = await pooled.connect();
    await untilOnStandby(client);
    await client.ask(parse("all", "select * from things"), sync);
    for (let turn = 0; turn < 20; turn++) {
      expect((await client.ask(...execute("all"), sync)).error).toBeUndefined();
    }
    await place.lab.primary.query("alter table things add column name text");
    await place.lab.untilReplayed();
    for (let turn = 0; turn < 20; turn++) {
      const { error } = await client.ask(...execute("all"), sync);
      expect(error).toBeUndefined();
    }
  });

  test("a read on a standby can be cancelled", async () => {
    await pooled.reload(options({ read_your_writes: "none" }));
    using client = await pooled.connect();
    await untilOnStandby(client);
    const endless = "select count(*) as endless from generate_series(1, 4000000000) a";
    const running = client.run(endless);
    await waitUntil(async () => (await ranOn(endless)).includes("standby"), "it runs on a standby");
    await client.cancel();
    expect((await running).error?.code).toBe("57014");
    expect(await client.value(count)).toBe("0");
  });

  test("acceptance 81: shares follow the weights", async () => {
    const { primary, standbys } = place.lab;
    const [near, far] = standbys as [LabNode, LabNode];
    const all = nodesOf(place.lab);
    const weighted = {
      ...all,
      [primary.name]: { ...all[primary.name], weight: 5 },
      [near.name]: { ...all[near.name], weight: 1 },
      [far.name]: { ...all[far.name], weight: 3 },
    };
    await pooled.reload({ ...options({ read_your_writes: "none" }), onlyNodes: weighted });
    using client = await pooled.connect();
    await untilOnStandby(client);
    const draws = 800;
    client.send(...Array.from({ length: draws }, () => query(portText)));
    const found = new Map<number, number>();
    for (let draw = 0; draw < draws; draw++) {
      const port = Number((await client.outcome()).rows[0]?.[0]);
      found.set(port, (found.get(port) ?? 0) + 1);
    }
    expect(new Set(found.keys())).toEqual(new Set([near.port, far.port]));
    // χ² with one degree of freedom: above 15.1 once in ten thousand times.
    const [few, many] = [found.get(near.port) ?? 0, found.get(far.port) ?? 0];
    const square = (seen: number, expected: number): number => (seen - expected) ** 2 / expected;
    expect(square(few, draws / 4) + square(many, (draws * 3) / 4)).toBeLessThan(15.1);
    await pooled.reload(options({}));
  });
});

describe("who reads where", () => {
  /** On which nodes so many reads of a client are answered. */
  async function portsOf(client: Client, count: number): Promise<Set<number>> {
    const ports = new Set<number>();
    client.send(...Array.from({ length: count }, () => query(portText)));
    for (let read = 0; read < count; read++) ports.add(Number((await client.outcome()).rows[0]?.[0]));
    return ports;
  }

  test("statement_level_load_balance = false: a session stays on the standby of its first read", async () => {
    await pooled.reload(options({ read_your_writes: "none", statement_level_load_balance: false }));
    const seen = new Set<number>();
    await waitUntil(async () => {
      using client = await pooled.connect();
      const ports = await portsOf(client, 20);
      expect(ports.size).toBe(1);
      for (const port of ports) seen.add(port);
      return place.lab.standbys.every(({ port }) => seen.has(port));
    }, "sessions are spread over the standbys");
  });

  test("zone: standbys of the own one are read while there are any", async () => {
    const [near, far] = place.lab.standbys as [LabNode, LabNode];
    const all = nodesOf(place.lab);
    const zoned = {
      ...all,
      [near.name]: { ...all[near.name], zone: "a" },
      [far.name]: { ...all[far.name], zone: "b" },
    };
    for (const [zone, expected] of [
      ["a", [near]],
      ["b", [far]],
      ["c", [near, far]],
    ] as const) {
      await pooled.reload({ ...options({ read_your_writes: "none", zone }), onlyNodes: zoned });
      using client = await pooled.connect();
      await untilOnStandby(client);
      expect(await portsOf(client, 40)).toEqual(new Set(expected.map(({ port }) => port)));
    }
  });

  test.each(["least_outstanding", "latency"])(
    "load_balance_policy = %s: a standby that hangs is left to others",
    async (policy) => {
      await pooled.reload(options({ read_your_writes: "none", load_balance_policy: policy }));
      const [near, far] = place.lab.standbys as [LabNode, LabNode];
      using slow = await pooled.connect();
      using client = await pooled.connect();
      await untilOnStandby(client);
      await portsOf(client, 40);
      const endless = `/* pgsluice: node=${near.name} */ select count(*) as ${policy} from generate_series(1, 4000000000) a`;
      const running = slow.run(endless);
      await waitUntil(async () => (await ranOn(endless)).includes("standby"), "one standby is busy");
      if (policy === "least_outstanding") expect(await portsOf(client, 40)).toEqual(new Set([far.port]));
      else expect(await portsOf(client, 40)).toContain(far.port);
      await slow.cancel();
      await running;
    },
  );

  test("app_name_redirect_preference_list comes before user_redirect_preference_list, before database_redirect_preference_list", async () => {
    const { primary, standbys } = place.lab;
    const [near, far] = standbys as [LabNode, LabNode];
    await pooled.reload(
      options({
        read_your_writes: "none",
        app_name_redirect_preference_list: ["report.*:primary", `psql:${near.name}`],
        user_redirect_preference_list: [`postgres:${far.name}`],
        database_redirect_preference_list: ["postgres:primary"],
      }),
    );
    using plain = await pooled.connect();
    await untilOnStandby(plain);
    for (const [name, expected] of [
      ["reporting", primary],
      ["psql", near],
      ["psql2", far],
    ] as const) {
      using client = await pooled.connect({ parameters: [["application_name", name]] });
      expect(await portsOf(client, 20)).toEqual(new Set([expected.port]));
    }
    const refused = pooled.reload(options({ database_redirect_preference_list: ["a:nowhere"] }));
    await expect(refused).rejects.toThrow('"a:nowhere": there is no node "nowhere"');
  });

  test("primary_read_share: the primary answers its part", async () => {
    await pooled.reload(options({ read_your_writes: "none", primary_read_share: 100 }));
    using client = await pooled.connect();
    // A standby that has just hung may be read again a little later than the others.
    await waitUntil(
      async () => (await portsOf(client, 60)).size === place.lab.nodes.length,
      "reads go to the standbys and to the primary",
    );
  });

  test("acceptance 80: who has no weight is never chosen; where nobody has one the primary answers", async () => {
    const { primary } = place.lab;
    const [near, far] = place.lab.standbys as [LabNode, LabNode];
    const weighing = (nearWeight: number, farWeight: number): PooledOptions => {
      const all = nodesOf(place.lab);
      const onlyNodes = {
        ...all,
        [near.name]: { ...all[near.name], weight: nearWeight },
        [far.name]: { ...all[far.name], weight: farWeight },
      };
      return { ...options({ read_your_writes: "none" }), onlyNodes };
    };
    await pooled.reload(weighing(0, 1));
    using client = await pooled.connect();
    await untilOnStandby(client);
    expect(await portsOf(client, 30)).toEqual(new Set([far.port]));
    await pooled.reload(weighing(0, 0));
    expect(await portsOf(client, 30)).toEqual(new Set([primary.port]));
    await pooled.reload(options({}));
  });

  test("pgsluice.route: as in a comment, for a session or a transaction; a rollback takes it back", async () => {
    const { primary, standbys } = place.lab;
    const [near] = standbys as [LabNode, LabNode];
    await pooled.reload(options({ read_your_writes: "none" }));
    using client = await pooled.connect();
    await untilOnStandby(client);
    // What follows at once may still be answered by the server that the client has for the SET.
    const untilNear = (): Promise<void> =>
      waitUntil(async () => (await nodeOf(client)) === near, "reads go to the node that is named");
    await client.run(`set pgsluice.route = 'node=${near.name}'`);
    await untilNear();
    expect(await portsOf(client, 20)).toEqual(new Set([near.port]));
    await client.run("begin; set pgsluice.route = 'primary'; rollback");
    await untilNear();
    expect(await portsOf(client, 20)).toEqual(new Set([near.port]));
    await client.run("set pgsluice.route = 'primary'");
    expect(await portsOf(client, 20)).toEqual(new Set([primary.port]));
    expect(await nodeOf(client, `/* pgsluice: node=${near.name} */ `)).toBe(near);
    await client.run("reset pgsluice.route");
    await untilOnStandby(client);
  });

  test("pgsluice.min_lsn: a position brought along from another connection is a floor for reads", async () => {
    await pooled.reload(options({ read_your_writes: "none" }));
    using writer = await pooled.connect();
    using client = await pooled.connect();
    await untilOnStandby(client);
    await replay(true);
    await writer.run("insert into things values (1)");
    const lsn = await writer.value("select pg_current_wal_insert_lsn()");
    expect(await client.value(count)).toBe("0");
    await client.run(`set pgsluice.min_lsn = '${lsn}'`);
    expect(await client.value(count)).toBe("1");
    await replay(false);
    await untilOnStandby(client);
    expect(await client.value(count)).toBe("1");
  });
});

describe("SHOW pgsluice.lsn", () => {
  test("a second connection with that token never reads below it", async () => {
    await pooled.reload(options({ read_your_writes: "none" }));
    using writer = await pooled.connect();
    using reader = await pooled.connect();
    await untilOnStandby(reader);
    const show = "show pgsluice.lsn";
    expect(await reader.value(show)).toBe("0/0");
    for (let written = 1; written <= 20; written++) {
      await writer.run("insert into things values (1)");
      const token = await writer.value(show);
      await reader.run(`set pgsluice.min_lsn = '${token}'`);
      expect(await reader.value(count)).toBe(String(written));
      // What it wants to see it hands on as well.
      expect(await reader.value(show)).toBe(token);
    }
    await replay(true);
    // In one write with the INSERT, in the extended protocol, in a transaction: it is never before the write.
    writer.send(query("insert into things values (1)"), query(show));
    await writer.outcome();
    const [[piped] = []] = (await writer.outcome()).rows;
    await writer.ask(parse("shows", show), sync);
    const { rows } = await writer.ask(...execute("shows"), sync);
    await writer.run("begin");
    const within = await writer.value(show);
    await writer.run("commit");
    for (const token of [piped, rows[0]?.[0], within]) {
      await reader.run("set pgsluice.min_lsn = '0/0'");
      await untilOnStandby(reader);
      expect(await reader.value(count)).toBe("20");
      await reader.run(`set pgsluice.min_lsn = '${token}'`);
      expect(await reader.value(count)).toBe("21");
    }
    await replay(false);
    await untilOnStandby(reader);
    expect(await reader.value(count)).toBe("21");
  });

  test("is of the client that asks, and stays the same while that writes nothing", async () => {
    await pooled.reload(options({}));
    using writer = await pooled.connect();
    using other = await pooled.connect();
    await writer.run("insert into things values (1)");
    await untilOnStandby(writer);
    const token = await writer.value("show pgsluice.lsn");
    await other.run("insert into things values (2)");
    expect(await writer.value("show pgsluice.lsn")).toBe(token);
    expect(await other.value("show pgsluice.lsn")).not.toBe(token);
    using third = await pooled.connect();
    expect(await third.value("show pgsluice.lsn")).toBe("0/0");
    // Sent with others in one message it would be told before they run.
    expect((await other.run("insert into things values (3); show pgsluice.lsn")).rows).toEqual([[""]]);
  });
});

describe("read_only_function_list and write_function_list", () => {
  listsOfFunctions(readsKit);
  ofDatabases(readsKit);
  routeHook(readsKit);
});

noticesOnTheWay(readsKit);

describe("read_your_writes", () => {
  test("session: a client sees its own writes, others what the standby has", async () => {
    await pooled.reload(options({}));
    using writer = await pooled.connect();
    using other = await pooled.connect();
    await untilOnStandby(writer);
    await untilOnStandby(other);
    await replay(true);
    for (let written = 1; written <= 20; written++) {
      await writer.run("insert into things values (1)");
      expect(await writer.value(count)).toBe(String(written));
      expect(await other.value(count)).toBe("0");
    }
    await replay(false);
    await untilOnStandby(writer);
    expect(await writer.value(count)).toBe("20");
  });

  test("read_your_writes_wait: a read waits for a standby to have the write, and no longer than that", async () => {
    const { primary } = place.lab;
    await pooled.reload(options({ read_your_writes_wait: 20 }));
    using client = await pooled.connect();
    await untilOnStandby(client);
    const all = `select count(*), current_setting('port') from things`;
    for (let written = 1; written <= 10; written++) {
      await client.run("insert into things values (1)");
      const [[found, port] = []] = (await client.run(all)).rows;
      expect([found, port === String(primary.port)]).toEqual([String(written), false]);
    }
    // It is cancelled while it waits, and the client is gone while it waits.
    await replay(true);
    await client.run("insert into things values (1)");
    const canceled = client.run(all);
    await client.cancel();
    expect((await canceled).error?.code).toBe("57014");
    client.send(query(all));
    client.destroy();
    await pooled.untilSessions(0);
    await pooled.reload(options({ read_your_writes_wait: 0.05 }));
    using other = await pooled.connect();
    await replay(false);
    await untilOnStandby(other);
    await replay(true);
    await other.run("insert into things values (1)");
    expect((await other.run(all)).rows).toEqual([["12", String(primary.port)]]);
  });

  test("global: everybody sees what anybody has written; none: nobody waits for anything", async () => {
    for (const [level, expected] of [
      ["global", "1"],
      ["none", "0"],
    ] as const) {
      await pooled.reload(options({ read_your_writes: level }));
      using writer = await pooled.connect();
      using other = await pooled.connect();
      await untilOnStandby(writer);
      await untilOnStandby(other);
      await replay(true);
      await writer.run("insert into things values (1)");
      expect(await other.value(count)).toBe(expected);
      await writer.run("delete from things");
      await replay(false);
      await place.lab.untilReplayed();
    }
  });
});

describe("read-only transactions", () => {
  readOnlyTransactions(readsKit);
  openedTransactions(readsKit);
});

describe("lag: delay_threshold and delay_threshold_by_time, of all and of a node", () => {
  lagOfStandbys(readsKit);
});
