/** Time limits on clients. The clock is moved by hand: no test waits for a limit to pass. */
import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../src/base/clock.ts";
import { connectOptions, SimpleClient } from "../../src/client/index.ts";
import {
  type BackendMessage,
  encodeStartup,
  gssencRequest,
  protocolVersion30,
  sslRequest,
} from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import { type RawClient, rawClient } from "../kit/raw-client.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { errorOf, fatal, startPooler, type TestPooler, value } from "./login-pooler.ts";

const place = useLab();

const startup = encodeStartup(protocolVersion30, [["user", "postgres"]]);
/** A name whose spelling only a server knows, so that its login needs one. */
const asksServer = [["application_name", "ünïcode"]] as const;
const queued = "No server connection available in postgres backend, client being queued";

async function timed(
  settings: Readonly<Record<string, unknown>>,
): Promise<{ pooler: TestPooler; clock: VirtualClock } & AsyncDisposable> {
  const clock = new VirtualClock();
  const pooler = await startPooler(
    {
      node: place.lab.primary,
      settings: { pool_mode: "transaction", default_pool_size: 1, ...settings },
      users: { postgres: { password: "secret" } },
    },
    clock,
  );
  return { pooler, clock, [Symbol.asyncDispose]: () => pooler[Symbol.asyncDispose]() };
}

/** What a connection to PostgreSQL itself sees. */
async function direct(sql: string): Promise<string | null | undefined> {
  const client = await rawClient(place.lab.primary.port);
  await client.startup();
  const found = await value(client, sql);
  await client.close();
  return found;
}

async function untilRunning(sql: string): Promise<void> {
  const count = `select count(*) from pg_stat_activity where query = '${sql}' and state = 'active'`;
  await waitToSee(
    () => direct(count),
    (found) => found === "1",
    `${sql} runs`,
  );
}

function notices(messages: readonly BackendMessage[]): string[] {
  return messages.flatMap((message) => (message.kind === "NoticeResponse" ? [message.fields.message] : []));
}

describe("client_login_timeout", () => {
  test.each([
    ["nothing", Buffer.alloc(0)],
    ["half a length", startup.subarray(0, 2)],
    ["half a startup packet", startup.subarray(0, 12)],
    ["requests for encryption alone", Buffer.concat([gssencRequest, sslRequest])],
  ])("acceptance 29: silence for who has sent %s", async (_what, bytes) => {
    await using running = await timed({ client_login_timeout: 5 });
    const { pooler, clock } = running;
    const client = await pooler.open();
    client.send(bytes);
    const answers = bytes.length > 12 ? 2 : 0;
    await client.stream.read(answers, "the answers");
    await waitUntil(() => pooler.pooler.counts.logins === 1, "it is there");
    clock.advance(4999);
    await pooler.untilTicked();
    expect(client.isClosed).toBe(false);
    clock.advance(1);
    expect(await client.stream.readToEnd()).toEqual(Buffer.alloc(0));
    await pooler.untilNobodyIsLeft();
  });

  test.each(["password", "md5", "scram-sha-256"])(
    "acceptance 29: a message for who owes the password, by %s",
    async (method) => {
      await using running = await timed({ client_login_timeout: 5, auth_type: method });
      const { pooler, clock } = running;
      const client = await pooler.open();
      // The deadline is one for all: reading the startup packet late does not move it.
      await waitUntil(() => pooler.pooler.counts.logins === 1, "it is there");
      clock.advance(4000);
      client.send(startup);
      await client.next();
      clock.advance(1000);
      expect(await fatal(client)).toMatchObject({
        severity: "FATAL",
        code: "57014",
        message: "client_login_timeout",
      });
      await pooler.untilNobodyIsLeft();
    },
  );

  test("acceptance 29: and for who waits for a server to be greeted by", async () => {
    await using running = await timed({ client_login_timeout: 5, query_wait_notify: 0 });
    const { pooler, clock } = running;
    const { client: first } = await pooler.login();
    await first.rows("begin");
    const client = await pooler.open();
    client.sendStartup({ parameters: asksServer });
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "it waits");
    clock.advance(5000);
    expect(await fatal(client)).toMatchObject({ code: "57014", message: "client_login_timeout" });
    expect(pooler.pooler.counts.waiting).toBe(0);
    first.destroy();
  });

  test("acceptance 29, 96: who can only be refused has ten seconds", async () => {
    await using running = await timed({
      client_login_timeout: 60,
      max_client_conn: 1,
      superuser_reserved_connections: 0,
    });
    const { pooler, clock } = running;
    const counted = [await pooler.open(), await pooler.open()];
    await waitUntil(() => pooler.pooler.counts.logins === 2, "every place is taken");
    const deadEnd = await pooler.open();
    await waitUntil(() => pooler.pooler.counts.logins === 3, "one more is there");
    clock.advance(10_000);
    expect(await deadEnd.stream.readToEnd()).toEqual(Buffer.alloc(0));
    expect(pooler.pooler.counts.logins).toBe(2);
    for (const client of counted) client.destroy();
  });

  test("a client that is logged in has no such deadline; 0 means none", async () => {
    await using running = await timed({ client_login_timeout: 0 });
    const { pooler, clock } = running;
    const { client } = await pooler.login();
    const silent = await pooler.open();
    await waitUntil(() => pooler.pooler.counts.logins === 1, "it is there");
    clock.advance(1_000_000);
    await pooler.untilTicked();
    await silent.startup();
    expect(await value(client, "select 1")).toBe("1");
    client.destroy();
    silent.destroy();
  });
});

