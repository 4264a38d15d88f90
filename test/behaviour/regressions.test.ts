/** Faults that were found by reading: each with the shortest way to it. */
import { spawnSync } from "node:child_process";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import type { Failure } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Transport } from "../../src/base/transport.ts";
import { connectOptions } from "../../src/client/conninfo/options.ts";
import { checkConfig } from "../../src/config/load.ts";
import { makeCertificates } from "../../src/lab/index.ts";
import { ServerBudget } from "../../src/pool/budget.ts";
import { Pool } from "../../src/pool/pool.ts";
import type { Server } from "../../src/pool/server.ts";
import { Listener } from "../../src/server/listener.ts";
import { Sockets } from "../../src/server/sockets.ts";
import { encodeQuery } from "../../src/wire/encode-frontend.ts";
import { encodeStartup } from "../../src/wire/startup.ts";
import { useLab } from "../kit/lab.ts";
import { poolSettings } from "../kit/pool-settings.ts";
import { rawClient } from "../kit/raw-client.ts";
import { type ScriptedPeer, ScriptedServer } from "../kit/scripted-server.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { Client, Pooled, query } from "./pooled.ts";

const place = useLab();

function poolTo(port: () => number): Pool {
  return new Pool({
    name: "test",
    settings: poolSettings,
    connectOptions: () =>
      connectOptions({
        hosts: [{ host: "127.0.0.1", port: port() }],
        user: "u",
        database: "d",
        sslmode: "disable",
      }),
    budgets: [new ServerBudget("pool_size", 8)],
    clock: systemClock,
    logger: silentLogger,
  });
}

/** A client of a pool that wants a server; it does with it what it is told. */
function waiter(pool: Pool, onServer: (server: Server) => void, onFailed: (error: Failure) => void): void {
  const got = pool.lease({ onLeased: onServer, onLeaseFailed: onFailed, onLongWait: () => undefined });
  if (got !== undefined) onServer(got);
}

