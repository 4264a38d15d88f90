/** Who is let in: exact limits, places for administrators, states of the pooler, and floods. */
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { Admission, type RunState } from "../../src/session/admission.ts";
import { encodeStartup, gssencRequest, protocolVersion30, sslRequest } from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import { type RawClient, rawCancel, rawClient } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { errorOf, fatal, sendSlowly, startPooler, type TestConfig, value } from "./login-pooler.ts";

const place = useLab();

const full = {
  severity: "FATAL",
  code: "53300",
  message: "no more connections allowed (max_client_conn)",
};
const startup = encodeStartup(protocolVersion30, [["user", "postgres"]]);
/** A name whose spelling only a server knows, so that its login needs one. */
const asksServer = [["application_name", "ünïcode"]] as const;

function limited(sessions: number, reserved = 0, settings: TestConfig["settings"] = {}): TestConfig {
  return {
    node: place.lab.primary,
    settings: {
      pool_mode: "transaction",
      max_client_conn: sessions,
      superuser_reserved_connections: reserved,
      // All at once: a full backlog would cost each connection a second.
      listen_backlog: 2000,
      ...settings,
    },
    databases: { "*": { user: "postgres" } },
  };
}

function openMany(count: number, port: number): Promise<RawClient[]> {
  return Promise.all(Array.from({ length: count }, () => rawClient(port)));
}

function leave(clients: readonly RawClient[]): void {
  for (const client of clients) client.destroy();
}

describe("sessions", () => {
  test("acceptance 93-96: as many as max_client_conn allows, exactly, and superuser_reserved_connections for administrators", async () => {
    await using pooler = await startPooler(limited(3, 2, { admin_users: ["chief"] }));
    const ordinary = await Promise.all([1, 2, 3].map(() => pooler.login()));
    expect(await pooler.refusal()).toEqual(full);
    const chiefs = await Promise.all([1, 2].map(() => pooler.login({ user: "chief", database: "postgres" })));
    expect(await pooler.refusal({ user: "chief", database: "postgres" })).toEqual(full);
    expect(await pooler.refusal()).toEqual(full);
    // A place of an administrator that comes free is nobody else's.
    await chiefs[0]?.client.close();
    expect(await pooler.refusal()).toEqual(full);
    const { client: chief } = await pooler.login({ user: "chief", database: "postgres" });
    await ordinary[0]?.client.close();
    await chief.close();
    // As with PostgreSQL's reserved places, an administrator takes an ordinary one if there is one.
    expect(await pooler.refusal()).toEqual(full);
    await chiefs[1]?.client.close();
    const { client: next } = await pooler.login();
    expect(await value(next, "select 1")).toBe("1");
    expect(pooler.pooler.counts.sessions).toBe(3);
    leave([next, ...[...ordinary, ...chiefs].map(({ client }) => client)]);
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 95, 96: of many that come at once exactly the limit gets in", async () => {
    await using pooler = await startPooler(limited(15));
    const clients = await openMany(30, pooler.port);
    for (const client of clients) client.send(startup);
    const lasts = await Promise.all(
      clients.map(async (client) => {
        for (;;) {
          const message = await client.next();
          if (message.kind === "ReadyForQuery" || message.kind === "ErrorResponse") return message;
        }
      }),
    );
    const refused = lasts.filter(({ kind }) => kind === "ErrorResponse");
    expect(refused).toHaveLength(15);
    for (const refusal of refused) expect(errorOf(refusal)).toMatchObject(full);
    expect(pooler.pooler.counts.sessions).toBe(15);
    leave(clients);
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 96: a limit that a reload lowers ends nobody, and nobody's login", async () => {
    await using pooler = await startPooler(limited(5, 0, { default_pool_size: 1 }));
    const { client: first } = await pooler.login();
    await first.rows("begin");
    const waiting = await pooler.open();
    waiting.sendStartup({ parameters: asksServer });
    await waitUntil(() => pooler.pooler.counts.waiting === 1, "a login waits for a server");
    await pooler.reload(limited(1, 0, { default_pool_size: 1 }));
    expect(await pooler.refusal()).toEqual(full);
    await first.rows("commit");
    await waiting.until("ReadyForQuery");
    expect(await value(waiting, "select 1")).toBe("1");
    await first.close();
    expect(await pooler.refusal()).toEqual(full);
    await waiting.close();
    await pooler.untilNobodyIsLeft();
    const { client: next } = await pooler.login();
    next.destroy();
  });

  test("sqlstate_compat makes every refusal of the pooler look like PgBouncer's", async () => {
    await using pooler = await startPooler(limited(1, 0, { sqlstate_compat: "pgbouncer" }));
    const { client } = await pooler.login();
    expect(await pooler.refusal()).toEqual({ ...full, code: "08P01" });
    const nameless = await pooler.open();
    nameless.send(encodeStartup(protocolVersion30, []));
    expect((await fatal(nameless)).code).toBe("08P01");
    client.destroy();
  });

  test("clients of a database that a reload removes are told so, and led nowhere else", async () => {
    const before = {
      ...limited(10),
      databases: { app: { dbname: "postgres" }, other: { dbname: "postgres" } },
    };
    await using pooler = await startPooler(before);
    const { client } = await pooler.login({ database: "app" });
    expect(await value(client, "select 1")).toBe("1");
    const { client: running, session } = await pooler.login({ database: "app" });
    const sleeping = running.query("select pg_sleep(66)");
    const { client: other } = await pooler.login({ database: "other" });
    const count =
      "select count(*) from pg_stat_activity where query = 'select pg_sleep(66)' and state = 'active'";
    await waitUntil(async () => (await value(other, count)) === "1", "the statement runs");
    await pooler.reload({ ...before, databases: { other: { dbname: "postgres" } } });
    // What runs there may end, or be cancelled.
    await rawCancel(pooler.port, session);
    expect(errorOf((await sleeping).find(({ kind }) => kind === "ErrorResponse"))).toMatchObject({
      code: "57014",
    });
    expect((await pooler.refusal({ database: "app" })).message).toBe("no such database: app");
    client.send({ kind: "Query", sql: "select 1" });
    expect(await fatal(client)).toMatchObject({
      severity: "FATAL",
      code: "3D000",
      message: "database removed",
    });
    expect(await value(other, "select 1")).toBe("1");
    leave([other, running]);
  });
});

