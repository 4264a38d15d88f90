/** Cancel requests by libpq's calls, and ping, against servers that do what the test tells them. */
import { describe, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { resolveConninfo } from "../../src/client/conninfo/conninfo.ts";
import * as libpq from "../../src/client/libpq/index.ts";
import { SimpleClient } from "../../src/client/simple.ts";
import { CertificateAuthority } from "../../src/lab/index.ts";
import { TransactionStatus } from "../../src/wire/constants.ts";
import { type Script, ScriptedServer } from "../kit/scripted-server.ts";
import { waitMs, waitUntil } from "../kit/wait.ts";
import { alone, conninfoFor, follow, followCancel, start } from "./client-libpq-loop.ts";
import { nothingLeftSince, resources, withoutTrace } from "./client-traces.ts";

const authority = new CertificateAuthority({ commonName: "test" });
const certificate = authority.issue({ commonName: "server", hosts: ["127.0.0.1"] });
const serverTls = { cert: certificate.certificate, key: certificate.key };

const welcome: Script = async (peer) => {
  await peer.expectStartup("startup");
  peer.welcome({ pid: 7, key: Buffer.from("abcd") });
  await peer.closed;
};

describe("a cancel request", () => {
  test("acceptance 90: goes to the address of its connection on a new socket, and is polled as one", async () => {
    const script: Script = async (peer) => {
      expect(await peer.expectStartup("cancel")).toMatchObject({ pid: 7, key: Buffer.from("abcd") });
    };
    await withoutTrace([welcome, script], async (port, server) => {
      // The first host does not answer: the cancel must not go there.
      using conn = start(port, `host=127.0.0.1,127.0.0.1 port=1,${port}`);
      expect((await follow(conn)).end).toBe("ok");
      using cancel = libpq.cancelCreate(conn);
      expect([libpq.cancelStatus(cancel), libpq.cancelSocket(cancel)]).toEqual(["ALLOCATED", -1]);
      expect(libpq.cancelStart(cancel)).toBe(true);
      const { statuses, polls } = await followCancel(cancel);
      expect(statuses).toEqual(["STARTED", "MADE", "AWAITING_RESPONSE", "OK"]);
      expect(polls).toEqual(["writing", "reading", "ok"]);
      expect([libpq.cancelPoll(cancel), libpq.cancelErrorMessage(cancel)]).toEqual(["ok", ""]);
      expect(libpq.status(conn), "the connection itself is not touched").toBe("OK");
      expect(server.accepted).toBe(2);
    });
  });

  test("acceptance 89: is the same for every face of the client, and ends with the same reason where it fails", async () => {
    const script: Script = async (peer) => {
      expect(await peer.expectStartup("cancel")).toMatchObject({ pid: 7, key: Buffer.from("abcd") });
    };
    // A connection for each face, then a cancel request of each, then one of each that is not taken.
    await using server = await ScriptedServer.start([welcome, welcome, welcome, script]);
    using conn = start(server.port);
    await follow(conn);
    const options = resolveConninfo(conninfoFor(server.port));
    const connection = await connect(options);
    const simple = await SimpleClient.connect(options);
    const byPolling = async (): Promise<string> => {
      using cancel = libpq.cancelCreate(conn);
      await libpq.cancelBlocking(cancel);
      return libpq.cancelErrorMessage(cancel).trim();
    };
    const reasonOf = (cancelled: Promise<void>): Promise<string> =>
      cancelled.then(
        () => "",
        (error: unknown) => (error as Error).message.trim(),
      );
    const all = async (): Promise<string[]> => [
      await byPolling(),
      await reasonOf(connection.cancel()),
      await reasonOf(simple.cancel()),
    ];
    expect(await all()).toEqual(["", "", ""]);
    expect(server.accepted).toBe(6);
    const { port } = server;
    server.stopListening();
    const reasons = await all();
    expect(new Set(reasons).size, reasons.join("\n")).toBe(1);
    expect(reasons[0]).toContain(`port ${port} failed: connect ECONNREFUSED`);
  });

  test("acceptance 91: is done only when the server has closed; the caller decides how long to wait", async () => {
    const closes: (() => void)[] = [];
    const script: Script = async (peer) => {
      await peer.expectStartup("cancel");
      await new Promise<void>((resolve) => closes.push(resolve));
    };
    const taken = (count: number) => waitUntil(() => closes.length === count, `${count} have come`);
    await withoutTrace([welcome, script], async (port) => {
      using conn = start(port);
      await follow(conn);
      using cancel = libpq.cancelCreate(conn);
      libpq.cancelStart(cancel);
      expect((await followCancel(cancel, performance.now() + 50)).end).toBe("reading");
      expect(libpq.cancelStart(cancel), "it is under way").toBe(false);
      expect(libpq.cancelErrorMessage(cancel)).toBe(
        "cancel request is already being sent on this connection",
      );
      expect([libpq.cancelStatus(cancel), libpq.cancelPoll(cancel)]).toEqual(["BAD", "failed"]);
      await taken(1);
      libpq.cancelReset(cancel);
      closes[0]?.();
      expect(libpq.cancelStatus(cancel)).toBe("ALLOCATED");
      const again = libpq.cancelBlocking(cancel);
      await waitUntil(() => libpq.cancelStatus(cancel) === "AWAITING_RESPONSE", "it waits for the server");
      await taken(2);
      let done = false;
      void again.then(() => {
        done = true;
      });
      closes[1]?.();
      expect(await again).toBe(true);
      expect(done).toBe(true);
    });
  });

  test("acceptance 90: is encrypted if the connection is, whatever sslmode says", async () => {
    const refused: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.fail("28000", "SSL required");
    };
    const session: Script = async (peer) => {
      await peer.acceptTls(serverTls);
      await welcome(peer);
    };
    const cancelled: Script = async (peer) => {
      await peer.acceptTls(serverTls);
      await peer.expectStartup("cancel");
    };
    await withoutTrace([refused, session, cancelled], async (port, server) => {
      using conn = start(port, "sslmode=allow");
      expect((await follow(conn)).end).toBe("ok");
      expect(libpq.sslInUse(conn)).toBe(true);
      using cancel = libpq.cancelCreate(conn);
      libpq.cancelStart(cancel);
      const { statuses } = await followCancel(cancel);
      expect(statuses.at(-1), libpq.cancelErrorMessage(cancel)).toBe("OK");
      expect(new Set(statuses)).toContain("SSL_STARTUP");
      expect(server.accepted).toBe(3);
    });
  });

  const answers: [what: string, answer: Script, message: RegExp][] = [
    [
      "sends a byte",
      async (peer) => {
        await peer.expectStartup("cancel");
        peer.send(Buffer.from("?"));
        await peer.closed;
      },
      /unexpected response from server$/,
    ],
    [
      "resets the connection",
      async (peer) => {
        await peer.expectStartup("cancel");
        peer.stream.reset();
      },
      /ECONNRESET/,
    ],
  ];
  test.each(answers)(
    "a server that %s instead is an error, and reset makes it fit to be sent again",
    async (_, answer, message) => {
      const taken: Script = async (peer) => {
        await peer.expectStartup("cancel");
      };
      await withoutTrace([welcome, answer, taken], async (port) => {
        using conn = start(port);
        await follow(conn);
        using cancel = libpq.cancelCreate(conn);
        libpq.cancelStart(cancel);
        expect((await followCancel(cancel)).end).toBe("failed");
        expect(libpq.cancelErrorMessage(cancel)).toMatch(message);
        libpq.cancelReset(cancel);
        expect([libpq.cancelStatus(cancel), libpq.cancelErrorMessage(cancel)]).toEqual(["ALLOCATED", ""]);
        libpq.cancelStart(cancel);
        expect((await followCancel(cancel)).end).toBe("ok");
      });
    },
  );

  test("without a key, or without a connection, has failed at once", async () => {
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationOk" }, { kind: "ReadyForQuery", status: TransactionStatus.idle });
      await peer.closed;
    };
    await withoutTrace(script, async (port) => {
      using conn = start(port);
      const early = libpq.cancelCreate(conn);
      expect([libpq.cancelStatus(early), libpq.cancelStart(early)]).toEqual(["BAD", false]);
      expect(libpq.cancelErrorMessage(early)).toBe("connection not open");
      expect((await follow(conn)).end).toBe("ok");
      const without = libpq.cancelCreate(conn);
      expect([libpq.cancelStatus(without), libpq.cancelPoll(without)]).toEqual(["BAD", "failed"]);
      expect(libpq.cancelErrorMessage(without)).toBe("no cancellation key received");
      libpq.cancelReset(without);
      expect([libpq.cancelStatus(without), await libpq.cancelBlocking(without)]).toEqual(["BAD", false]);
      libpq.cancelFinish(without);
      libpq.cancelFinish(early);
    });
  });

  test("that is polled before it is started fails, and finish is safe at any time", async () => {
    await withoutTrace(welcome, async (port) => {
      using conn = start(port);
      await follow(conn);
      const cancel = libpq.cancelCreate(conn);
      expect([libpq.cancelPoll(cancel), libpq.cancelStatus(cancel)]).toEqual(["failed", "BAD"]);
      libpq.cancelReset(cancel);
      expect(libpq.cancelStart(cancel)).toBe(true);
      libpq.cancelFinish(cancel);
      libpq.cancelFinish(cancel);
      expect([libpq.cancelStatus(cancel), libpq.cancelPoll(cancel), libpq.cancelStart(cancel)]).toEqual([
        "BAD",
        "failed",
        false,
      ]);
    });
  });
});

