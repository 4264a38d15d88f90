/**
 * The client against servers that PostgreSQL never is: silent, slow, broken, hostile. Every failure has its
 * name and its place, and leaves no socket and no timer behind.
 */
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import {
  type ConnectOptions,
  cachedResolve,
  type OpenConnection,
  type OpenOptions,
  openConnection,
  SimpleClient,
} from "../../src/client/index.ts";
import { CertificateAuthority } from "../../src/lab/index.ts";
import { type Script, ScriptedServer } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";
import { failureOf, nothingLeftSince, optionsFor, resources, withoutTrace } from "./client-traces.ts";

const authority = new CertificateAuthority({ commonName: "test" });
const certificate = authority.issue({ commonName: "server", hosts: ["localhost", "127.0.0.1"] });
const serverTls = { cert: certificate.certificate, key: certificate.key };

/** Servers that stop answering, each in another state of the login, with the client's status then. */
const stops: [where: string, status: string, given: Partial<ConnectOptions>, script: Script][] = [
  ["never answers", "AWAITING_RESPONSE", {}, async (peer) => await peer.closed],
  ["never answers SSLRequest", "SSL_STARTUP", { sslmode: "require" }, async (peer) => await peer.closed],
  [
    "answers one byte",
    "AWAITING_RESPONSE",
    {},
    async (peer) => {
      await peer.expectStartup("startup");
      peer.send(Buffer.from("R"));
      await peer.closed;
    },
  ],
  [
    "stops in the TLS handshake",
    "SSL_STARTUP",
    { sslmode: "require" },
    async (peer) => {
      await peer.expectStartup("ssl");
      peer.send(Buffer.from("S"));
      await peer.closed;
    },
  ],
  [
    "stops after TLS",
    "AWAITING_RESPONSE",
    { sslmode: "require" },
    async (peer) => {
      await peer.acceptTls(serverTls);
      await peer.closed;
    },
  ],
  [
    "stops after the password",
    "AWAITING_RESPONSE",
    { password: "x" },
    async (peer) => {
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationCleartextPassword" });
      await peer.expect("PasswordMessage");
      await peer.closed;
    },
  ],
  [
    "stops after a SCRAM challenge begins",
    "AWAITING_RESPONSE",
    { password: "x" },
    async (peer) => {
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationSASL", mechanisms: ["SCRAM-SHA-256"] });
      await peer.expect("PasswordMessage");
      await peer.closed;
    },
  ],
  [
    "stops before ReadyForQuery",
    "AUTH_OK",
    {},
    async (peer) => {
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationOk" }, { kind: "ParameterStatus", name: "a", value: "b" });
      await peer.closed;
    },
  ],
];

describe.each(stops)("a server that %s", (_, phase, given, script) => {
  test("acceptance 103: runs out of the time for an address, and nothing is left", async () => {
    await withoutTrace(script, async (port) => {
      const begunMs = performance.now();
      const error = await failureOf(openConnection(optionsFor(port, { ...given, connectTimeoutMs: 100 })));
      // Not before it has run out; how long after is the machine's affair.
      expect(performance.now() - begunMs).toBeGreaterThan(90);
      expect(error).toMatchObject({
        code: "client.connect_timeout",
        sqlstate: "08001",
        attempts: [{ phase }],
      });
      expect(error.message).toBe(`connection to server at "127.0.0.1", port ${port} failed: timeout expired`);
    });
  });

  test("acceptance 105: is given up at the caller's signal, and nothing is left", async () => {
    await withoutTrace(script, async (port) => {
      const statuses: string[] = [];
      const reason = new Error("enough");
      const abort = new AbortController();
      const attempt = failureOf(
        openConnection(optionsFor(port, given), {
          signal: abort.signal,
          onStatus: (status) => statuses.push(status),
        }),
      );
      await waitUntil(() => statuses.at(-1) === phase, `status ${phase}`);
      await sleep(20);
      abort.abort(reason);
      const error = await attempt;
      expect(error).toMatchObject({ code: "client.connect_aborted", cause: reason, attempts: [{ phase }] });
    });
  });
});