describe("logins", () => {
  test("acceptance 95, 96: twice the limit may be logging in; beyond that they are told so", async () => {
    await using pooler = await startPooler(limited(2));
    const silent = await openMany(4, pooler.port);
    await waitUntil(() => pooler.pooler.counts.logins === 4, "four are logging in");
    const deadEnd = await pooler.open();
    deadEnd.send(startup);
    expect(await fatal(deadEnd)).toMatchObject(full);
    // What is not a startup packet is still answered.
    const asking = await pooler.open();
    asking.send(gssencRequest, sslRequest);
    expect((await asking.stream.read(2, "two answers")).toString()).toBe("NN");
    asking.destroy();
    // A place that comes free is taken by the next one.
    silent[0]?.destroy();
    await waitUntil(() => pooler.pooler.counts.logins === 3, "three are logging in");
    const { client } = await pooler.login();
    leave([client, ...silent]);
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 39, 72, 96: a cancel request needs no place, and says nothing", async () => {
    await using pooler = await startPooler(limited(1));
    const { client, session } = await pooler.login();
    const silent = await openMany(2, pooler.port);
    await waitUntil(() => pooler.pooler.counts.logins === 2, "every place is taken");
    const sleeping = client.query("select pg_sleep(60)");
    const watcher = await rawClient(place.lab.primary.port);
    await watcher.startup();
    const running =
      "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'";
    await waitUntil(async () => (await value(watcher, running)) === "1", "the statement runs");
    await rawCancel(pooler.port, session);
    expect(errorOf((await sleeping).find(({ kind }) => kind === "ErrorResponse"))).toMatchObject({
      code: "57014",
    });
    leave([client, watcher, ...silent]);
  });

  test("acceptance 72, 96: a flood of half-open connections keeps no cancel request out", async () => {
    await using pooler = await startPooler(limited(1));
    const { client, session } = await pooler.login();
    const sleeping = client.query("select pg_sleep(61)");
    // More than the pooler keeps of those that can only be refused: 4 places and 1,000.
    const flood: RawClient[] = [];
    for (let batch = 0; batch < 11; batch++) flood.push(...(await openMany(100, pooler.port)));
    await waitUntil(() => flood.filter(({ isClosed }) => isClosed).length > 90, "the oldest have given way");
    expect(pooler.pooler.counts.logins).toBeLessThanOrEqual(1004);
    const watcher = await rawClient(place.lab.primary.port);
    await watcher.startup();
    const running =
      "select count(*) from pg_stat_activity where query = 'select pg_sleep(61)' and state = 'active'";
    await waitUntil(async () => (await value(watcher, running)) === "1", "the statement runs");
    await rawCancel(pooler.port, session);
    expect(errorOf((await sleeping).find(({ kind }) => kind === "ErrorResponse"))).toMatchObject({
      code: "57014",
    });
    expect(await value(client, "select 'still here'")).toBe("still here");
    leave([client, watcher, ...flood]);
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 103, 106: hundreds of half-open logins delay nobody, and may go on when they like", async () => {
    await using pooler = await startPooler(limited(400, 0, { auth_type: "trust" }));
    const halfOpen = await openMany(300, pooler.port);
    for (const [index, client] of halfOpen.entries())
      client.send(startup.subarray(0, index % startup.length));
    const busy = Array.from({ length: 20 }, async (_, number) => {
      const { client } = await pooler.login();
      expect(await value(client, `select ${number}`)).toBe(String(number));
      await client.close();
    });
    await Promise.all(busy);
    for (const [index, client] of halfOpen.entries()) client.send(startup.subarray(index % startup.length));
    await Promise.all(halfOpen.map((client) => client.until("ReadyForQuery")));
    expect(pooler.pooler.counts).toMatchObject({ sessions: 300, logins: 0 });
    leave(halfOpen);
    await pooler.untilNobodyIsLeft();
  });

  test("acceptance 103: a login may stop anywhere, and others are served", async () => {
    await using pooler = await startPooler({
      ...limited(20, 0, { auth_type: "scram-sha-256" }),
      users: { postgres: { password: "secret" } },
    });
    const stopped = await openMany(6, pooler.port);
    const steps: Buffer[] = [
      Buffer.alloc(0),
      startup.subarray(0, 2),
      startup.subarray(0, startup.length - 1),
      Buffer.concat([gssencRequest, startup.subarray(0, 5)]),
      startup,
      Buffer.concat([startup, Buffer.from("p\0\0")]),
    ];
    for (const [index, client] of stopped.entries()) client.send(steps[index] ?? Buffer.alloc(0));
    const { client } = await pooler.login({ password: "secret" });
    expect(await value(client, "select 1")).toBe("1");
    expect(pooler.pooler.counts).toMatchObject({ logins: 6, sessions: 1 });
    leave([client, ...stopped]);
    await pooler.untilNobodyIsLeft();
  });
});

