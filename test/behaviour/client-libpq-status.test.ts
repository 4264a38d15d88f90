/** The status of a connection that is polled, in every state a server can leave it in; and giving up there. */
import { describe, expect, test } from "vitest";
import * as libpq from "../../src/client/libpq/index.ts";
import { CertificateAuthority } from "../../src/lab/index.ts";
import { TransactionStatus } from "../../src/wire/constants.ts";
import { type Script } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";
import { follow, start } from "./client-libpq-loop.ts";
import { resources, withoutTrace } from "./client-traces.ts";

const authority = new CertificateAuthority({ commonName: "test" });
const certificate = authority.issue({ commonName: "server", hosts: ["127.0.0.1"] });
const serverTls = { cert: certificate.certificate, key: certificate.key };

/** Servers that stop answering, each in another state, with the status and the poll's answer then. */
const stops: [where: string, status: string, more: string, script: Script][] = [
  ["never answers", "AWAITING_RESPONSE", "", async (peer) => await peer.closed],
  ["never answers SSLRequest", "SSL_STARTUP", "sslmode=require", async (peer) => await peer.closed],
  [
    "answers one byte",
    "AWAITING_RESPONSE",
    "",
    async (peer) => {
      await peer.expectStartup("startup");
      peer.send(Buffer.from("R"));
      await peer.closed;
    },
  ],
  [
    "stops in the TLS handshake",
    "SSL_STARTUP",
    "sslmode=require",
    async (peer) => {
      await peer.expectStartup("ssl");
      peer.send(Buffer.from("S"));
      await peer.closed;
    },
  ],
  [
    "stops in direct TLS",
    "SSL_STARTUP",
    "sslmode=require sslnegotiation=direct",
    async (peer) => await peer.closed,
  ],
  [
    "stops after TLS",
    "AWAITING_RESPONSE",
    "sslmode=require",
    async (peer) => {
      await peer.acceptTls(serverTls);
      await peer.closed;
    },
  ],
  [
    "stops after the password",
    "AWAITING_RESPONSE",
    "password=x",
    async (peer) => {
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationCleartextPassword" });
      await peer.expect("PasswordMessage");
      await peer.closed;
    },
  ],
  [
    "stops before ReadyForQuery",
    "AUTH_OK",
    "",
    async (peer) => {
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationOk" }, { kind: "ParameterStatus", name: "a", value: "b" });
      await peer.closed;
    },
  ],
  [
    "does not say whether it is writable",
    "CHECK_WRITABLE",
    "target_session_attrs=read-write",
    async (peer) => {
      await peer.expectStartup("startup");
      peer.welcome({ parameters: { server_version: "12.4" } });
      await peer.expect("Query");
      await peer.closed;
    },
  ],
  [
    "does not say whether it is a standby",
    "CHECK_STANDBY",
    "target_session_attrs=standby",
    async (peer) => {
      await peer.expectStartup("startup");
      peer.welcome({ parameters: { server_version: "12.4" } });
      await peer.expect("Query");
      await peer.closed;
    },
  ],
];

describe.each(stops)("a server that %s", (_, status, more, script) => {
  test("acceptance 103: connect_timeout is ignored; the caller's own time ends it, and nothing is left", async () => {
    await withoutTrace(script, async (port) => {
      const conn = start(port, `${more} connect_timeout=1`);
      const timers = (): number => resources().get("Timeout") ?? 0;
      const before = timers();
      await followTo(conn, status);
      while (await libpq.ready(conn, { endTimeMs: performance.now() + 30 })) libpq.connectPoll(conn);
      expect([libpq.connectPoll(conn), libpq.status(conn)]).toEqual(["reading", status]);
      expect(timers(), "no timer of the connection's own").toBeLessThanOrEqual(before);
      libpq.finish(conn);
      expect([libpq.status(conn), libpq.socket(conn), libpq.connectPoll(conn)]).toEqual([
        "BAD",
        -1,
        "failed",
      ]);
    });
  });

  test("acceptance 105: finish in the middle lets go of everything, once, whoever still waits", async () => {
    await withoutTrace(script, async (port) => {
      const conn = start(port, more);
      await followTo(conn, status);
      const waiting = libpq.ready(conn);
      libpq.finish(conn);
      libpq.finish(conn);
      expect(await waiting).toBe(true);
      expect(libpq.connectPoll(conn)).toBe("failed");
      expect(libpq.errorMessage(conn)).toBe("connection is finished");
      expect([libpq.db(conn), libpq.host(conn), libpq.port(conn), libpq.conninfo(conn)]).toEqual([
        undefined,
        undefined,
        undefined,
        undefined,
      ]);
      expect([libpq.resetStart(conn), await libpq.reset(conn)]).toEqual([false, "failed"]);
    });
  });
});

/** Polls until the connection has come to this status and waits for the server. */
async function followTo(conn: libpq.Conn, status: string): Promise<void> {
  const statuses: string[] = [];
  while (libpq.status(conn) !== status || libpq.connectPoll(conn) !== "reading") {
    expect(["OK", "BAD"], statuses.join(" ")).not.toContain(libpq.status(conn));
    await libpq.ready(conn);
    libpq.connectPoll(conn);
    statuses.push(libpq.status(conn));
  }
}

