/**
 * Brief reads of many clients that share servers of a standby: each gets its own answers, whatever happens to the others or to
 * the standby. Nodes tell by their own ports who has answered, and in pg_stat_activity by how many servers.
 */
import { afterEach, describe, expect, test } from "vitest";
import { FaultProxy, type LabNode } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table, untilNodeState } from "./console-client.ts";
import { nodesOf, watched } from "./node-kit.ts";
import { type Client, execute, type Pooled, parse, query, sync } from "./pooled.ts";

const place = useLab({ standbys: 2 });
/** Shareable, and says where it ran. */
const whereText = "select current_setting('port')";
const counting = "select count(*) from locked";

// A test that has failed leaves none of them behind what the next one writes.
afterEach(async () => {
  for (const node of place.lab.standbys) if (node.isRunning) await replay(node, false);
});

function nodes(): { primary: LabNode; near: LabNode; far: LabNode } {
  const { primary, standbys } = place.lab;
  const [near, far] = standbys as [LabNode, LabNode];
  return { primary, near, far };
}

/** A crowd of clients of a pooler whose reads go to the first standby while that is well, else to the other one. */
class SharingReaders implements AsyncDisposable {
  readonly pooled: Pooled;
  readonly clients: readonly Client[];
  readonly console: Client;

  private constructor(pooled: Pooled, clients: readonly Client[], console: Client) {
    this.pooled = pooled;
    this.clients = clients;
    this.console = console;
  }

  static async gather(
    count: number,
    settings: Readonly<Record<string, unknown>> = {},
    nearPort = nodes().near.port,
  ): Promise<SharingReaders> {
    const all = nodesOf(place.lab);
    const { near, far } = nodes();
    const pooled = await startPooled(
      place.lab,
      watched(place.lab, {
        nodes: {
          ...all,
          [near.name]: { ...all[near.name], port: nearPort, zone: "here" },
          [far.name]: { ...all[far.name], zone: "there" },
        },
        settings: {
          pool_mode: "auto",
          load_balance_mode: true,
          read_your_writes: "none",
          zone: "here",
          default_pool_size: 2,
          health_check_timeout: 0.5,
          health_check_max_retries: 1,
          ...settings,
        },
      }),
    );
    const clients = await Promise.all(Array.from({ length: count }, () => pooled.connect()));
    return new SharingReaders(pooled, clients, await openConsole(pooled));
  }

  /** Counts of SHOW MULTIPLEX for one node. */
  async counts(node: LabNode): Promise<Record<string, number>> {
    const row = (await table(this.console, "show multiplex")).find((one) => one["node"] === node.name);
    return Object.fromEntries(Object.entries(row ?? {}).map(([name, value]) => [name, Number(value)]));
  }

  async units(node: LabNode): Promise<number> {
    return (await this.counts(node))["units"] ?? 0;
  }

  /** Runs a text until it shares servers of the first standby. */
  async warm(text = whereText, client = this.first): Promise<void> {
    const { near } = nodes();
    const before = await this.units(near);
    await waitUntil(async () => {
      await client.value(text);
      return (await this.units(near)) > before;
    }, `shared: ${text}`);
  }

  get first(): Client {
    return this.clients[0] as Client;
  }

  send(...clients: readonly Client[]): void {
    for (const client of clients) client.send(query(counting));
  }

  /** A read of `locked` has been in front on the first standby for longer than brief ones are: nobody is put behind it. */
  async untilInFront(): Promise<void> {
    const { near } = nodes();
    await waitingOn(near);
    await waitUntil(async () => (await this.counts(near))["stuck"] === 1, "it is taken for blocked");
  }

  /** All clients read without a pause while something happens, and go on doing so afterwards. None may see an error. */
  async underReads(happens: () => Promise<void>, goOn = 10): Promise<void> {
    let running = true;
    const answered = this.clients.map(() => 0);
    const reading = this.clients.map(async (client, index) => {
      for (let turn = 0; running; turn++) {
        const value = `${index}.${turn}`;
        const { rows, error } = await client.run(`select '${value}', current_setting('port')`);
        expect(error).toBeUndefined();
        expect(rows[0]?.[0]).toBe(value);
        answered[index] = turn + 1;
      }
    });
    const failed = Promise.all(reading).then(() => undefined);
    try {
      await Promise.race([happens(), failed]);
      const seen = [...answered];
      const goesOn = waitUntil(
        () => answered.every((count, index) => count > (seen[index] ?? 0) + goOn),
        "every client goes on",
      );
      await Promise.race([goesOn, failed]);
    } finally {
      running = false;
      await Promise.allSettled(reading);
    }
    await failed;
  }

