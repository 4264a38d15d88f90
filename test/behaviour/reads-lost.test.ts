/**
 * Standbys that are lost while they are read from, at every moment of a read: no client waits for an answer that will
 * not come. Nodes tell by their own ports who has answered.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { FaultProxy, type LabNode } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { nodesOf, watched } from "./node-kit.ts";
import { type Client, execute, type Pooled, parse, query, sync } from "./pooled.ts";

const place = useLab({ standbys: 2 });

const whereText = "select current_setting('port')";

async function portOf(client: Client): Promise<number> {
  return Number(await client.value(whereText));
}

async function untilOn(client: Client, node: LabNode): Promise<void> {
  await waitToSee(
    () => portOf(client),
    (port) => port === node.port,
    `reads go to ${node.name}, port ${node.port}`,
  );
}

function nodes(): { primary: LabNode; near: LabNode; far: LabNode } {
  const { primary, standbys } = place.lab;
  const [near, far] = standbys as [LabNode, LabNode];
  return { primary, near, far };
}

/** Backend processes of a node that have answered a text, or are answering it. */
async function backendsOf(node: LabNode, text: string, state = "idle"): Promise<number[]> {
  const { rows } = await node.query(
    `select pid from pg_stat_activity where state = '${state}' and query = '${text.replaceAll("'", "''")}' and pid <> pg_backend_pid()`,
  );
  return rows.map(([pid]) => Number(pid));
}

async function untilAnswered(node: LabNode, text: string): Promise<number> {
  const pids = await waitToSee(
    () => backendsOf(node, text),
    (found) => found.length > 0,
    `${node.name} has answered ${text}`,
  );
  return pids[0] as number;
}

async function terminate(node: LabNode, pid: number): Promise<void> {
  await node.query(`select pg_terminate_backend(${pid}, 10000)`);
}

describe("one standby is read from, over a network that fails", () => {
  let proxy: FaultProxy;
  let pooled: Pooled;
  let client: Client;

  /** Verdicts about nodes take too long to help: all is found out from the connections alone. Each read has one for itself. */
  beforeAll(async () => {
    const { near, far } = nodes();
    proxy = await FaultProxy.start({ port: near.port });
    const all = nodesOf(place.lab);
    pooled = await startPooled(
      place.lab,
      watched(place.lab, {
        nodes: {
          ...all,
          [near.name]: { ...all[near.name], port: proxy.port },
          [far.name]: { ...all[far.name], weight: 0 },
        },
        settings: {
          pool_mode: "auto",
          load_balance_mode: true,
          read_your_writes: "none",
          multiplex: false,
          default_pool_size: 2,
          health_check_timeout: 60,
          health_check_max_retries: 1000,
        },
      }),
    );
    client = await pooled.connect();
  });

  afterEach(() => proxy.heal());

  afterAll(async () => {
    client.destroy();
    await pooled[Symbol.asyncDispose]();
    await proxy.stop();
  });

  test("an answer that comes in one piece with the server's last words is the client's", async () => {
    const { near } = nodes();
    const text = "select current_setting('port') as last";
    await client.ask(parse("last", text), sync);
    for (const messages of [[query(text)], [...execute("last"), sync]]) {
      await untilOn(client, near);
      await proxy.set({ stallAfterBytes: 0 });
      const answered = client.ask(...messages);
      await terminate(near, await untilAnswered(near, text));
      await proxy.heal();
      expect(await answered).toMatchObject({ rows: [[String(near.port)]], error: undefined, status: "I" });
    }
  });

  test("a read whose answer is lost runs elsewhere", async () => {
    const { near, primary } = nodes();
    await untilOn(client, near);
    const text = "select current_setting('port') as reset";
    await proxy.set({ stallAfterBytes: 0 });
    const answered = client.value(text);
    await untilAnswered(near, text);
    proxy.resetAll();
    expect(Number(await answered)).toBe(primary.port);
  });

  test("statements that the client has prepared run elsewhere as well", async () => {
    const { near, primary } = nodes();
    await untilOn(client, near);
    await client.ask(parse("kept", "select current_setting('port'), $1::text"), sync);
    expect((await client.ask(...execute("kept", ["a"]), sync)).rows).toEqual([[String(near.port), "a"]]);
    await proxy.set({ stallAfterBytes: 0 });
    const answered = client.ask(...execute("kept", ["b"]), sync);
    await untilAnswered(near, "select current_setting('port'), $1::text");
    proxy.resetAll();
    expect((await answered).rows).toEqual([[String(primary.port), "b"]]);
  });

  test("reads that wait in the standby's queue, or come while it is not tried again, run elsewhere", async () => {
    const { near, primary } = nodes();
    await untilOn(client, near);
    const clients = await Promise.all(Array.from({ length: 4 }, () => pooled.connect()));
    await proxy.set({ stallAfterBytes: 0 });
    const answered = clients.map(portOf);
    // One has the only server there, another one is being opened for all the others.
    await pooled.untilWaiting(3);
    await proxy.set({ refuse: true });
    proxy.resetAll();
    expect(await Promise.all(answered)).toEqual(clients.map(() => primary.port));
    expect(await portOf(client)).toBe(primary.port);
    for (const one of clients) one.destroy();
  });

  test("where it runs instead it waits for its turn", async () => {
    const { near, primary } = nodes();
    // The failure of the test before is remembered for server_login_retry.
    using console = await openConsole(pooled);
    await console.run("reconnect");
    await untilOn(client, near);
    const writers = await Promise.all(Array.from({ length: 2 }, () => pooled.connect()));
    for (const writer of writers) await writer.run("begin; select pg_current_xact_id()");
    const text = "select current_setting('port') as late";
    await proxy.set({ stallAfterBytes: 0 });
    const answered = client.value(text);
    await untilAnswered(near, text);
    proxy.resetAll();
    await pooled.untilWaiting(1);
    await (writers[0] as Client).run("commit");
    expect(Number(await answered)).toBe(primary.port);
    for (const writer of writers) writer.destroy();
  });

  test("after a part of the rows the client hears what the server said last, and goes on", async () => {
    const { near } = nodes();
    await untilOn(client, near);
    // A row fills what the server sends at once, and takes it a while.
    const text =
      "select repeat('x', 9000), (select count(*) from generate_series(1, 20000) h where h > g) from generate_series(1, 100000) g";
    client.send(query(text));
    await client.raw.until("DataRow");
    const [pid] = await backendsOf(near, text, "active");
    await terminate(near, pid as number);
    const { error, status } = await client.outcome();
    expect(error).toMatchObject({ severity: "ERROR", code: "57P01" });
    expect(status).toBe("I");
    expect(await client.value("select 1")).toBe("1");
  });

  test("in the middle of a row the connection ends, since nothing else can be said", async () => {
    const { near } = nodes();
    await untilOn(client, near);
    using other = await pooled.connect();
    await proxy.set({ cutAfterBytes: 400_000 });
    other.send(query("select repeat('x', 1000000)"));
    const bytes = await other.raw.stream.readToEnd();
    expect(bytes.length).toBeGreaterThan(100_000);
    expect(bytes.subarray(-100).toString()).toBe("x".repeat(100));
    expect(await client.value("select 1")).toBe("1");
  });
});