describe("states", () => {
  test("acceptance 93, 94: states of the system come before the count, in PostgreSQL's order", () => {
    const admission = new Admission({ sessionsMax: 1, reserved: 0 });
    const answers: Record<RunState, string> = {
      starting: "starting",
      shutting_down: "shutting_down",
      recovering: "recovering",
      running: "ok",
    };
    expect(admission.state).toBe("starting");
    for (const [state, answer] of Object.entries(answers)) {
      admission.state = state as RunState;
      expect(admission.check(true)).toBe(answer);
      expect(admission.check(false)).toBe(state === "running" ? "too_many" : answer);
    }
  });

  test("acceptance 93, 94: while it shuts down, that is what they are told, full or not", async () => {
    await using pooler = await startPooler(limited(1));
    const { client } = await pooler.login();
    const early = await openMany(3, pooler.port);
    await waitUntil(
      () => pooler.pooler.counts.logins === 3,
      "three have connected, one of them beyond the limit",
    );
    const stopped = pooler.pooler.shutdown("smart");
    for (const waiting of early) {
      waiting.send(startup);
      expect(await fatal(waiting)).toMatchObject({
        severity: "FATAL",
        code: "57P03",
        message: "pooler is shutting down",
      });
    }
    await expect(rawClient(pooler.port)).rejects.toThrow("ECONNREFUSED");
    expect(await value(client, "select 'goes on'")).toBe("goes on");
    await client.close();
    await stopped;
  });

  test("acceptance 93, 94: in recovery new sessions are refused, those that are there go on", async () => {
    await using pooler = await startPooler(limited(5));
    const { client } = await pooler.login();
    pooler.pooler.enterRecovery();
    expect(await pooler.refusal()).toEqual({
      severity: "FATAL",
      code: "57P03",
      message: "the database system is in recovery mode",
    });
    expect(await value(client, "select 1")).toBe("1");
    pooler.pooler.resume();
    const { client: next } = await pooler.login();
    leave([client, next]);
  });
});

describe("accepting", () => {
  test("acceptance 24, 26: who connects is logged, with address and port", async () => {
    await using pooler = await startPooler(limited(5));
    const client = await pooler.open();
    await waitUntil(() => pooler.log.includes("connection received"), "the connection is logged");
    expect(pooler.log).toMatch(/"peer":"127\.0\.0\.1:\d+","msg":"connection received"/);
    client.destroy();
    await using quiet = await startPooler(limited(5, 0, { log_connections: false }));
    const { client: unlogged } = await quiet.login();
    expect(quiet.log).not.toContain("connection received");
    unlogged.destroy();
  });

  test.runIf(process.platform === "linux")(
    "acceptance 25: connections over TCP send keep-alive probes, unless that is switched off",
    async () => {
      for (const enabled of [true, false]) {
        await using pooler = await startPooler(limited(5, 0, { tcp_keepalive: enabled }));
        const { client } = await pooler.login();
        expect(await value(client, "select 1")).toBe("1");
        await waitUntil(
          async () => (await keepAliveTimer(pooler.port)) === enabled,
          `the keep-alive timer of the accepted socket is ${enabled ? "on" : "off"}`,
        );
        client.destroy();
      }
    },
  );

  test("acceptance 106: a client that sends slowly all the way gets its answer", async () => {
    await using pooler = await startPooler(limited(5));
    const client = await pooler.open();
    await sendSlowly(client, Buffer.concat([startup, Buffer.from("Q\0\0\0\x0dselect 1\0")]));
    await client.until("ReadyForQuery");
    expect(await client.until("ReadyForQuery")).toContainEqual({
      kind: "DataRow",
      values: [Buffer.from("1")],
    });
    client.destroy();
  });
});

/** Whether an accepted socket of this port runs a keep-alive timer (proc(5), /proc/net/tcp: timer 2). */
async function keepAliveTimer(port: number): Promise<boolean> {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const established = "01";
  const rows = (await readFile("/proc/net/tcp", "utf8")).split("\n").map((row) => row.trim().split(/\s+/));
  return rows.some(
    ([, from, , state, , timer]) => from === local && state === established && timer?.startsWith("02:"),
  );
}