  async untilState(node: LabNode, state: string): Promise<void> {
    await untilNodeState(this.console, node.name, state);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of [...this.clients, this.console]) client.destroy();
    await this.pooled[Symbol.asyncDispose]();
  }
}

/** Backends of a node that run, or have run last, a text like this. */
async function backendsOf(node: LabNode, like: string): Promise<number> {
  const { rows } = await node.query(
    `select count(*) from pg_stat_activity where query like '${like.replaceAll("'", "''")}' and pid <> pg_backend_pid()`,
  );
  return Number(rows[0]?.[0]);
}

/** Readers of `locked` wait on both standbys, until it is disposed of. */
async function locked(): Promise<AsyncDisposable> {
  const { primary, near, far } = nodes();
  const client = await primary.connect();
  await client.query("begin; lock table locked");
  // A lock alone is not sent on before something is committed.
  await primary.query("select pg_logical_emit_message(true, 'locked', '')");
  for (const node of [near, far]) {
    await waitUntil(async () => {
      const { rows } = await node.query("select 1 from pg_locks where mode = 'AccessExclusiveLock'");
      return rows.length > 0;
    }, `${node.name} has the lock`);
  }
  return { [Symbol.asyncDispose]: () => client.close() };
}

async function replay(node: LabNode, paused: boolean): Promise<void> {
  await node.query(`select pg_wal_replay_${paused ? "pause" : "resume"}()`);
  if (!paused) return;
  await waitUntil(
    async () => (await node.query("select pg_get_wal_replay_pause_state()")).rows[0]?.[0] === "paused",
    "replay is paused",
  );
}

async function waitingOn(node: LabNode): Promise<void> {
  await waitUntil(
    async () => (await node.query("select 1 from pg_locks where not granted")).rows.length > 0,
    `a read waits on ${node.name}`,
  );
}

