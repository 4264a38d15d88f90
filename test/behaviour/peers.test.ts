/**
 * Several processes that clients reach under one address: a cancel request that comes to the wrong one is handed on
 * to the one that gave the key, by PgBouncer's rule (peer id in the second and third byte of the key, hops in the
 * last two bits of its eighth).
 */
import { describe, expect, test } from "vitest";
import { protocolVersion32 } from "../../src/wire/constants.ts";
import { ByteStream } from "../kit/byte-stream.ts";
import { useLab } from "../kit/lab.ts";
import { rawCancel } from "../kit/raw-client.ts";
import { ScriptedServer } from "../kit/scripted-server.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { type Client, Pooled, type PooledOptions, untilRunning } from "./pooled.ts";

const place = useLab();
const cancelled = { code: "57014", message: "canceling statement due to user request" };

type Peers = NonNullable<PooledOptions["peers"]>;

/** A pooler with an id, the console open to `postgres`. */
function startPeer(id: number, peers: Peers = {}, settings: object = {}): Promise<Pooled> {
  return startPooled(place.lab, { settings: { peer_id: id, ...settings }, peers });
}

/** Where a pooler is, as a table of [peers]. */
function at(pooled: Pooled): { host: string; port: number } {
  const { host, port } = pooled.pooler.address;
  return { host, port };
}

/** Poolers 1, 2, … that know each other. */
async function startFleet(count: number, settings: object = {}): Promise<Pooled[]> {
  const fleet: Pooled[] = [];
  for (let id = 1; id <= count; id++) fleet.push(await startPeer(id, {}, settings));
  const peers = Object.fromEntries(fleet.map((pooled, index) => [index + 1, at(pooled)]));
  for (const [index, pooled] of fleet.entries()) {
    await pooled.reload({
      settings: { peer_id: index + 1, admin_users: ["postgres"], ...settings, listen_port: at(pooled).port },
      peers,
    });
  }
  return fleet;
}

function reasons(pooled: Pooled): unknown[] {
  return pooled.log
    .filter(({ message }) => message === "cancel request not forwarded")
    .map(({ fields }) => fields["reason"]);
}

/** A key that no process has given: of peer `id`, with `hops` left. */
function madeUpKey(id: number, hops: number): { pid: number; key: Buffer } {
  const bytes = Buffer.from([0x11, id & 0xff, id >> 8, 0x22, 0x33, 0x44, 0x55, 0x64 | hops]);
  return { pid: bytes.readInt32BE(0), key: bytes.subarray(4) };
}

/** A peer that keeps the requests it is sent, and closes each when it is told to. */
async function startScriptedPeer(): Promise<{
  server: ScriptedServer;
  packets: { pid: number; key: Buffer }[];
  letGo: () => void;
}> {
  const packets: { pid: number; key: Buffer }[] = [];
  let letGo = (): void => undefined;
  const gone = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const server = await ScriptedServer.start(async (peer) => {
    const { pid, key } = await peer.expectStartup("cancel");
    packets.push({ pid, key });
    await gone;
  });
  return { server, packets, letGo };
}