/** Servers that fail, with what the client says of it. */
const failures: [
  what: string,
  code: string,
  sqlstate: string,
  given: Partial<ConnectOptions>,
  script: Script,
][] = [
  ["closes at once", "client.connection_lost", "08006", {}, async () => undefined],
  [
    "closes after the startup packet",
    "client.connection_lost",
    "08006",
    {},
    async (peer) => {
      await peer.expectStartup("startup");
    },
  ],
  [
    "closes in the TLS handshake",
    "client.tls_failed",
    "08001",
    { sslmode: "require" },
    async (peer) => {
      await peer.expectStartup("ssl");
      peer.send(Buffer.from("S"));
      await peer.stream.read(1, "a ClientHello");
    },
  ],
  [
    "sends bytes in the clear behind its S (CVE-2021-23222)",
    "client.protocol_violation",
    "08P01",
    { sslmode: "prefer" },
    async (peer) => {
      await peer.expectStartup("ssl");
      peer.send(Buffer.from("S"), { kind: "AuthenticationOk" });
      await peer.closed;
    },
  ],
  [
    "speaks HTTP",
    "client.protocol_violation",
    "08P01",
    {},
    async (peer) => {
      peer.send(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"));
      await peer.closed;
    },
  ],
  [
    "refuses the password",
    "client.server_refused",
    "28P01",
    { password: "x" },
    async (peer) => {
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationCleartextPassword" });
      await peer.expect("PasswordMessage");
      peer.fail("28P01", "no");
    },
  ],
  [
    "is full",
    "client.server_refused",
    "53300",
    {},
    async (peer) => {
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationOk" });
      peer.fail("53300", "sorry, too many clients already");
    },
  ],
];

test.each(failures)(
  "acceptance 79: a server that %s: nothing is left",
  async (_, code, sqlstate, given, script) => {
    await withoutTrace(script, async (port) => {
      const options = optionsFor(port, { ...given, connectTimeoutMs: 5000 });
      expect(await failureOf(openConnection(options))).toMatchObject({ code, sqlstate });
    });
  },
);

test("acceptance 79: a port where nobody listens, and a signal that was aborted before", async () => {
  const before = resources();
  const server = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const refused = await failureOf(openConnection(optionsFor(port, { connectTimeoutMs: 5000 })));
  expect(refused).toMatchObject({
    code: "client.connect_failed",
    sqlstate: "08001",
    cause: { code: "ECONNREFUSED" },
  });
  const aborted = await failureOf(openConnection(optionsFor(port), { signal: AbortSignal.abort() }));
  expect(aborted.code).toBe("client.connect_aborted");
  await nothingLeftSince(before);
});

describe("names", () => {
  const never: OpenOptions = { resolve: () => new Promise(() => undefined) };
  const options = (given: Partial<ConnectOptions>): ConnectOptions =>
    optionsFor(5432, { hosts: [{ host: "db.example", port: 5432 }], ...given });

  test("acceptance 99: a look-up that never ends is under the deadline and the signal", async () => {
    const before = resources();
    const late = await failureOf(openConnection(options({ connectTimeoutMs: 50 }), never));
    expect(late).toMatchObject({
      code: "client.connect_timeout",
      attempts: [{ phase: "NEEDED", address: undefined }],
    });
    const given = await failureOf(openConnection(options({}), { ...never, signal: AbortSignal.timeout(50) }));
    expect(given).toMatchObject({ code: "client.connect_aborted", cause: { name: "TimeoutError" } });
    await nothingLeftSince(before);
  });

  test("acceptance 99: one look-up serves many at a time, and is remembered for a while", async () => {
    let now = 0;
    let asked = 0;
    const resolve = cachedResolve(
      async () => {
        asked++;
        return ["127.0.0.1"];
      },
      { keepMs: 100, now: () => now },
    );
    expect(await Promise.all([resolve("a"), resolve("a")])).toEqual([["127.0.0.1"], ["127.0.0.1"]]);
    now = 99;
    await resolve("a");
    expect(asked).toBe(1);
    now = 100;
    await resolve("a");
    await resolve("b");
    expect(asked).toBe(3);
    const failing = cachedResolve(
      async () => {
        asked++;
        throw new Error("ENOTFOUND");
      },
      { keepMs: 100, now: () => now },
    );
    for (let i = 0; i < 2; i++) await expect(failing("c")).rejects.toThrow("ENOTFOUND");
    expect(asked, "failures are not remembered").toBe(5);
  });

  test("an answer that comes when the next host is being tried counts no more", async () => {
    let answer: (addresses: string[]) => void = () => undefined;
    const late = new Promise<string[]>((resolve) => {
      answer = resolve;
    });
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      answer(["127.0.0.1"]);
      await late;
      peer.welcome();
      await peer.closed;
    };
    await withoutTrace(script, async (port) => {
      const hosts = ["slow.example", "127.0.0.1"].map((host) => ({ host, port }));
      const { transport, endpoint } = await openConnection(options({ hosts, connectTimeoutMs: 50 }), {
        resolve: () => late,
      });
      expect(endpoint.host).toBe("127.0.0.1");
      transport.destroy();
    });
  });

  test("every address of a name is tried", async () => {
    await withoutTrace(
      async (peer) => {
        await peer.expectStartup("startup");
        peer.welcome();
        await peer.expect("Terminate");
      },
      async (port) => {
        const named = options({ hosts: [{ host: "db.example", port }] });
        const client = await SimpleClient.connect(named, { resolve: async () => ["::1", "127.0.0.1"] });
        expect(client.connection.endpoint).toEqual({ host: "db.example", address: "127.0.0.1", port });
        await client.close();
      },
    );
  });
});

