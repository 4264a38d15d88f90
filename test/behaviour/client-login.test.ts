/** The client against real PostgreSQL: every way to log in, over TCP and Unix sockets; errors; cancel requests. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { beforeAll, describe, expect, test } from "vitest";
import { saltedPassword } from "../../src/auth/pbkdf2.ts";
import { connectOptionsFromConninfo } from "../../src/client/conninfo/conninfo.ts";
import {
  type ConnectOptions,
  cancelBackend,
  Handshake,
  type HandshakeResult,
  openConnection,
  SimpleClient,
} from "../../src/client/index.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";

const shared = useLab({
  auth: [
    "local all with_md5 md5",
    "local all with_scram scram-sha-256",
    "local all all trust",
    "host all with_password 127.0.0.1/32 password",
    "host all with_md5 127.0.0.1/32 md5",
    "host all with_scram 127.0.0.1/32 scram-sha-256",
    "host all rejected 127.0.0.1/32 reject",
    "host all all 127.0.0.1/32 trust",
  ],
});

const password = "gehéim word";

function options(text: string, given: Partial<ConnectOptions> = {}): ConnectOptions {
  const { host, port } = shared.lab.primary;
  return { ...connectOptionsFromConninfo(`host=${host} port=${port} dbname=postgres ${text}`), ...given };
}

const overUnixSocket = (text: string): ConnectOptions =>
  options(`${text} host=${shared.lab.primary.socketFolder}`);

async function whoAmI(connect: ConnectOptions): Promise<string | null | undefined> {
  await using client = await SimpleClient.connect(connect);
  const { rows } = await client.query("SELECT current_user");
  return rows[0]?.[0];
}

beforeAll(async () => {
  await using client = await SimpleClient.connect(options("user=postgres"));
  await client.query(`
    CREATE ROLE with_password LOGIN PASSWORD '${password}';
    CREATE ROLE with_scram LOGIN PASSWORD '${password}';
    CREATE ROLE rejected LOGIN;
    CREATE ROLE one_at_a_time LOGIN CONNECTION LIMIT 1;
    SET password_encryption = 'md5';
    CREATE ROLE with_md5 LOGIN PASSWORD '${password}';
  `);
});

describe("logins", () => {
  test.each(["with_password", "with_md5", "with_scram"])("acceptance 76: as %s, over TCP", async (user) => {
    expect(await whoAmI(options(`user=${user} password='${password}'`))).toBe(user);
  });

  test.each(["postgres", "with_md5", "with_scram"])(
    "acceptance 74: a host that begins with a slash is the folder of a Unix socket: as %s",
    async (user) => {
      expect(await whoAmI(overUnixSocket(`user=${user} password='${password}'`))).toBe(user);
    },
  );

  test.each(["3.0", "3.2"])("protocol %s, and its cancel key", async (version) => {
    await using client = await SimpleClient.connect(options(`user=postgres max_protocol_version=${version}`));
    const { protocolVersion, cancelKey, backendPid, parameters } = client.connection;
    expect(protocolVersion & 0xffff).toBe(version === "3.0" ? 0 : 2);
    expect(cancelKey).toHaveLength(version === "3.0" ? 4 : 32);
    expect((await client.query("SELECT pg_backend_pid()")).rows).toEqual([[String(backendPid)]]);
    expect(parameters.get("server_version")).toMatch(/^18/);
  });

  test("the keys of a SCRAM login stand for the password in the next one", async () => {
    const first = await openConnection(options(`user=with_scram password='${password}'`));
    first.transport.destroy();
    expect(first.scramKeys).toBeDefined();
    expect(await whoAmI(options("user=with_scram", { scramKeys: first.scramKeys }))).toBe("with_scram");
  });

  test("the stored hash stands for the password where the server asks for md5", async () => {
    await using client = await SimpleClient.connect(options("user=postgres"));
    const { rows } = await client.query("SELECT rolpassword FROM pg_authid WHERE rolname = 'with_md5'");
    const md5Hash = rows[0]?.[0]?.slice("md5".length);
    expect(await whoAmI(options("user=with_md5", { md5Hash }))).toBe("with_md5");
  });

  test("startup parameters arrive", async () => {
    await using client = await SimpleClient.connect(
      options("user=postgres application_name='my app' options='-c work_mem=5MB'"),
    );
    expect((await client.query("SHOW application_name; SHOW work_mem")).rows).toEqual([["my app"], ["5MB"]]);
  });

  test("acceptance 98: many at once, and nothing of one session is in another", async () => {
    const sessions = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        SimpleClient.connect(options(`user=with_scram password='${password}' application_name=app${i}`)),
      ),
    );
    const names = await Promise.all(
      sessions.map(async (client) => (await client.query("SHOW application_name")).rows),
    );
    expect(names).toEqual(sessions.map((_, i) => [[`app${i}`]]));
    expect(new Set(sessions.map((client) => client.connection.backendPid)).size).toBe(40);
    await Promise.all(sessions.map((client) => client.close()));
  });
});

test("acceptance 104: the machine in a loop of one's own comes to the same session as openConnection", async () => {
  const connect = options(`user=with_scram password='${password}' max_protocol_version=3.2`);
  const machine = new Handshake(connect, { random: randomBytes });
  const socket = new net.Socket();
  const result = await runByHand(machine, socket);
  socket.destroy();
  const opened = await openConnection(connect);
  opened.transport.destroy();
  expect(result.parameters).toEqual(opened.parameters);
  expect(result.scramKeys).toEqual(opened.scramKeys);
  expect(result.endpoint).toEqual(opened.endpoint);
  expect(result.protocolVersion).toBe(opened.protocolVersion);
});

/** The simplest driver there is: one socket, one thing after the other. */
async function runByHand(machine: Handshake, socket: net.Socket): Promise<HandshakeResult> {
  for (;;) {
    const demand = machine.poll();
    switch (demand.kind) {
      case "connect":
        socket.connect({ host: demand.endpoint.address, port: demand.endpoint.port });
        await once(socket, "connect");
        machine.handle({ kind: "connected" });
        break;
      case "write":
        socket.write(demand.data);
        machine.handle({ kind: "written" });
        break;
      case "read": {
        const [chunk] = (await once(socket, "data")) as [Buffer];
        machine.receive(chunk);
        break;
      }
      case "derive": {
        const salted = await saltedPassword(demand.password, demand.salt, demand.iterations);
        machine.handle({ kind: "derived", saltedPassword: salted });
        break;
      }
      case "done":
        return demand.result;
      default:
        throw new Error(`unexpected demand ${demand.kind}`);
    }
  }
}