describe("waiting for a server", () => {
  test("query_wait_timeout ends a client that waits, and the statement never runs", async () => {
    await using running = await timed({ query_wait_timeout: 8, query_wait_notify: 0 });
    const { pooler, clock } = running;
    const { client: first } = await pooler.login();
    const { client } = await pooler.login();
    await first.rows("begin");
    client.send({ kind: "Query", sql: "create table never_made ()" });
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "it waits");
    clock.advance(7999);
    await pooler.untilTicked();
    expect(client.isClosed).toBe(false);
    clock.advance(1);
    expect(await fatal(client)).toMatchObject({
      severity: "FATAL",
      code: "53300",
      message: "query_wait_timeout",
    });
    await first.rows("commit");
    expect(await direct("select to_regclass('never_made')")).toBeNull();
    first.destroy();
  });

  test("query_wait_timeout ends a login that waits, in the order of their coming", async () => {
    await using running = await timed({ query_wait_timeout: 8, query_wait_notify: 0 });
    const { pooler, clock } = running;
    const { client: first } = await pooler.login();
    await first.rows("begin");
    const login = await pooler.open();
    login.sendStartup({ parameters: asksServer });
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "one waits");
    clock.advance(5000);
    const { client: later } = await pooler.login();
    later.send({ kind: "Query", sql: "select 'served'" });
    await waitUntil(() => pooler.pooler.counts.waiting === 2, "two wait");
    clock.advance(3000);
    expect(await fatal(login)).toMatchObject({ message: "query_wait_timeout" });
    await first.rows("commit");
    expect((await later.until("ReadyForQuery")).some(({ kind }) => kind === "DataRow")).toBe(true);
    first.destroy();
    later.destroy();
  });

  test("query_wait_notify tells a client once that it is queued", async () => {
    await using running = await timed({ query_wait_notify: 5, query_wait_timeout: 120 });
    const { pooler, clock } = running;
    const { client: first } = await pooler.login();
    const { client } = await pooler.login();
    await first.rows("begin");
    client.send({ kind: "Query", sql: "select 'at last'" });
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "it waits");
    clock.advance(5000);
    expect(await client.next()).toMatchObject({
      kind: "NoticeResponse",
      fields: { severity: "NOTICE", code: "00000", message: queued },
    });
    clock.advance(5000);
    await pooler.untilTicked();
    await first.rows("commit");
    const answer = await client.until("ReadyForQuery");
    expect(notices(answer)).toEqual([]);
    expect(answer).toContainEqual({ kind: "DataRow", values: [Buffer.from("at last")] });
    first.destroy();
    client.destroy();
  });

  test("acceptance 52: a login that waits hears of it only after AuthenticationOk, as libpq demands", async () => {
    await using running = await timed({ query_wait_notify: 5, auth_type: "scram-sha-256" });
    const { pooler, clock } = running;
    const { client: first } = await pooler.login({ password: "secret" });
    await first.rows("begin");
    const raw = await pooler.open();
    const session = raw.startup({ password: "secret", parameters: asksServer });
    const strict = SimpleClient.connect(
      connectOptions({
        hosts: [{ host: "127.0.0.1", port: pooler.port }],
        user: "postgres",
        password: "secret",
        sslmode: "disable",
        parameters: [["application_name", "ebenso ünïcode"]],
      }),
    );
    await waitUntil(() => pooler.pooler.counts.waiting === 2, "both wait");
    clock.advance(5000);
    await pooler.untilTicked();
    await first.rows("commit");
    const { messages } = await session;
    const kinds = messages.map(({ kind }) => kind).filter((kind, index, all) => kind !== all[index - 1]);
    expect(kinds.slice(kinds.indexOf("AuthenticationOk"))).toEqual([
      "AuthenticationOk",
      "NoticeResponse",
      "BackendKeyData",
      "ParameterStatus",
      "ReadyForQuery",
    ]);
    expect(notices(messages)).toEqual([queued]);
    const client = await strict;
    expect(client.connection.notices.map(({ message }) => message)).toEqual([queued]);
    await client.close();
    raw.destroy();
    first.destroy();
  });

  test("0 switches both off", async () => {
    await using running = await timed({ query_wait_notify: 0, query_wait_timeout: 0 });
    const { pooler, clock } = running;
    const { client: first } = await pooler.login();
    const { client } = await pooler.login();
    await first.rows("begin");
    client.send({ kind: "Query", sql: "select 'at last'" });
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "it waits");
    clock.advance(1_000_000);
    await pooler.untilTicked();
    await first.rows("commit");
    expect(notices(await client.until("ReadyForQuery"))).toEqual([]);
    first.destroy();
    client.destroy();
  });
});