describe("acceptance 92: a cancel request that comes to another process", () => {
  test.each([
    ["3.0", {}],
    ["3.2", { version: protocolVersion32 }],
  ])("acceptance 92: stops the statement there (protocol %s), and nobody else's", async (_, startup) => {
    const [one, two] = (await startFleet(2)) as [Pooled, Pooled];
    await using _one = one;
    await using _two = two;
    using client = await two.connect(startup);
    using other = await two.connect();
    const outcome = client.run("select pg_sleep(60), 'peered'");
    const stays = other.run("select pg_sleep(0.2), 'stays'");
    await untilRunning(place.lab, "peered");
    await rawCancel(one.place, client.session);
    expect(await outcome).toMatchObject({ error: cancelled });
    expect(await stays).toMatchObject({ error: undefined });
  });

  test("acceptance 92: finds its way through a process that knows only the next one", async () => {
    await using three = await startPeer(3);
    await using two = await startPeer(2, { 3: at(three) });
    // What is of 3 is sent to 2, which knows better.
    await using one = await startPeer(1, { 3: at(two) });
    using client = await three.connect();
    const outcome = client.run("select pg_sleep(60), 'through'");
    await untilRunning(place.lab, "through");
    await rawCancel(one.place, client.session);
    expect(await outcome).toMatchObject({ error: cancelled });
  });

  test("acceptance 92: needs no place among the clients, neither here nor there", async () => {
    const settings = { max_client_conn: 1, superuser_reserved_connections: 0, admin_users: [] };
    const [one, two] = (await startFleet(2, settings)) as [Pooled, Pooled];
    await using _one = one;
    await using _two = two;
    const crowd: ByteStream[] = [];
    using _client = await one.connect();
    using client = await two.connect();
    const outcome = client.run("select pg_sleep(60), 'crowded'");
    await untilRunning(place.lab, "crowded");
    for (const pooled of [one, two]) {
      for (let i = 0; i < 4; i++) crowd.push(await ByteStream.connect(pooled.place));
      await waitUntil(() => pooled.pooler.counts.logins >= 4, "connections wait in front of the login");
    }
    await rawCancel(one.place, client.session);
    expect(await outcome).toMatchObject({ error: cancelled });
    for (const stream of crowd) stream.destroy();
  });

  test("acceptance 92: goes over a Unix socket too, where several processes share one TCP port", async () => {
    await using folder = await tempFolder();
    const local = { unix_socket_dir: folder.path, listen_addr: "", listen_port: 7001 };
    await using two = await startPeer(2, {}, local);
    await using one = await startPeer(1, { 2: { host: folder.path, port: 7001 } });
    using client = await two.connect();
    const outcome = client.run("select pg_sleep(60), 'by unix'");
    await untilRunning(place.lab, "by unix");
    await rawCancel(one.place, client.session);
    expect(await outcome).toMatchObject({ error: cancelled });
  });

  test("acceptance 92: hands on longer keys as well, whoever gives them", async () => {
    const { server, packets, letGo } = await startScriptedPeer();
    await using _server = server;
    await using one = await startPeer(1, { 2: { host: "127.0.0.1", port: server.port } });
    const { pid, key } = madeUpKey(2, 2);
    const long = Buffer.concat([key, Buffer.alloc(28, 7)]);
    letGo();
    await rawCancel(one.place, { pid, key: long });
    expect(packets[0]?.pid).toBe(pid);
    expect(packets[0]?.key.subarray(4)).toEqual(long.subarray(4));
  });
});