describe("standbys that are found to be gone", () => {
  let proxy: FaultProxy;
  let pooled: Pooled;
  let console: Client;

  beforeAll(async () => {
    const { near } = nodes();
    proxy = await FaultProxy.start({ port: near.port });
    const all = nodesOf(place.lab);
    pooled = await startPooled(
      place.lab,
      watched(place.lab, {
        nodes: { ...all, [near.name]: { ...all[near.name], port: proxy.port } },
        settings: {
          pool_mode: "auto",
          load_balance_mode: true,
          read_your_writes: "none",
          health_check_timeout: 0.5,
          health_check_max_retries: 1,
        },
      }),
    );
    console = await openConsole(pooled);
  });

  afterEach(async () => {
    await proxy.heal();
    await waitUntil(
      async () => (await table(console, "show nodes")).every(({ state }) => state === "up"),
      "all nodes are up",
    );
  });

  afterAll(async () => {
    console.destroy();
    await pooled[Symbol.asyncDispose]();
    await proxy.stop();
  });

  /** Clients that read without a pause while something happens, and go on doing so afterwards. */
  async function underReads(happens: () => Promise<void>): Promise<void> {
    const clients = await Promise.all(Array.from({ length: 6 }, () => pooled.connect()));
    for (const client of clients) await untilOn(client, nodes().near);
    let running = true;
    const answered = clients.map(() => 0);
    const reading = clients.map(async (client, index) => {
      for (; running; answered[index] = (answered[index] ?? 0) + 1) await client.value(whereText);
    });
    try {
      await happens();
      const seen = [...answered];
      await waitUntil(
        () => answered.every((count, index) => count > (seen[index] ?? 0) + 20),
        "every client goes on",
      );
    } finally {
      running = false;
      await Promise.allSettled(reading);
      for (const client of clients) client.destroy();
    }
    await Promise.all(reading);
  }

  test("a standby that dies takes no reads with it", async () => {
    const { near } = nodes();
    await underReads(() => near.kill());
    await near.start();
  });

  test("a standby that is held still is left, and its reads run elsewhere", async () => {
    const { near } = nodes();
    await underReads(() => near.pause());
    await near.resume();
  });

  test("a standby that nothing comes from any more is left, be it asked or only being connected to", async () => {
    const { near } = nodes();
    await underReads(async () => {
      await proxy.set({ drop: true });
    });
    await proxy.heal();
    proxy.resetAll();
    using client = await pooled.connect();
    await untilOn(client, near);
    await proxy.set({ drop: true });
    proxy.resetAll();
    // Nobody is connected, and whoever tries hears nothing.
    const others = await Promise.all(Array.from({ length: 6 }, () => pooled.connect()));
    for (const port of await Promise.all(others.map(portOf))) expect(port).not.toBe(near.port);
    for (const other of others) other.destroy();
  });

  test("reads go on while there is no primary, and while another standby is lost as well", async () => {
    const { primary, near, far } = nodes();
    using client = await pooled.connect();
    await untilOn(client, far);
    await console.run(`drain ${primary.name}`);
    await waitUntil(
      async () => (await table(console, "show nodes"))[0]?.["state"] === "draining",
      "no primary",
    );
    await underReads(async () => {
      await near.kill();
    });
    expect(await portOf(client)).toBe(far.port);
    await near.start();
    await console.run(`attach ${primary.name}`);
  });
});