describe("clients that are logged in", () => {
  /** SQLSTATEs of PostgreSQL's own limits: statement_timeout, idle_in_transaction_session_timeout, idle_session_timeout. */
  const sqlstates = {
    "query timeout": "57014",
    "idle transaction timeout": "25P03",
    client_idle_timeout: "57P05",
  } as const;

  /** The client is told why and its connection closed; nobody else notices anything. */
  async function endsWith(client: RawClient, message: keyof typeof sqlstates): Promise<void> {
    expect(await fatal(client)).toMatchObject({ severity: "FATAL", code: sqlstates[message], message });
  }

  test.each(["transaction", "session"])("client_idle_timeout, in mode %s", async (mode) => {
    await using running = await timed({ client_idle_timeout: 60, pool_mode: mode, default_pool_size: 2 });
    const { pooler, clock } = running;
    const { client: silent } = await pooler.login();
    const { client: talking } = await pooler.login();
    expect(await value(silent, "select 1")).toBe("1");
    clock.advance(59_000);
    await pooler.untilTicked();
    expect(await value(talking, "select 1")).toBe("1");
    clock.advance(1000);
    await endsWith(silent, "client_idle_timeout");
    expect(await value(talking, "select 1")).toBe("1");
    talking.destroy();
    await pooler.untilNobodyIsLeft();
  });

  test("client_idle_timeout does not end who waits for an answer, or has a transaction open", async () => {
    await using running = await timed({ client_idle_timeout: 60, default_pool_size: 2 });
    const { pooler, clock } = running;
    const { client: running1 } = await pooler.login();
    const { client: open } = await pooler.login();
    const { client: waiting } = await pooler.login();
    const gate = await rawClient(place.lab.primary.port);
    await gate.startup();
    await gate.rows("select pg_advisory_lock(11)");
    await open.rows("begin");
    running1.send({ kind: "Query", sql: "select pg_advisory_lock(11), pg_advisory_unlock(11)" });
    await untilRunning("select pg_advisory_lock(11), pg_advisory_unlock(11)");
    waiting.send({ kind: "Query", sql: "select 1" });
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "it waits");
    clock.advance(61_000);
    await pooler.untilTicked();
    await gate.rows("select pg_advisory_unlock(11)");
    expect((await running1.until("ReadyForQuery")).some(({ kind }) => kind === "DataRow")).toBe(true);
    await waiting.until("ReadyForQuery");
    await open.rows("commit");
    for (const client of [running1, open, waiting, gate]) client.destroy();
  });

  test.each(["transaction", "session"])("idle_transaction_timeout, in mode %s", async (mode) => {
    await using running = await timed({ idle_transaction_timeout: 30, pool_mode: mode });
    const { pooler, clock } = running;
    const { client } = await pooler.login();
    await client.rows("begin; create table of_no_transaction ()");
    const pid = await value(client, "select pg_backend_pid()");
    clock.advance(29_000);
    await pooler.untilTicked();
    // Whoever works is not idle.
    expect(await value(client, "select 1")).toBe("1");
    clock.advance(29_000);
    await pooler.untilTicked();
    expect(client.isClosed).toBe(false);
    clock.advance(1000);
    await endsWith(client, "idle transaction timeout");
    expect(await direct("select to_regclass('of_no_transaction')")).toBeNull();
    const { client: next } = await pooler.login();
    expect(await value(next, "select pg_backend_pid()")).not.toBe(pid);
    next.destroy();
  });

  test("query_timeout ends the client, and its statement on the server", async () => {
    await using running = await timed({ query_timeout: 20, default_pool_size: 2 });
    const { pooler, clock } = running;
    const { client } = await pooler.login();
    const { client: other } = await pooler.login();
    client.send({ kind: "Query", sql: "select pg_sleep(62)" });
    await untilRunning("select pg_sleep(62)");
    await pooler.untilTicked();
    clock.advance(19_999);
    await pooler.untilTicked();
    expect(client.isClosed).toBe(false);
    clock.advance(1);
    await endsWith(client, "query timeout");
    const count =
      "select count(*) from pg_stat_activity where query = 'select pg_sleep(62)' and state = 'active'";
    await waitUntil(async () => (await direct(count)) === "0", "the statement has ended");
    expect(await value(other, "select 1")).toBe("1");
    other.destroy();
  });

  test("without limits nobody is ended", async () => {
    await using running = await timed({ default_pool_size: 2 });
    const { pooler, clock } = running;
    const { client } = await pooler.login();
    const { client: open } = await pooler.login();
    await open.rows("begin");
    clock.advance(1_000_000);
    await pooler.untilTicked();
    expect(await value(client, "select 1")).toBe("1");
    expect(await value(open, "select 1")).toBe("1");
    client.destroy();
    open.destroy();
  });

  test("sqlstate_compat and the logs: a time limit is told to the client and to the log", async () => {
    await using running = await timed({ client_idle_timeout: 10, sqlstate_compat: "pgbouncer" });
    const { pooler, clock } = running;
    const { client } = await pooler.login();
    clock.advance(10_000);
    expect(errorOf((await client.rest()).at(-1)).code).toBe("08P01");
    expect(pooler.log).toMatch(/"reason":"client_idle_timeout".*"msg":"pooler error"/);
    expect(pooler.log).toMatch(/"reason":"client_idle_timeout".*"msg":"closing client"/);
  });
});