describe("acceptance 77: errors come as the server sent them", () => {
  const cases: [text: string, sqlstate: string, message: RegExp][] = [
    ["user=with_scram password=wrong", "28P01", /password authentication failed for user "with_scram"/],
    ["user=with_md5 password=wrong", "28P01", /password authentication failed for user "with_md5"/],
    ["user=nobody_of_this_name", "28000", /role "nobody_of_this_name" does not exist/],
    ["user=rejected", "28000", /pg_hba.conf rejects connection/],
    ["user=postgres dbname=nowhere", "3D000", /database "nowhere" does not exist/],
    ["user=postgres options='-c no_such_setting=1'", "42704", /unrecognized configuration parameter/],
  ];
  test.each(cases)("%s: %s", async (text, sqlstate, message) => {
    const attempt = openConnection(options(text));
    await expect(attempt).rejects.toMatchObject({
      code: "client.server_refused",
      sqlstate,
      serverError: { severity: "FATAL", code: sqlstate, routine: expect.any(String) },
    });
    await expect(attempt).rejects.toThrow(message);
  });

  test("too many connections", async () => {
    await using client = await SimpleClient.connect(options("user=one_at_a_time"));
    await client.query("SELECT 1");
    await expect(openConnection(options("user=one_at_a_time"))).rejects.toMatchObject({ sqlstate: "53300" });
  });

  test("no password to give", async () => {
    await expect(openConnection(options("user=with_scram"))).rejects.toMatchObject({
      code: "client.login_failed",
      sqlstate: "08001",
    });
  });
});