describe("a standby that is well", () => {
  test("serves many clients over few servers, each with its own answers", async () => {
    await using crowd = await SharingReaders.gather(40);
    const { primary, near, far } = nodes();
    await crowd.warm("select '0', current_setting('port')");
    const elsewhere = await crowd.units(primary);
    let most = 0;
    await crowd.underReads(async () => {
      for (let i = 0; i < 5; i++) most = Math.max(most, await backendsOf(near, "select '%.%', current%"));
    });
    expect(most).toBeGreaterThan(0);
    expect(most, "backends for 40 clients").toBeLessThanOrEqual(2);
    expect(await backendsOf(far, "select '%.%', current%")).toBe(0);
    const { units, joined } = await crowd.counts(near);
    expect(units).toBeGreaterThan(400);
    expect(joined, "units that found others in the pipeline").toBeGreaterThan(200);
    expect(await crowd.units(primary)).toBe(elsewhere);
  });

  test("runs prepared statements and those of clients with other settings between them", async () => {
    await using crowd = await SharingReaders.gather(12, { default_pool_size: 4 });
    await crowd.warm();
    const texts = ["2026-11-28", "28.11.2026", "11/28/2026"];
    await Promise.all(
      crowd.clients.map(async (client, index) => {
        const style = index % 3;
        if (style > 0) await client.run(`set datestyle to ${style === 1 ? "german" : "'SQL, MDY'"}`);
        await client.ask(parse("s", "select $1::int * 2, date '2026-11-28'"), sync);
        for (let turn = 0; turn < 20; turn++) {
          const number = 100 * index + turn;
          const { rows } = await client.ask(...execute("s", [String(number)]), sync);
          expect(rows).toEqual([[String(2 * number), texts[style]]]);
          const { rows: unnamed } = await client.ask(
            parse("", `select $1::int, date '2026-11-28', ${index}`),
            ...execute("", [String(turn)]),
            sync,
          );
          expect(unnamed).toEqual([[String(turn), texts[style], String(index)]]);
        }
      }),
    );
    expect((await crowd.counts(nodes().near))["joined"]).toBeGreaterThan(0);
  });

  test("that is 20 ms away has the statements of all clients under way at once", async () => {
    await using proxy = await FaultProxy.start({ port: nodes().near.port });
    await using crowd = await SharingReaders.gather(30, { server_connect_timeout: 15 }, proxy.port);
    await proxy.set({ latencyMs: 10 });
    await crowd.warm("select '0', current_setting('port')");
    await crowd.underReads(() => Promise.resolve(), 3);
    expect((await crowd.counts(nodes().near))["joined"]).toBeGreaterThan(30);
  });

  test("a client sees what it has written, or asks for, also while reads that are the same wait for each other", async () => {
    const { primary, near, far } = nodes();
    await primary.query("create table if not exists locked (a int); create table seen (id int)");
    await place.lab.untilReplayed();
    const settings = { read_your_writes: "session", multiplex_coalesce: true, default_pool_size: 1 };
    await using crowd = await SharingReaders.gather(8, settings);
    const [blocker, writer, asker, ...others] = crowd.clients as [Client, Client, Client, ...Client[]];
    const text = "select count(*) from seen";
    await crowd.warm(counting, others[0]);
    await crowd.warm(text, others[0]);
    {
      await using _lock = await locked();
      for (const node of [near, far]) await replay(node, true);
      crowd.send(blocker);
      await crowd.untilInFront();
      for (const client of others) client.send(query(text));
      await waitUntil(
        async () => (await crowd.counts(near))["coalesced"] === others.length - 1,
        "they wait for one of them",
      );
      await writer.run("insert into seen values (1)");
      expect(await writer.value(text)).toBe("1");
      const { rows } = await primary.query("select pg_current_wal_insert_lsn()");
      await asker.run(`set pgsluice.min_lsn = '${rows[0]?.[0]}'`);
      expect(await asker.value(text)).toBe("1");
      expect((await crowd.counts(near))["queued"], "neither waits together with them").toBe(1);
    }
    for (const node of [near, far]) await replay(node, false);
    expect((await blocker.outcome()).rows).toEqual([["0"]]);
    // They have asked before it was written.
    for (const client of others) expect((await client.outcome()).rows[0]?.[0]).toMatch(/^[01]$/);
    await primary.query("drop table seen");
  });

  test("what it refuses for a reason of its own the primary answers, once", async () => {
    const { primary, near, far } = nodes();
    const make = "create table late (a int); insert into late values (7)";
    await primary.query(make);
    await place.lab.untilReplayed();
    await using crowd = await SharingReaders.gather(10);
    const text = "select a from late";
    const messages = [parse("", text), ...execute(""), sync];
    await crowd.warm(text);
    await primary.query("drop table late");
    await place.lab.untilReplayed();
    for (const node of [near, far]) await replay(node, true);
    await primary.query(make);
    const before = (await crowd.counts(near))["returned"] ?? 0;
    for (const [index, client] of crowd.clients.entries()) {
      client.send(...(index % 2 === 0 ? [query(text)] : messages));
    }
    for (const client of crowd.clients) {
      const { rows, error, messages: told } = await client.outcome();
      expect(error).toBeUndefined();
      expect(rows).toEqual([["7"]]);
      expect(told.filter(({ kind }) => kind === "ParseComplete").length).toBeLessThanOrEqual(1);
    }
    expect((await crowd.counts(near))["returned"]).toBeGreaterThan(before);
    for (const node of [near, far]) await replay(node, false);
    await primary.query("drop table late");
  });
});

