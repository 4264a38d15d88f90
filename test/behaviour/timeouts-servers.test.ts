/** Servers that are slow, silent, full or old: how long they are waited for, and how long they are kept. */
import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../src/base/clock.ts";
import { type BackendMessage, sslRequest, TransactionStatus } from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import { type RawClient, rawClient } from "../kit/raw-client.ts";
import { type ScriptedPeer, ScriptedServer } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";
import { fatal, startPooler, type TestPooler, value } from "./login-pooler.ts";

const place = useLab();

type Settings = Readonly<Record<string, unknown>>;

interface Running extends AsyncDisposable {
  readonly pooler: TestPooler;
  readonly clock: VirtualClock;
}

async function running(node: Settings, settings: Settings): Promise<Running> {
  const clock = new VirtualClock();
  const config = { node, settings: { pool_mode: "transaction", ...settings } };
  const pooler = await startPooler(config, clock);
  return { pooler, clock, [Symbol.asyncDispose]: () => pooler[Symbol.asyncDispose]() };
}

function onLab(settings: Settings): Promise<Running> {
  const { host, port } = place.lab.primary;
  return running({ host, port }, settings);
}

const welcome: readonly BackendMessage[] = [
  { kind: "AuthenticationOk" },
  { kind: "ParameterStatus", name: "application_name", value: "" },
  { kind: "ReadyForQuery", status: TransactionStatus.idle },
];

/** A server that lets everybody in and answers nothing. */
async function welcoming(peer: ScriptedPeer): Promise<void> {
  await peer.expectStartup("startup");
  peer.send(...welcome);
  await peer.closed;
}

function refusing(code: string, message: string): (peer: ScriptedPeer) => Promise<void> {
  return async (peer) => {
    await peer.expectStartup("startup");
    peer.send({ kind: "ErrorResponse", fields: { severity: "FATAL", code, message } });
  };
}

async function pidOf(client: RawClient): Promise<string> {
  return String(await value(client, "select pg_backend_pid()"));
}

describe("server_connect_timeout", () => {
  test.each<[string, Settings, (peer: ScriptedPeer) => Promise<void>]>([
    ["says nothing", {}, async () => undefined],
    [
      "says nothing to SSLRequest",
      { server_tls_sslmode: "prefer" },
      async (peer) => {
        expect(await peer.stream.read(sslRequest.length, "SSLRequest")).toEqual(sslRequest);
      },
    ],
    [
      "agrees to TLS and leaves it at that",
      { server_tls_sslmode: "require" },
      async (peer) => {
        await peer.expectStartup("ssl");
        peer.send(Buffer.from("S"));
      },
    ],
    [
      "sends one byte of its answer",
      {},
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send(Buffer.from("R"));
      },
    ],
    [
      "never gets ready",
      {},
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send(...welcome.slice(0, 2));
      },
    ],
  ])("acceptance 103: a server that accepts and %s", async (_what, settings, script) => {
    await using server = await ScriptedServer.start(async (peer) => {
      await script(peer);
      await peer.closed;
    });
    await using here = await running({ port: server.port }, { server_connect_timeout: 0.2, ...settings });
    const client = await here.pooler.open();
    client.sendStartup();
    expect(await fatal(client)).toMatchObject({ severity: "FATAL", message: "connect timeout" });
    // The attempt has left nothing behind, and is not made again before `server_login_retry`.
    await waitUntil(() => server.peers.every(({ stream }) => stream.isClosed), "the connection is closed");
    expect(here.pooler.pooler.counts).toMatchObject({ servers: 0, sessions: 0, logins: 0, waiting: 0 });
    expect((await here.pooler.refusal()).message).toMatch(/cached error: connect timeout/);
    expect(server.accepted).toBe(1);
  });

  test("a port that nobody listens on is told at once, and to all who wait", async () => {
    const server = await ScriptedServer.start(welcoming);
    await server.stop();
    await using here = await running({ port: server.port }, {});
    const clients = await Promise.all(Array.from({ length: 5 }, () => here.pooler.open()));
    for (const client of clients) client.sendStartup();
    for (const client of clients) {
      expect((await fatal(client)).message).toMatch(/connect failed/);
    }
    expect(here.pooler.log).toContain("ECONNREFUSED");
    await here.pooler.untilNobodyIsLeft();
  });
});

