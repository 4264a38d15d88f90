/** libpq's calls against real PostgreSQL: logins, TLS, several hosts, a statement that is cancelled. */
import { beforeAll, describe, expect, test } from "vitest";
import * as libpq from "../../src/client/libpq/index.ts";
import { CertificateAuthority } from "../../src/lab/index.ts";
import { decodeBackend } from "../../src/wire/decode-backend.ts";
import { encodeQuery, encodeTerminate } from "../../src/wire/encode-frontend.ts";
import { backendRules, Frame, Framer } from "../../src/wire/framer.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { alone, follow, followCancel } from "./client-libpq-loop.ts";

const authority = new CertificateAuthority({ commonName: "test authority" });
const shared = useLab({
  tls: { server: authority.issue({ commonName: "server", hosts: ["db.example"] }) },
  auth: [
    "hostnossl all only_plain 127.0.0.1/32 trust",
    "host all only_plain 127.0.0.1/32 reject",
    "host all with_password 127.0.0.1/32 password",
    "host all with_md5 127.0.0.1/32 md5",
    "host all with_scram 127.0.0.1/32 scram-sha-256",
    "local all all trust",
    "host all all 127.0.0.1/32 trust",
  ],
});

beforeAll(async () => {
  await shared.lab.primary.query(`
    CREATE ROLE only_plain LOGIN;
    CREATE ROLE with_password LOGIN PASSWORD 'secret';
    CREATE ROLE with_scram LOGIN PASSWORD 'secret';
    SET password_encryption = 'md5';
    CREATE ROLE with_md5 LOGIN PASSWORD 'secret';
  `);
});

function conninfo(text: string): string {
  return `host=db.example hostaddr=127.0.0.1 port=${shared.lab.primary.port} dbname=postgres ${text}`;
}

/** Everything that can be known of a session, but what differs from one to the next. */
function factsOf(conn: libpq.Conn): unknown {
  const { status, db, user, pass, host, hostaddr, port, options, transactionStatus } = libpq;
  const { serverVersion, protocolVersion, fullProtocolVersion, sslInUse, connectionUsedPassword } = libpq;
  const { sslAttributeNames, sslAttribute, errorMessage } = libpq;
  return [
    ...[status, db, user, pass, host, hostaddr, port, options, transactionStatus].map((fact) => fact(conn)),
    ...[serverVersion, protocolVersion, fullProtocolVersion].map((fact) => fact(conn)),
    ...[sslInUse, connectionUsedPassword, errorMessage].map((fact) => fact(conn)),
    ...sslAttributeNames.map((name) => sslAttribute(conn, name)),
  ];
}

describe("acceptance 104: start and a loop of polls come to the same as connectdb", () => {
  const logins: [text: string, tls: boolean, password: boolean][] = [
    ["user=postgres sslmode=disable", false, false],
    ["user=postgres", true, false],
    ["user=postgres sslmode=verify-full sslnegotiation=direct max_protocol_version=3.2", true, false],
    ["user=only_plain sslmode=prefer", false, false],
    ["user=with_password password=secret", true, true],
    ["user=with_md5 password=secret sslmode=disable", false, true],
    ["user=with_scram password=secret channel_binding=require", true, true],
    ["user=with_scram password=secret sslmode=disable options='-c geqo=off'", false, true],
  ];
  test.each(logins)("%s", async (text, tls, password) => {
    const root = text.includes("verify-full") ? { sslrootcert: authority.certificate } : {};
    const parameters = { dbname: conninfo(text), ...root };
    using polled = libpq.connectStartParams(parameters, true, alone);
    const { end } = await follow(polled);
    expect(end, libpq.errorMessage(polled)).toBe("ok");
    using awaited = await libpq.connectdbParams(parameters, true, {}, alone);
    expect(factsOf(polled)).toEqual(factsOf(awaited));
    expect(libpq.conninfo(polled)).toEqual(libpq.conninfo(awaited));
    expect(libpq.backendPid(polled)).not.toBe(libpq.backendPid(awaited));
    expect([libpq.sslInUse(polled), libpq.connectionUsedPassword(polled)]).toEqual([tls, password]);
    expect(libpq.connectionNeedsPassword(polled)).toBe(false);
    expect(libpq.serverVersion(polled)).toBeGreaterThanOrEqual(180000);
    expect(libpq.parameterStatus(polled, "server_encoding")).toBe("UTF8");
    expect(libpq.fullProtocolVersion(polled)).toBe(text.includes("3.2") ? 30002 : 30000);
  });

  test("what is told of the encryption", async () => {
    using conn = libpq.connectStart(conninfo("user=postgres sslmode=require"), alone);
    expect(libpq.sslAttribute(conn, "library")).toBeUndefined();
    expect((await follow(conn)).end).toBe("ok");
    expect(libpq.sslAttributeNames.map((name) => libpq.sslAttribute(conn, name))).toEqual([
      "OpenSSL",
      expect.stringMatching(/^(128|256)$/),
      expect.stringMatching(/^TLS_/),
      "off",
      "TLSv1.3",
      "postgresql",
    ]);
  });

  test("over a Unix socket: the host is the folder, and there is no address", async () => {
    const { socketFolder, port } = shared.lab.primary;
    using conn = libpq.connectStart(`host=${socketFolder} port=${port} user=postgres dbname=postgres`, alone);
    expect((await follow(conn)).end).toBe("ok");
    expect([libpq.host(conn), libpq.hostaddr(conn)]).toEqual([socketFolder, ""]);
  });
});