test.each(stops)("a server that %s: the deadline for the whole ends it", async (_, phase, given, script) => {
  await withoutTrace(script, async (port) => {
    const twice = [port, port].map((each) => ({ host: "127.0.0.1", port: each }));
    const options = optionsFor(port, { ...given, hosts: twice, connectTimeoutMs: 60_000 });
    const error = await failureOf(openConnection(options, { timeoutMs: 100 }));
    expect(error).toMatchObject({
      code: "client.connect_timeout",
      sqlstate: "08001",
      attempts: [{ phase, code: "client.connect_timeout" }],
    });
    expect(error.message).toBe(`connection to server at "127.0.0.1", port ${port} failed: timeout expired`);
  });
});

test.each([0, -1, Number.NaN, 2 ** 31])("a deadline of %s ms cannot be", async (timeoutMs) => {
  const error = await failureOf(openConnection(optionsFor(1), { timeoutMs }));
  expect(error).toMatchObject({ code: "client.bad_option", sqlstate: "22023" });
});

test("the caller may abort from within a change of status, and nothing is left", async () => {
  for (const when of ["STARTED", "MADE", "AWAITING_RESPONSE"]) {
    await withoutTrace(
      async (peer) => await peer.closed,
      async (port) => {
        const abort = new AbortController();
        const onStatus = (status: string): void => {
          if (status === when) abort.abort();
        };
        const error = await failureOf(openConnection(optionsFor(port), { signal: abort.signal, onStatus }));
        expect(error.code).toBe("client.connect_aborted");
      },
    );
  }
});

test("57P03 leads to the next host, a wrong password does not", async () => {
  const refuse =
    (code: string): Script =>
    async (peer) => {
      await peer.expectStartup("startup");
      peer.fail(code, "no");
    };
  const accept: Script = async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome({ pid: 2 });
    await peer.closed;
  };
  await using starting = await ScriptedServer.start(refuse("57P03"));
  await using strict = await ScriptedServer.start(refuse("28P01"));
  await using good = await ScriptedServer.start(accept);
  const hosts = (...servers: ScriptedServer[]): ConnectOptions["hosts"] =>
    servers.map(({ port }) => ({ host: "127.0.0.1", port }));

  const connection = await openConnection(optionsFor(0, { hosts: hosts(starting, good, strict) }));
  expect(connection.backendPid).toBe(2);
  connection.transport.destroy();
  const error = await failureOf(openConnection(optionsFor(0, { hosts: hosts(starting, strict, good) })));
  expect(error).toMatchObject({
    sqlstate: "28P01",
    attempts: [{ sqlstate: "57P03" }, { sqlstate: "28P01" }],
  });
  expect(good.accepted).toBe(1);
});

test("sslmode=prefer goes on without TLS on a new socket when the handshake fails", async () => {
  const broken: Script = async (peer) => {
    await peer.expectStartup("ssl");
    peer.send(Buffer.from("S"));
    await peer.stream.read(1, "a ClientHello");
    peer.send(Buffer.from("this is not TLS"));
    await peer.closed;
  };
  const plain: Script = async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    await peer.closed;
  };
  await withoutTrace([broken, plain], async (port, server) => {
    const connection = await openConnection(optionsFor(port, { sslmode: "prefer" }));
    expect(connection.tls).toBe(false);
    connection.transport.destroy();
    expect(server.accepted).toBe(2);
  });
});

test("nothing the server says is lost between the login and the caller's listener", async () => {
  const notices = 50;
  const talkative: Script = async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    for (let i = 0; i < notices; i++) {
      peer.send({ kind: "NotificationResponse", pid: 1, channel: "c", payload: String(i) });
      if (i % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await peer.closed;
  };
  await withoutTrace(talkative, async (port) => {
    const listen = async (connection: OpenConnection): Promise<number> => {
      let bytes = connection.rest.length;
      connection.transport.listener = {
        onData: (chunk) => {
          bytes += chunk.length;
        },
        onDrain() {},
        onClose() {},
      };
      const expected = Array.from({ length: notices }, (_, i) => 13 - 1 + String(i).length).reduce(
        (a, b) => a + b,
      );
      await waitUntil(() => bytes >= expected, `${expected} bytes, ${bytes} came`, 2000);
      connection.transport.destroy();
      return bytes - expected;
    };
    const opened = Array.from(
      { length: 20 },
      async () => await listen(await openConnection(optionsFor(port))),
    );
    expect(new Set(await Promise.all(opened))).toEqual(new Set([0]));
  });
});