describe("server_login_retry", () => {
  test("acceptance 97: a failed login is tried again after it, by one connection at first", async () => {
    await using server = await ScriptedServer.start([
      refusing("XX000", "no"),
      refusing("XX000", "no"),
      welcoming,
    ]);
    await using here = await running({ port: server.port }, { server_login_retry: 7 });
    expect(await here.pooler.refusal()).toMatchObject({ code: "XX000", message: "no" });
    here.clock.advance(6999);
    await here.pooler.untilTicked();
    expect((await here.pooler.refusal()).message).toMatch(/^server login has been failing, cached error: no/);
    expect(server.accepted).toBe(1);
    here.clock.advance(1);
    const clients = await Promise.all(Array.from({ length: 5 }, () => here.pooler.open()));
    for (const client of clients) client.sendStartup();
    for (const client of clients) expect((await fatal(client)).message).toMatch(/no/);
    expect(server.accepted).toBe(2);
    here.clock.advance(7000);
    const { client } = await here.pooler.login();
    expect(server.accepted).toBe(3);
    client.destroy();
  });

  test("acceptance 97: a server that is starting up is waited for, and asked again soon", async () => {
    const starting = refusing("57P03", "the database system is starting up");
    await using server = await ScriptedServer.start([starting, starting, welcoming]);
    await using here = await running({ port: server.port }, { server_login_retry: 15, query_wait_notify: 0 });
    const client = await here.pooler.open();
    client.sendStartup();
    for (const attempts of [2, 3]) {
      await waitUntil(() => server.accepted === attempts - 1, "it has been asked");
      await here.pooler.untilTicked();
      expect(server.accepted).toBe(attempts - 1);
      here.clock.advance(500);
      await waitUntil(() => server.accepted === attempts, "it is asked again");
    }
    await client.until("ReadyForQuery");
    client.destroy();
  });

  test("acceptance 97: who waits for a server that starts up waits no longer than for any other", async () => {
    await using server = await ScriptedServer.start(refusing("57P03", "the database system is starting up"));
    await using here = await running({ port: server.port }, { query_wait_timeout: 9, query_wait_notify: 0 });
    const client = await here.pooler.open();
    client.sendStartup();
    await waitUntil(
      () => server.accepted === 1 && here.pooler.pooler.counts.servers === 0,
      "it has been asked",
    );
    here.clock.advance(9000);
    expect(await fatal(client)).toMatchObject({ message: "query_wait_timeout" });
  });

  test("acceptance 97: a server that is full fails nobody while there are others", async () => {
    const administrator = await rawClient(place.lab.primary.port);
    await administrator.startup();
    await administrator.rows("create role narrow login connection limit 1");
    await using here = await onLab({ default_pool_size: 5 });
    const login = { user: "narrow", database: "postgres" };
    const { client: first } = await here.pooler.login(login);
    const { client: second } = await here.pooler.login(login);
    await first.rows("begin");
    second.send({ kind: "Query", sql: "select 'served after all'" });
    await waitUntil(
      () => here.pooler.log.includes("too many connections for role"),
      "the server refuses another one",
    );
    expect(here.pooler.pooler.counts.waiting).toBe(1);
    const refusals = (): number => here.pooler.log.split("server login failed").length - 1;
    // It is left alone for a while.
    await here.pooler.untilTicked();
    expect(refusals()).toBe(1);
    await first.rows("commit");
    const answer = await second.until("ReadyForQuery");
    expect(answer).toContainEqual({ kind: "DataRow", values: [Buffer.from("served after all")] });
    // With none at all, its own words are what clients get.
    await using other = await onLab({});
    expect(await other.pooler.refusal(login)).toMatchObject({
      severity: "FATAL",
      code: "53300",
      message: 'too many connections for role "narrow"',
    });
    for (const client of [first, second, administrator]) client.destroy();
  });
});