describe("ping", () => {
  const refuse =
    (code: string): Script =>
    async (peer) => {
      await peer.expectStartup("startup");
      peer.fail(code, "no");
    };
  const results: [what: string, result: libpq.PingResult, script: Script, more?: string][] = [
    ["takes the connection", "OK", welcome],
    ["refuses the user", "OK", refuse("28000")],
    ["is full", "OK", refuse("53300")],
    [
      "asks for a password and is left",
      "OK",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationCleartextPassword" });
        await peer.closed;
      },
    ],
    [
      "asks for what nobody can give",
      "OK",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send(Buffer.from("R\0\0\0\x08\0\0\0\x07"));
        await peer.closed;
      },
    ],
    [
      "closes once it has the password",
      "OK",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationCleartextPassword" });
        await peer.expect("PasswordMessage");
      },
      "password=x",
    ],
    [
      "closes after the login",
      "OK",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationOk" });
      },
    ],
    ["is starting up", "REJECT", refuse("57P03")],
    ["closes at once", "NO_RESPONSE", async () => undefined],
    ["never answers", "NO_RESPONSE", async (peer) => await peer.closed],
    [
      "has no TLS where it is required",
      "NO_RESPONSE",
      async (peer) => await peer.refuseTls(),
      "sslmode=require",
    ],
  ];
  test.each(results)("a server that %s: %s", async (what, result, script, more) => {
    await withoutTrace(script, async (port) => {
      // Only who gets no answer at all has to wait for that.
      const timeoutMs = what === "never answers" ? 300 : waitMs;
      expect(await libpq.ping(conninfoFor(port, more), { timeoutMs }, alone)).toBe(result);
    });
  });

  test("nobody there: NO_RESPONSE; also where another host has answered before", async () => {
    const before = resources();
    await using starting = await ScriptedServer.start(refuse("57P03"));
    const two = conninfoFor(1, `host=127.0.0.1,127.0.0.1 port=${starting.port},1`);
    expect(await libpq.ping(conninfoFor(1), {}, alone)).toBe("NO_RESPONSE");
    expect(await libpq.ping(two, {}, alone)).toBe("NO_RESPONSE");
    await starting.stop();
    await nothingLeftSince(before);
  });

  test("parameters that are wrong: NO_ATTEMPT", async () => {
    expect(await libpq.ping("nonsense=1", {}, alone)).toBe("NO_ATTEMPT");
    expect(await libpq.pingParams({ sslmode: "absurd" }, false, {}, alone)).toBe("NO_ATTEMPT");
    expect(
      await libpq.pingParams({ host: "127.0.0.1", user: "a", sslrootcert: "/nowhere" }, false, {}, alone),
    ).toBe("NO_ATTEMPT");
    expect(libpq.pingResultNumber).toEqual({ OK: 0, REJECT: 1, NO_RESPONSE: 2, NO_ATTEMPT: 3 });
  });

  test("a signal rejects with its reason", async () => {
    await withoutTrace(
      async (peer) => await peer.closed,
      async (port) => {
        const reason = new Error("enough");
        const controller = new AbortController();
        const asked = libpq.ping(conninfoFor(port), { signal: controller.signal }, alone);
        controller.abort(reason);
        await expect(asked).rejects.toBe(reason);
      },
    );
  });
});