describe("acceptance 102: the status can be asked for at any time", () => {
  test("every status that is passed through, in order: TLS, login in pieces, a session to be asked", async () => {
    const steps: (() => void)[] = [];
    const next = async (): Promise<void> => await new Promise((resolve) => steps.push(resolve));
    const script: Script = async (peer) => {
      await peer.acceptTls(serverTls);
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationOk" });
      await next();
      peer.send(
        { kind: "ParameterStatus", name: "server_version", value: "12.4" },
        { kind: "ReadyForQuery", status: TransactionStatus.idle },
      );
      await peer.expect("Query");
      peer.send(
        { kind: "RowDescription", columns: [] },
        { kind: "DataRow", values: [Buffer.from("off")] },
        { kind: "CommandComplete", tag: "SHOW" },
      );
      await next();
      peer.send({ kind: "ReadyForQuery", status: TransactionStatus.idle });
      await peer.closed;
    };
    await withoutTrace(script, async (port) => {
      let answer: (addresses: string[]) => void = () => undefined;
      const resolve = async (): Promise<string[]> =>
        await new Promise((resolveName) => {
          answer = resolveName;
        });
      using conn = start(port, "host=db.example sslmode=require target_session_attrs=read-write", {
        resolve,
      });
      const seen = [libpq.status(conn)];
      for (let step: string = "writing"; step !== "ok"; ) {
        if (seen.at(-1) === "NEEDED") answer(["127.0.0.1"]);
        while (!(await libpq.ready(conn, { endTimeMs: performance.now() + 20 }))) steps.shift()?.();
        step = libpq.connectPoll(conn);
        expect(step, libpq.errorMessage(conn)).not.toBe("failed");
        if (seen.at(-1) !== libpq.status(conn)) seen.push(libpq.status(conn));
      }
      expect(seen).toEqual([
        "NEEDED",
        "STARTED",
        "MADE",
        "SSL_STARTUP",
        "MADE",
        "AWAITING_RESPONSE",
        "AUTH_OK",
        "CHECK_WRITABLE",
        "CONSUME",
        "OK",
      ]);
      expect(libpq.sslInUse(conn)).toBe(true);
    });
  });

  test("names and numbers are libpq's, those included that are never seen here", () => {
    expect(libpq.connectionStatusNumber).toMatchObject({
      OK: 0,
      BAD: 1,
      SETENV: 6,
      GSS_STARTUP: 11,
      ALLOCATED: 14,
    });
    expect(Object.keys(libpq.connectionStatusNumber)).toHaveLength(16);
  });

  test("a session over TLS whose server has gone is BAD, and says why", async () => {
    const script: Script = async (peer) => {
      await peer.acceptTls(serverTls);
      await peer.expectStartup("startup");
      peer.welcome();
    };
    await withoutTrace(script, async (port) => {
      using conn = start(port, "sslmode=require");
      expect((await follow(conn)).end).toBe("ok");
      await waitUntil(() => libpq.status(conn) === "BAD", "the end is noticed");
      expect(libpq.errorMessage(conn)).toBe("server closed the connection unexpectedly");
      expect([libpq.socket(conn), libpq.transactionStatus(conn)]).toEqual([-1, "UNKNOWN"]);
    });
  });
});

test("a session is taken out with what the server has said meanwhile; the connection is finished then", async () => {
  let sayEarly = (): void => undefined;
  const parked = new Promise<void>((resolve) => {
    sayEarly = resolve;
  });
  const script: Script = async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    await parked;
    peer.send({ kind: "NotificationResponse", pid: 1, channel: "c", payload: "early" });
    await peer.stream.read(1, "the client's word");
    peer.send({ kind: "NotificationResponse", pid: 1, channel: "c", payload: "late" });
  };
  await withoutTrace(script, async (port) => {
    using conn = start(port);
    expect((await follow(conn)).end).toBe("ok");
    sayEarly();
    // Long enough for it to come, if it were read.
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    const taken = libpq.takeConnection(conn);
    expect([libpq.status(conn), libpq.socket(conn)]).toEqual(["BAD", -1]);
    expect(() => libpq.takeConnection(conn)).toThrow(
      expect.objectContaining({ code: "client.not_connected", sqlstate: "08003" }),
    );
    expect([taken.backendPid, taken.options.user]).toEqual([4711, "ada"]);
    const heard = [taken.rest];
    let closed = false;
    taken.transport.listener = {
      onData: (chunk) => heard.push(Buffer.from(chunk)),
      onDrain() {},
      onClose() {
        closed = true;
      },
    };
    taken.transport.write(Buffer.from("?"));
    await waitUntil(() => closed, "the server closes");
    const text = Buffer.concat(heard).toString("latin1");
    expect(text.match(/early|late/g)).toEqual(["early", "late"]);
  });
});