describe("a peer that speaks PgBouncer's rule", () => {
  test("acceptance 92: gets the key as it came with one hop less, and the client waits until it has closed", async () => {
    const { server, packets, letGo } = await startScriptedPeer();
    await using _server = server;
    await using one = await startPeer(1, { 513: { host: "127.0.0.1", port: server.port } });
    using console = await openConsole(one);
    const { pid, key } = madeUpKey(513, 3);
    let closed = false;
    const cancel = rawCancel(one.place, { pid, key }).then(() => {
      closed = true;
    });
    await waitUntil(() => packets.length === 1, "the peer has the request");
    const [packet] = packets;
    expect(packet?.pid).toBe(pid);
    expect([...(packet?.key ?? [])]).toEqual([0x33, 0x44, 0x55, 0x66]);
    expect(await table(console, "show peers")).toEqual([
      { peer_id: "513", host: "127.0.0.1", port: String(server.port), pool_size: "20" },
    ]);
    expect(await table(console, "show peer_pools")).toEqual([
      {
        peer_id: "513",
        cl_active_cancel_req: "1",
        cl_waiting_cancel_req: "0",
        sv_active_cancel: "1",
        sv_login: "0",
      },
    ]);
    expect(closed).toBe(false);
    letGo();
    await within(cancel, "the client's connection is closed");
    expect(await table(console, "show peer_pools")).toMatchObject([{ sv_active_cancel: "0" }]);
    const lists = Object.fromEntries(
      (await table(console, "show lists")).map((row) => [row["list"], row["items"]]),
    );
    expect(lists).toMatchObject({ peers: "1", peer_pools: "1" });
  });

  test("acceptance 92: a key without hops, or of nobody known, goes nowhere", async () => {
    const { server, packets } = await startScriptedPeer();
    await using _server = server;
    await using one = await startPeer(1, { 2: { host: "127.0.0.1", port: server.port } });
    await within(rawCancel(one.place, madeUpKey(2, 0)), "the request without hops is dropped");
    await within(rawCancel(one.place, madeUpKey(3, 3)), "the request of nobody is dropped");
    await within(
      rawCancel(one.place, madeUpKey(1, 3)),
      "the request with a key that we never gave is dropped",
    );
    expect(packets).toEqual([]);
    expect(reasons(one)).toEqual([
      "failed to forward cancel request because its TTL was exhausted",
      "could not find peer to forward request to",
    ]);
  });

  test("acceptance 92: two that take each other for a third one stop after three hops", async () => {
    await using one = await startPeer(1);
    await using two = await startPeer(2, { 3: at(one) });
    await one.reload({
      settings: { peer_id: 1, listen_port: at(one).port },
      peers: { 3: at(two) },
    });
    await within(rawCancel(one.place, madeUpKey(3, 3)), "the request ends");
    const dropped = [...reasons(one), ...reasons(two)];
    expect(dropped).toEqual(["failed to forward cancel request because its TTL was exhausted"]);
  });

  test("without a peer_id nothing is handed on", async () => {
    const { server, packets } = await startScriptedPeer();
    await using _server = server;
    await using one = await startPeer(0, { 2: { host: "127.0.0.1", port: server.port } });
    await within(rawCancel(one.place, madeUpKey(2, 3)), "the request is dropped");
    expect(packets).toEqual([]);
  });

  test("no more than pool_size at once; the others wait, and nobody for ever", async () => {
    const { server, packets, letGo } = await startScriptedPeer();
    await using _server = server;
    const peers = { 2: { host: "127.0.0.1", port: server.port, pool_size: 2 } };
    await using one = await startPeer(1, peers, { cancel_wait_timeout: 30 });
    using console = await openConsole(one);
    const cancels = Array.from({ length: 5 }, () => rawCancel(one.place, madeUpKey(2, 3)));
    await waitUntil(async () => {
      const [row] = await table(console, "show peer_pools");
      return row?.["cl_waiting_cancel_req"] === "3" && row["sv_active_cancel"] === "2";
    }, "two are sent and three wait");
    expect(packets).toHaveLength(2);
    letGo();
    await within(Promise.all(cancels), "all are done");
    expect(packets).toHaveLength(5);
  });

  test("one that never closes, and one that is not there: the client is let go, and the log says why", async () => {
    const { server, letGo } = await startScriptedPeer();
    await using _server = server;
    const peers = { 2: { host: "127.0.0.1", port: server.port }, 3: { host: "127.0.0.1", port: 1 } };
    await using one = await startPeer(1, peers, { cancel_wait_timeout: 0.3 });
    await within(rawCancel(one.place, madeUpKey(2, 3)), "the one that is not answered ends");
    await within(rawCancel(one.place, madeUpKey(3, 3)), "the one that nobody takes ends");
    expect(reasons(one)).toEqual(["cancel_wait_timeout", expect.stringContaining("ECONNREFUSED")]);
    letGo();
  });

  test("a shutdown waits for none of them for ever", async () => {
    const { server, packets, letGo } = await startScriptedPeer();
    await using _server = server;
    const one = await startPeer(1, { 2: { host: "127.0.0.1", port: server.port } });
    const cancel = rawCancel(one.place, madeUpKey(2, 3));
    await waitUntil(() => packets.length === 1, "the peer has the request");
    await within(one[Symbol.asyncDispose](), "the pooler is gone");
    await within(cancel, "the client's connection is closed");
    letGo();
  });
});

test("clients work on while requests pass, and each request hits only its own statement", async () => {
  const [one, two] = (await startFleet(2)) as [Pooled, Pooled];
  await using _one = one;
  await using _two = two;
  const clients: Client[] = [];
  for (let i = 0; i < 20; i++) clients.push(await (i % 2 === 0 ? one : two).connect());
  const work = clients.map(async (client, index) => {
    const hit = client.run(`select pg_sleep(60), 'mixed ${index} '`);
    await untilRunning(place.lab, `mixed ${index} `);
    // To the process that it is not at.
    await rawCancel((index % 2 === 0 ? two : one).place, client.session);
    return hit;
  });
  for (const outcome of await Promise.all(work)) expect(outcome).toMatchObject({ error: cancelled });
  for (const client of clients) {
    expect(await client.value("select 1")).toBe("1");
    client.destroy();
  }
});