describe("failures", () => {
  test("a wrong password ends the attempt, be there further hosts or not", async () => {
    const { port } = shared.lab.primary;
    const two = `host=db.example,db.example hostaddr=127.0.0.1,127.0.0.1 port=${port} sslmode=disable`;
    using conn = libpq.connectStart(`${two} user=with_scram password=wrong`, alone);
    expect((await follow(conn)).end).toBe("failed");
    expect(libpq.errorMessage(conn)).toBe(
      `connection to server at "db.example" (127.0.0.1), port ${port} failed: FATAL:  ` +
        'password authentication failed for user "with_scram"',
    );
    expect([libpq.connectionUsedPassword(conn), libpq.connectionNeedsPassword(conn)]).toEqual([true, false]);
  });

  test("a password that is missing is to be asked for, and goes into the next attempt", async () => {
    using conn = libpq.connectStart(conninfo("user=with_scram"), alone);
    expect((await follow(conn)).end).toBe("failed");
    expect(libpq.connectionNeedsPassword(conn)).toBe(true);
    using again = libpq.connectStart(conninfo(`user=${libpq.user(conn)} password=secret`), alone);
    expect((await follow(again)).end).toBe("ok");
  });

  test("a host that refuses connections gives way to the next one, in the same loop of polls", async () => {
    const { port } = shared.lab.primary;
    const hosts = `host=127.0.0.1,127.0.0.1 port=1,${port} user=postgres dbname=postgres`;
    using conn = libpq.connectStart(hosts, alone);
    expect((await follow(conn)).end).toBe("ok");
    expect([libpq.port(conn), libpq.errorMessage(conn)]).toEqual([String(port), ""]);
    expect(libpq.resetStart(conn), "a reset begins at the first host again").toBe(true);
    expect((await follow(conn)).end).toBe("ok");
  });

  test("where every host fails, every failure is told", async () => {
    using conn = libpq.connectStart("host=127.0.0.1,127.0.0.1 port=1,2 user=ada", alone);
    expect((await follow(conn)).end).toBe("failed");
    expect(libpq.errorMessage(conn)).toMatch(
      /^connection to server at "127.0.0.1", port 1 failed: .*ECONNREFUSED.*\nconnection .* port 2 failed: /,
    );
  });

  test("ping: no password is needed", async () => {
    expect(await libpq.ping(conninfo("user=with_scram password=wrong"), {}, alone)).toBe("OK");
    expect(await libpq.ping(conninfo("user=nobody"), {}, alone)).toBe("OK");
    expect(await libpq.ping(conninfo("user=postgres dbname=nowhere"), {}, alone)).toBe("OK");
  });
});

describe("cancel", () => {
  const ways: [how: string, text: string][] = [
    ["as it is", "user=postgres sslmode=disable"],
    ["over TLS, with a key of protocol 3.2", "user=postgres sslmode=require max_protocol_version=3.2"],
  ];
  test.each(ways)(
    "acceptance 87, 88: a running pg_sleep ends with 57014 and the session stays usable: %s",
    async (_, text) => {
      const conn = libpq.connectStart(conninfo(text), alone);
      expect((await follow(conn)).end).toBe("ok");
      const pid = libpq.backendPid(conn);
      const taken = libpq.takeConnection(conn);
      const session = new Session(taken);
      const sleeping = session.query("SELECT pg_sleep(60)");
      const state = `SELECT 1 FROM pg_stat_activity WHERE pid = ${pid} AND wait_event = 'PgSleep'`;
      await waitUntil(async () => (await shared.lab.primary.query(state)).rows.length === 1, "it sleeps");

      using cancel = libpq.cancelCreate(taken);
      expect(libpq.cancelStart(cancel)).toBe(true);
      expect((await followCancel(cancel)).end, libpq.cancelErrorMessage(cancel)).toBe("ok");
      expect(await sleeping).toBe("57014");
      expect(await session.query("SELECT 'still here'")).toBe("still here");

      // That it was delivered is no promise of effect: there is nothing to cancel now.
      for (let i = 0; i < 5; i++) {
        libpq.cancelReset(cancel);
        expect(await libpq.cancelBlocking(cancel)).toBe(true);
        expect(await session.query(`SELECT ${i}`)).toBe(String(i));
      }
      session.close();
    },
  );
});

/** As much of a client as it takes to see a statement being cancelled. */
class Session {
  readonly #taken: libpq.TakenConnection;
  readonly #framer = new Framer(backendRules());
  #answer = "";
  #done: (answer: string) => void = () => undefined;

  constructor(taken: libpq.TakenConnection) {
    this.#taken = taken;
    taken.transport.listener = {
      onData: (chunk) => this.#receive(chunk),
      onDrain() {},
      onClose: () => this.#done("closed"),
    };
    this.#receive(taken.rest);
  }

  /** The first value of the result, or the SQLSTATE of the error. */
  async query(sql: string): Promise<string> {
    this.#taken.transport.write(encodeQuery(sql));
    return await new Promise((resolve) => {
      this.#done = resolve;
    });
  }

  close(): void {
    this.#taken.transport.end(encodeTerminate());
  }

  #receive(chunk: Buffer): void {
    this.#framer.feed(chunk);
    while (this.#framer.next() === Frame.whole) {
      const { buffer, start, end } = this.#framer;
      const message = decodeBackend(buffer, start, end);
      if (message.kind === "DataRow") this.#answer = String(message.values[0]);
      else if (message.kind === "ErrorResponse") this.#answer = message.fields.code;
      else if (message.kind === "ReadyForQuery") this.#done(this.#answer);
    }
  }
}