function gateOf(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

async function welcome(peer: ScriptedPeer, after?: Promise<void>): Promise<void> {
  await peer.expectStartup("startup");
  await after;
  peer.welcome();
}

test("any number of clients may give a server back as soon as they have got it", async () => {
  await using server = await ScriptedServer.start(async (peer) => {
    await welcome(peer);
    await peer.closed;
  });
  const pool = poolTo(() => server.port);
  const clients = 60_000;
  let served = 0;
  for (let i = 0; i < clients; i++) {
    const give = (leased: Server): void => {
      served++;
      pool.release(leased, false);
    };
    waiter(pool, give, () => undefined);
  }
  await waitUntil(() => served === clients, "all of them were served");
  pool.close();
});

test("clients that wait are not told of one refusal while other connections may still come", async () => {
  const gate = gateOf();
  const refuse = async (peer: ScriptedPeer): Promise<void> => {
    await peer.expectStartup("startup");
    peer.fail("53300", "sorry, too many clients already");
    gate.open();
  };
  await using server = await ScriptedServer.start([
    refuse,
    async (peer) => {
      await welcome(peer, gate.opened);
      await peer.closed;
    },
  ]);
  const pool = poolTo(() => server.port);
  const failures: string[] = [];
  let served = 0;
  for (let i = 0; i < 4; i++) {
    const give = (leased: Server): void => {
      served++;
      pool.release(leased, false);
    };
    waiter(pool, give, (error) => failures.push(error.message));
  }
  await waitUntil(() => served + failures.length === 4, "all of them were answered");
  expect(failures).toEqual([]);
  pool.close();
});

test("a connection that was begun before a reload is not used after it", async () => {
  const gate = gateOf();
  await using before = await ScriptedServer.start(async (peer) => {
    await welcome(peer, gate.opened);
    await peer.closed;
  });
  await using after = await ScriptedServer.start(async (peer) => {
    await welcome(peer);
    await peer.closed;
  });
  let { port } = before;
  const pool = poolTo(() => port);
  const servers: Server[] = [];
  const keep = (leased: Server): void => void servers.push(leased);
  waiter(pool, keep, () => undefined);
  await waitUntil(() => before.accepted === 1, "the first attempt has begun");
  port = after.port;
  pool.retireServers("database configuration changed");
  gate.open();
  await waitUntil(() => servers.length === 1, "the client is served");
  expect(servers[0]?.connection.endpoint.port).toBe(after.port);
  pool.close();
});

test("one client cannot have any number of cancel requests under way", async () => {
  const gate = gateOf();
  await using server = await ScriptedServer.start([
    async (peer) => {
      await welcome(peer);
      await peer.closed;
    },
    async (peer) => {
      await peer.expectStartup("cancel");
      await gate.opened;
    },
  ]);
  const pool = poolTo(() => server.port);
  const servers: Server[] = [];
  const keep = (leased: Server): void => void servers.push(leased);
  waiter(pool, keep, () => undefined);
  await waitUntil(() => servers.length === 1, "a server is there");
  const cancels = Array.from({ length: 50 }, () => pool.cancel(servers[0] as Server));
  await waitUntil(() => server.accepted > 8, "some of them are under way");
  gate.open();
  await Promise.all(cancels);
  expect(server.accepted).toBe(1 + 8);
  pool.close();
});

test("clients that do not close their side are counted, and make room first", async () => {
  const config = checkConfig(
    {
      pgsluice: { listen_port: 0, max_client_conn: 1, superuser_reserved_connections: 0 },
      nodes: { main: { host: "127.0.0.1" } },
    },
    process.cwd(),
  );
  let open = 0;
  let accepted = 0;
  const refuse = ({ transport }: { transport: Transport }): void => {
    accepted++;
    open++;
    transport.listener = { onData() {}, onDrain() {}, onClose: () => open-- };
    transport.end();
  };
  const listener = new Listener(
    () => config.pgsluice,
    silentLogger,
    refuse,
    () => false,
    new Sockets(() => config.pgsluice),
  );
  await listener.open();
  const { host, port } = listener.address;
  const sockets = Array.from({ length: 1100 }, () => net.connect({ host, port, allowHalfOpen: true }));
  for (const socket of sockets) socket.on("error", () => undefined).resume();
  await waitUntil(() => accepted === sockets.length, "all of them were accepted");
  await waitUntil(() => open <= 4 + 1000, "the first of them made room");
  for (const socket of sockets) socket.destroy();
  await listener.close();
});

test("a client that resets its connection before it is accepted is not taken for a local one", async () => {
  await using folder = await tempFolder();
  const files = await makeCertificates(folder.path);
  await place.lab.primary.query("drop table if exists trespass; create table trespass ()");
  await using pooled = await Pooled.start(place.lab, {
    settings: {
      client_tls_sslmode: "verify-full",
      client_tls_cert_file: files.server.certificateFile,
      client_tls_key_file: files.server.keyFile,
      client_tls_ca_file: files.authorityFile,
      unix_socket_dir: folder.path,
    },
  });
  const { port } = pooled.pooler.address;
  // With a server at hand and its welcome known nothing has to be waited for.
  using local = await Client.connect({ host: folder.path, port });
  await local.run("select 1");
  const attack = Buffer.concat([
    encodeStartup(196_608, [
      ["user", "postgres"],
      ["database", "postgres"],
    ]),
    encodeQuery("insert into trespass default values"),
  ]).toString("base64");
  const program = `const s = require("node:net").connect(${port}, "127.0.0.1", () =>
    s.write(Buffer.from("${attack}", "base64"), () => s.resetAndDestroy()));`;
  // Synchronously: nothing is accepted before the other side is gone.
  for (let i = 0; i < 3; i++) {
    spawnSync(process.execPath, ["-e", program]);
    await local.run("select 1");
  }
  expect(await local.value("select count(*) from trespass")).toBe("0");
});

test("a reload that takes away a forced user makes nobody act as somebody else", async () => {
  await place.lab.primary.query("create role app login; create role alice login; create role bob login");
  const forced = { databases: { d: { dbname: "postgres", user: "app" } } };
  await using pooled = await Pooled.start(place.lab, forced);
  const whoIs = (client: Client): Promise<string | null> => client.value("select current_user");
  using alice = await pooled.connect({ user: "alice", database: "d" });
  using bob = await pooled.connect({ user: "bob", database: "d" });
  expect([await whoIs(alice), await whoIs(bob)]).toEqual(["app", "app"]);
  await pooled.reload({ databases: { d: { dbname: "postgres" } } });
  expect([await whoIs(alice), await whoIs(bob)], "as they were when they came").toEqual(["app", "app"]);
  using app = await pooled.connect({ user: "app", database: "d" });
  using alicia = await pooled.connect({ user: "alice", database: "d" });
  expect([await whoIs(app), await whoIs(alicia)]).toEqual(["app", "alice"]);
});

test("a login that ends while a shutdown waits for cancel requests leaves no session behind", async () => {
  const cancelled = gateOf();
  const admitted = gateOf();
  await using server = await ScriptedServer.start([
    async (peer) => {
      await welcome(peer);
      await peer.closed;
    },
    async (peer) => {
      await peer.expectStartup("cancel");
      await cancelled.opened;
    },
    async (peer) => {
      await welcome(peer, admitted.opened);
      await peer.closed;
    },
  ]);
  await using pooled = await Pooled.start(place.lab, { node: { host: "127.0.0.1", port: server.port } });
  using busy = await pooled.connect();
  busy.send(query("select 1"));
  const cancel = busy.cancel();
  await waitUntil(() => server.accepted === 2, "the cancel request is under way");
  // Its search_path makes a pool of its own, and so needs a new server.
  const late = pooled.connect({ parameters: [["search_path", "x"]] });
  await waitUntil(() => server.accepted === 3, "the other client logs in");
  busy.destroy();
  await pooled.untilSessions(0);
  const shutdown = pooled.pooler.shutdown("smart");
  admitted.open();
  using client = await late;
  cancelled.open();
  await Promise.all([shutdown, cancel]);
  expect(pooled.pooler.counts).toMatchObject({ sessions: 0, logins: 0, servers: 0, waiting: 0 });
  await client.raw.closed;
});

test("of two reloads at once the later one counts, however long the earlier one reads", async () => {
  await using folder = await tempFolder();
  const files = await makeCertificates(folder.path);
  await using pooled = await Pooled.start(place.lab);
  const slow = pooled.reload({
    settings: {
      client_tls_sslmode: "require",
      client_tls_cert_file: files.server.certificateFile,
      client_tls_key_file: files.server.keyFile,
    },
  });
  await Promise.all([slow, pooled.reload({})]);
  using client = await pooled.connect();
  expect(await client.value("select 1")).toBe("1");
});

test("clients that leave while they wait for the first server do not keep their places", async () => {
  await using server = await ScriptedServer.start((peer) => peer.closed);
  await using pooled = await Pooled.start(place.lab, {
    settings: { max_client_conn: 3, superuser_reserved_connections: 0 },
    node: { host: "127.0.0.1", port: server.port },
  });
  for (let i = 0; i < 3; i++) {
    using client = await rawClient(pooled.place);
    client.sendStartup({ database: "postgres" });
    await pooled.untilWaiting(1);
  }
  await pooled.untilWaiting(0);
  using another = await rawClient(pooled.place);
  another.sendStartup({ database: "postgres" });
  await pooled.untilWaiting(1);
});

test("a minimum of servers that end as soon as they are there is not filled in a hurry", async () => {
  await using server = await ScriptedServer.start([
    async (peer) => {
      await welcome(peer);
      await peer.closed;
    },
    (peer) => welcome(peer),
  ]);
  await using pooled = await Pooled.start(place.lab, {
    settings: { min_pool_size: 3 },
    node: { host: "127.0.0.1", port: server.port },
  });
  using _client = await pooled.connect();
  await waitUntil(() => server.accepted > 5, "some servers have come and gone");
  const before = server.accepted;
  const sinceMs = performance.now();
  await sleep(500);
  // So many in half a second, however long it was.
  expect(server.accepted - before).toBeLessThan((20 * (performance.now() - sinceMs)) / 500);
});

test("busy pools that share a budget do not live on taking places from each other", async () => {
  await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 4 } });
  let stops = false;
  let units = 0;
  const work = async (digits: string): Promise<void> => {
    using client = await pooled.connect({ parameters: [["extra_float_digits", digits]] });
    while (!stops) {
      await client.run("select 1");
      units++;
    }
  };
  const clients = ["1", "1", "1", "1", "1", "1", "2", "2", "2", "2", "2", "2"].map(work);
  const sinceMs = performance.now();
  setTimeout(() => (stops = true), 1_000);
  await Promise.all(clients);
  const evicted = pooled.closeReasons.filter((reason) => reason === "evicted for pool_size").length;
  // So many in a second, however long it was.
  expect(evicted, `in ${units} units`).toBeLessThan((25 * (performance.now() - sinceMs)) / 1000);
});

test("a COPY that fails while its data wait to be sent does not leave its client unread", async () => {
  await place.lab.primary.query(`
    create table refusing (t text);
    create function refuse() returns trigger language plpgsql as
      $$ begin perform pg_sleep(0.5); raise exception 'no'; end $$;
    create trigger refuse before insert on refusing for each row execute function refuse()`);
  await using pooled = await Pooled.start(place.lab, { settings: { default_pool_size: 1 } });
  using client = await pooled.connect();
  client.send(query("copy refusing from stdin"));
  await client.raw.until("CopyInResponse");
  // Messages of 64 bytes: whatever was read ends with a whole one.
  const line = Buffer.from(`d\0\0\0\x3f${"x".repeat(58)}\n`, "latin1");
  const block = Buffer.alloc(64 * 1024, line);
  for (let i = 0; i < 100; i++) client.send(block);
  client.send({ kind: "CopyDone" }, query("select 1"));
  expect((await client.outcome()).error?.message).toBe("no");
  expect((await client.outcome()).rows).toEqual([["1"]]);
});