describe("queries", () => {
  test("several statements, NULL, notices and tags", async () => {
    await using client = await SimpleClient.connect(options("user=postgres"));
    const result = await client.query(
      "CREATE TEMP TABLE t AS SELECT 1 AS a; SELECT a, NULL AS b FROM t; DO $$ BEGIN RAISE NOTICE 'hm'; END $$",
    );
    expect(result).toMatchObject({
      rows: [["1", null]],
      columns: ["a", "b"],
      tags: ["SELECT 1", "SELECT 1", "DO"],
    });
    expect(result.notices).toMatchObject([{ severity: "NOTICE", message: "hm" }]);
  });

  test("an error rejects its query only, and those behind it wait their turn", async () => {
    await using client = await SimpleClient.connect(options("user=postgres"));
    const results = await Promise.allSettled([
      client.query("SELECT 1/0"),
      client.query("COPY pg_class TO STDOUT"),
      client.query("CREATE TEMP TABLE t (a int); COPY t FROM STDIN"),
      client.query("SELECT 2"),
      client.query(""),
    ]);
    expect(results).toMatchObject([
      { reason: { sqlstate: "22012", fields: { message: "division by zero" } } },
      { value: { rows: [] } },
      { reason: { sqlstate: "57014" } },
      { value: { rows: [["2"]] } },
      { value: { rows: [], tags: [] } },
    ]);
  });

  test("a parameter that changes, and a notification, are noticed", async () => {
    await using client = await SimpleClient.connect(options("user=postgres"));
    const heard: string[] = [];
    client.onNotification = ({ channel, payload }) => heard.push(`${channel}: ${payload}`);
    await client.query("SET application_name = 'other'; LISTEN news; NOTIFY news, 'hello'");
    await waitUntil(() => heard.length > 0, "the notification comes");
    expect(heard).toEqual(["news: hello"]);
    expect(client.parameters.get("application_name")).toBe("other");
  });

  test("a row of 20 MB", async () => {
    await using client = await SimpleClient.connect(options("user=postgres"));
    const { rows } = await client.query("SELECT repeat('x', 20000000)");
    expect(rows[0]?.[0]?.length).toBe(20_000_000);
  });
});

describe("cancel", () => {
  test.each(["3.0", "3.2"])(
    "a running pg_sleep ends with 57014 and the session stays usable, protocol %s",
    async (version) => {
      await using client = await SimpleClient.connect(
        options(`user=postgres max_protocol_version=${version}`),
      );
      await using observer = await SimpleClient.connect(options("user=postgres"));
      const sleeping = client.query("SELECT pg_sleep(60)");
      sleeping.catch(() => undefined);
      const state = `SELECT 1 FROM pg_stat_activity WHERE pid = ${client.connection.backendPid} AND wait_event = 'PgSleep'`;
      await waitUntil(async () => (await observer.query(state)).rows.length === 1, "it sleeps");
      await client.cancel();
      await expect(sleeping).rejects.toMatchObject({
        sqlstate: "57014",
        message: "canceling statement due to user request",
      });
      expect((await client.query("SELECT 'still here'")).rows).toEqual([["still here"]]);
    },
  );

  test("acceptance 88: a cancel that comes too late does nothing", async () => {
    await using client = await SimpleClient.connect(options("user=postgres"));
    await client.query("SELECT 1");
    for (let i = 0; i < 20; i++) {
      await client.cancel();
      expect((await client.query(`SELECT ${i}`)).rows).toEqual([[String(i)]]);
    }
  });

  test("acceptance 88: a wrong key, or a session that has ended, is no error and has no effect", async () => {
    await using client = await SimpleClient.connect(options("user=postgres"));
    const sleeping = client.query("SELECT pg_sleep(0.3)");
    const { endpoint, backendPid, tls } = client.connection;
    const session = { endpoint, backendPid, tls, cancelKey: Buffer.of(0, 0, 0, 0) };
    await cancelBackend(options("user=postgres"), session, { timeoutMs: 5000 });
    expect((await sleeping).tags).toEqual(["SELECT 1"]);
    await client.close();
    await cancelBackend(options("user=postgres"), client.connection, { timeoutMs: 5000 });
  });

  test("over a Unix socket", async () => {
    await using client = await SimpleClient.connect(overUnixSocket("user=postgres"));
    let ended = false;
    const sleeping = client.query("SELECT pg_sleep(60)");
    sleeping.catch(() => {
      ended = true;
    });
    await waitUntil(async () => {
      await client.cancel();
      return ended;
    }, "the query ends");
    await expect(sleeping).rejects.toMatchObject({ sqlstate: "57014" });
  });
});

test("57P03: a server that shuts down is passed over", async () => {
  await using standby = await SimpleClient.connect(options("user=postgres"));
  expect((await standby.query("SELECT 1")).rows).toEqual([["1"]]);
  const stopping = shared.lab.primary.stop("smart");
  const attempt = async (): Promise<string> =>
    await openConnection(options("user=with_password password=x", { hosts: twice(shared.lab.primary) })).then(
      ({ transport }) => {
        transport.destroy();
        return "open";
      },
      ({ sqlstate, attempts }: { sqlstate: string; attempts: readonly unknown[] }) =>
        `${sqlstate} ${attempts.length}`,
    );
  await waitUntil(async () => (await attempt()) === "57P03 2", "both tries are told 57P03");
  await standby.close();
  await stopping;
});

function twice(node: { readonly host: string; readonly port: number }): ConnectOptions["hosts"] {
  return [node, node].map(({ host, port }) => ({ host, port }));
}