describe("in front of a standby's pipeline", () => {
  /** Clients whose reads of `locked` all go into the pipeline of the standby's only server. */
  async function gather(count: number): Promise<SharingReaders> {
    await nodes().primary.query("create table if not exists locked (a int)");
    await place.lab.untilReplayed();
    const crowd = await SharingReaders.gather(count, { default_pool_size: 1 });
    await crowd.warm(counting);
    return crowd;
  }

  test("a cancel request reaches the standby, and hits who has asked", async () => {
    await using crowd = await gather(3);
    const [first, second, third] = crowd.clients as [Client, Client, Client];
    {
      await using _lock = await locked();
      crowd.send(first, second, third);
      await waitingOn(nodes().near);
      await first.cancel();
      expect((await first.outcome()).error?.code).toBe("57014");
      await second.cancel();
      expect((await second.outcome()).error?.code).toBe("57014");
    }
    expect((await third.outcome()).rows).toEqual([["0"]]);
    expect(await first.value(whereText)).toBe(String(nodes().near.port));
  });

  test("a client that leaves takes nothing away from the others", async () => {
    await using crowd = await gather(3);
    const [first, second, third] = crowd.clients as [Client, Client, Client];
    {
      await using _lock = await locked();
      crowd.send(first, second, third);
      await waitingOn(nodes().near);
      first.destroy();
      second.destroy();
      await crowd.pooled.untilSessions(1);
    }
    expect((await third.outcome()).rows).toEqual([["0"]]);
  });

  test("what is sent when the standby is drained is answered there, what is not goes elsewhere", async () => {
    await using crowd = await gather(6);
    const { near, far } = nodes();
    const [first, ...others] = crowd.clients as [Client, ...Client[]];
    await crowd.warm(whereText, others[0]);
    {
      await using _lock = await locked();
      crowd.send(first);
      await crowd.untilInFront();
      for (const client of others) client.send(query(whereText));
      await waitUntil(async () => (await crowd.counts(near))["queued"] === others.length, "the others wait");
      await crowd.console.run(`drain ${near.name}`);
      for (const client of others) expect((await client.outcome()).rows).toEqual([[String(far.port)]]);
    }
    expect((await first.outcome()).rows).toEqual([["0"]]);
    await crowd.console.run(`attach ${near.name}`);
  });

  test("a server that is lost takes nobody with it, and what waits for it goes elsewhere", async () => {
    await using crowd = await gather(6);
    const { near } = nodes();
    const [first, ...others] = crowd.clients as [Client, ...Client[]];
    await crowd.warm(whereText, others[0]);
    {
      await using _lock = await locked();
      crowd.send(first);
      await crowd.untilInFront();
      crowd.send(...others);
      await waitUntil(async () => (await crowd.counts(near))["queued"] === others.length, "the others wait");
      await near.query(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where query like '%from locked%' and pid <> pg_backend_pid()",
      );
      await waitingOn(nodes().primary);
    }
    for (const client of crowd.clients) expect((await client.outcome()).rows).toEqual([["0"]]);
  });
});

describe("a standby that is lost in the midst of shared reads", () => {
  afterEach(async () => {
    const { near } = nodes();
    if (!near.isRunning) await near.start();
  });

  async function strike(strikes: () => Promise<void>, heals: () => Promise<void>): Promise<void> {
    await using crowd = await SharingReaders.gather(40);
    const { near, far } = nodes();
    await crowd.warm("select '0', current_setting('port')");
    await crowd.underReads(async () => {
      await strikes();
      await crowd.untilState(near, "down");
      const before = await crowd.units(far);
      await waitUntil(async () => (await crowd.units(far)) > before + 40, "the other standby is shared");
    });
    expect(await crowd.first.value(whereText)).toBe(String(far.port));
    await crowd.underReads(async () => {
      await heals();
      await crowd.untilState(near, "up");
      const before = await crowd.units(near);
      await waitUntil(async () => (await crowd.units(near)) > before + 40, "it is shared again");
    });
  }

  test("by kill -9: no client sees an error, and it is used again when it is back", async () => {
    const { near } = nodes();
    await strike(
      () => near.kill(),
      () => near.start(),
    );
  });

  test("by SIGSTOP: what it does not answer is answered elsewhere", async () => {
    const { near } = nodes();
    await strike(
      () => near.pause(),
      () => near.resume(),
    );
  });
});

test("a statement is not taken for another one that clients of a pool which was forgotten have prepared there", async () => {
  const { primary, near } = nodes();
  await primary.query("create database left_alone");
  await place.lab.untilReplayed();
  await using crowd = await SharingReaders.gather(0);
  const read = async (word: string): Promise<void> => {
    using client = await crowd.pooled.connect({ database: "left_alone" });
    await client.ask(parse("s", `select '${word}', current_setting('port')`), sync);
    await waitUntil(async () => {
      const { rows } = await client.ask(...execute("s"), sync);
      expect(rows[0]?.[0]).toBe(word);
      return rows[0]?.[1] === String(near.port);
    }, `${word} is read on the standby`);
    await client.close();
  };
  await read("first");
  const { pooler } = crowd.pooled;
  const before = pooler.counts.pools;
  await primary.query(
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = 'left_alone'",
  );
  await waitUntil(
    () => pooler.counts.pools < before,
    "the pool is forgotten, and that of the standby is not",
  );
  await read("second");
});