describe("how long servers are kept", () => {
  test("acceptance 18: server_idle_timeout closes those that nobody has used for so long, without any new client", async () => {
    await using here = await onLab({ server_idle_timeout: 60, default_pool_size: 3 });
    const { client: one } = await here.pooler.login();
    const { client: two } = await here.pooler.login();
    await Promise.all([one.rows("select pg_sleep(0.02)"), two.rows("select pg_sleep(0.02)")]);
    await waitUntil(() => here.pooler.pooler.counts.servers === 2, "two servers");
    here.clock.advance(59_000);
    await here.pooler.untilTicked();
    // The one used last is used again; the other one has had its time.
    await one.rows("select 1");
    here.clock.advance(1000);
    await waitUntil(() => here.pooler.pooler.counts.servers === 1, "one server is left");
    expect(here.pooler.log).toContain('"reason":"server_idle_timeout"');
    one.destroy();
    two.destroy();
  });

  test("min_pool_size is opened for a pool with clients, kept, and made up for", async () => {
    await using here = await onLab({ server_idle_timeout: 60, min_pool_size: 3 });
    const { client } = await here.pooler.login();
    await waitUntil(() => here.pooler.pooler.counts.servers === 3, "three servers");
    here.clock.advance(100_000);
    await here.pooler.untilTicked();
    expect(here.pooler.pooler.counts.servers).toBe(3);
    await client.rows(
      "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'",
    );
    await waitUntil(
      () => here.pooler.log.split("new connection to server").length - 1 >= 5,
      "two new servers",
    );
    await waitUntil(() => here.pooler.pooler.counts.servers === 3, "three servers again");
    // Without clients they go.
    await client.close();
    here.clock.advance(60_000);
    await waitUntil(() => here.pooler.pooler.counts.servers === 0, "all are closed");
  });

  test("server_lifetime closes old ones: at once if idle, else when they are given back", async () => {
    await using here = await onLab({ server_lifetime: 100, default_pool_size: 2 });
    const { client: idle } = await here.pooler.login();
    const { client: busy } = await here.pooler.login();
    await busy.rows("begin");
    const first = await pidOf(idle);
    const second = await pidOf(busy);
    here.clock.advance(100_000);
    await waitUntil(() => here.pooler.pooler.counts.servers === 1, "the idle one is closed");
    expect(await pidOf(busy)).toBe(second);
    await busy.rows("commit");
    const pids = [await pidOf(idle), await pidOf(busy)];
    for (const old of [first, second]) expect(pids).not.toContain(old);
    idle.destroy();
    busy.destroy();
  });

  test("server_lifetime = 0: each server is used once", async () => {
    await using here = await onLab({ server_lifetime: 0 });
    const { client } = await here.pooler.login();
    const pids = [await pidOf(client), await pidOf(client), await pidOf(client)];
    expect(new Set(pids).size).toBe(3);
    client.destroy();
  });

  test("acceptance 59: a template database keeps no connection", async () => {
    await using here = await onLab({});
    const { client } = await here.pooler.login({ database: "template1" });
    expect(await value(client, "select current_database()")).toBe("template1");
    await client.close();
    await waitUntil(() => here.pooler.pooler.counts.servers === 0, "the server is closed");
    const { client: creator } = await here.pooler.login();
    await creator.rows("create database from_template");
    await creator.rows("drop database from_template");
    creator.destroy();
  });

  test("acceptance 97: a server that ends by itself is replaced, and idle clients notice nothing", async () => {
    await using here = await onLab({ default_pool_size: 2 });
    const { client } = await here.pooler.login();
    const before = await pidOf(client);
    const administrator = await rawClient(place.lab.primary.port);
    await administrator.startup();
    await administrator.rows(`select pg_terminate_backend(${before})`);
    await waitUntil(() => here.pooler.pooler.counts.servers === 0, "it is gone");
    expect(await pidOf(client)).not.toBe(before);
    client.destroy();
    administrator.destroy();
  });
});
