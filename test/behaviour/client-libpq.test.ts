/**
 * What the manual says of PQconnectStart, PQconnectPoll and their kin, sentence by sentence, against servers
 * that do what the test tells them.
 */
import { once } from "node:events";
import net from "node:net";
import { describe, expect, test } from "vitest";
import * as libpq from "../../src/client/libpq/index.ts";
import { TransactionStatus } from "../../src/wire/constants.ts";
import { encodeBackend } from "../../src/wire/encode-backend.ts";
import { type Script, ScriptedServer } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";
import { alone, follow, start } from "./client-libpq-loop.ts";
import { nothingLeftSince, resources, withoutTrace } from "./client-traces.ts";

const welcome: Script = async (peer) => {
  await peer.expectStartup("startup");
  peer.welcome();
  await peer.closed;
};

describe("acceptance 98: connectStart begins, connectPoll goes on, and no step blocks", () => {
  test("waiting happens in the application's loop: two connections progress in one, each at its own pace", async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow: Script = async (peer) => {
      await peer.expectStartup("startup");
      await held;
      peer.welcome({ pid: 1 });
      await peer.closed;
    };
    await using slowServer = await ScriptedServer.start(slow);
    await using quickServer = await ScriptedServer.start(welcome);
    using first = start(slowServer.port);
    using second = start(quickServer.port);
    const order: string[] = [];
    const others = { first, second };
    const waiting = new Map<string, libpq.Conn>(Object.entries(others));
    let turns = 0;
    while (waiting.size > 0) {
      turns++;
      await Promise.race([...waiting.values()].map((conn) => libpq.ready(conn)));
      for (const [name, conn] of waiting) {
        const step = libpq.connectPoll(conn);
        if (step === "reading" || step === "writing") continue;
        order.push(`${name} ${step}`);
        waiting.delete(name);
        release();
      }
    }
    expect(order).toEqual(["second ok", "first ok"]);
    expect(turns).toBeLessThan(20);
  });

  test("a server that sends byte by byte only makes more polls", async () => {
    const slow: Script = async (peer) => {
      await peer.expectStartup("startup");
      await peer.sendSlowly(
        { kind: "AuthenticationOk" },
        { kind: "ParameterStatus", name: "server_version", value: "18.4" },
        { kind: "BackendKeyData", pid: 42, key: Buffer.from("1234") },
        { kind: "ReadyForQuery", status: TransactionStatus.idle },
      );
      await peer.closed;
    };
    await withoutTrace(slow, async (port) => {
      using conn = start(port);
      const { end, polls } = await follow(conn);
      expect(end).toBe("ok");
      expect(polls.filter((step) => step === "reading").length).toBeGreaterThan(3);
      expect([libpq.backendPid(conn), libpq.serverVersion(conn)]).toEqual([42, 180004]);
    });
  });

  test("the parameters of connectStartParams mean the same as in connectdbParams, expandDbname included", async () => {
    await withoutTrace(welcome, async (port) => {
      const parameters = [
        ["user", "ada"],
        ["sslmode", undefined],
        ["sslmode", "disable"],
        ["dbname", `postgresql://127.0.0.1:${port}/app?application_name=a`],
        ["application_name", ""],
        ["user", "bea"],
      ] as const;
      using polled = libpq.connectStartParams(parameters, true, alone);
      expect((await follow(polled)).end).toBe("ok");
      using awaited = await libpq.connectdbParams(parameters, true, {}, alone);
      for (const conn of [polled, awaited]) {
        const { db, user, host, hostaddr, options, pass } = libpq;
        const facts = [db, user, host, hostaddr, options, pass].map((fact) => fact(conn));
        expect(facts).toEqual(["app", "bea", "127.0.0.1", "127.0.0.1", "", ""]);
        expect(libpq.port(conn)).toBe(String(port));
        expect(libpq.conninfo(conn)?.find(({ keyword }) => keyword === "application_name")?.val).toBe("a");
      }
      const given = { user: "ada", sslmode: "disable", host: "127.0.0.1", port, dbname: "a=b" };
      using verbatim = libpq.connectStartParams(given, false, alone);
      expect((await follow(verbatim)).end).toBe("ok");
      expect(libpq.db(verbatim)).toBe("a=b");
    });
  });
});

describe("acceptance 99: the conditions under which nothing blocks", () => {
  const noLookUp: libpq.Surroundings = {
    resolve: () => {
      throw new Error("a name was looked up");
    },
  };

  test("with hostaddr and host, no name is looked up", async () => {
    await withoutTrace(welcome, async (port) => {
      using conn = start(port, "host=db.example hostaddr=127.0.0.1", noLookUp);
      expect((await follow(conn)).end).toBe("ok");
      expect([libpq.host(conn), libpq.hostaddr(conn)]).toEqual(["db.example", "127.0.0.1"]);
    });
  });

  test("a name is looked up without blocking: the status is NEEDED, and polling waits to write", async () => {
    await withoutTrace(welcome, async (port) => {
      let answer: (addresses: string[]) => void = () => undefined;
      const addresses = new Promise<string[]>((resolve) => {
        answer = resolve;
      });
      using conn = start(port, "host=db.example", { resolve: () => addresses });
      expect([libpq.status(conn), libpq.connectPoll(conn), libpq.socket(conn)]).toEqual([
        "NEEDED",
        "writing",
        -1,
      ]);
      expect(await libpq.ready(conn, { endTimeMs: performance.now() + 20 })).toBe(false);
      expect([libpq.host(conn), libpq.hostaddr(conn)]).toEqual(["db.example", ""]);
      answer(["127.0.0.1"]);
      expect((await follow(conn)).end).toBe("ok");
      expect(libpq.hostaddr(conn)).toBe("127.0.0.1");
    });
  });

  test("a trace prints every message, secrets masked, and changes nothing", async () => {
    const script: Script = async (peer) => {
      await peer.refuseTls();
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationCleartextPassword" });
      await peer.expect("PasswordMessage");
      peer.welcome();
      await peer.expect("Terminate");
    };
    await withoutTrace(script, async (port) => {
      const lines: string[] = [];
      {
        using conn = start(port, "sslmode=prefer password=secret");
        libpq.trace(conn, (line) => lines.push(line), {});
        expect((await follow(conn)).end).toBe("ok");
      }
      expect(lines.map((line) => line.split("\t").slice(0, 3).join(" ").trimEnd())).toEqual([
        "F 8 SSLRequest",
        "B 1 SSLResponse",
        "F 31 StartupMessage",
        "B 8 AuthenticationCleartextPassword",
        "F 11 PasswordMessage",
        "B 8 AuthenticationOk",
        "B 24 ParameterStatus",
        "B 12 BackendKeyData",
        "B 5 ReadyForQuery",
        "F 4 Terminate",
      ]);
      expect(lines.join("")).not.toContain("secret");
    });
  });

  test("the time is printed unless it is suppressed, and untrace ends it", async () => {
    await withoutTrace(welcome, async (port) => {
      const lines: string[] = [];
      using conn = start(port);
      libpq.trace(conn, (line) => lines.push(line));
      await libpq.ready(conn);
      libpq.connectPoll(conn);
      libpq.connectPoll(conn);
      libpq.untrace(conn);
      expect((await follow(conn)).end).toBe("ok");
      expect(lines).toEqual([
        expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\tF\t\d+\tStartupMessage/),
      ]);
    });
  });

  test("a poll before the socket is in the right state does nothing", async () => {
    await withoutTrace(welcome, async (port) => {
      using conn = start(port);
      const early = Array.from({ length: 1000 }, () => libpq.connectPoll(conn));
      expect(new Set(early)).toEqual(new Set(["writing"]));
      expect(libpq.status(conn)).toBe("STARTED");
      expect((await follow(conn)).end).toBe("ok");
    });
  });
});

describe("acceptance 100: connectStart gives a connection, be it one that has failed already", () => {
  const wrong: [conninfo: string, message: RegExp][] = [
    ["host=a nonsense=1", /invalid connection option "nonsense"/],
    ["host", /missing "=" after/],
    ["postgresql://[::1", /IPv6/],
    ["host=a port=notanumber user=ada", /invalid integer value/],
    ["host=a,b port=1,2,3 user=ada", /could not match 3 port numbers to 2 hosts/],
    ["host=127.0.0.1 port=70000 user=ada sslmode=disable", /invalid port number: "70000"/],
    ["host=a user=ada sslmode=absurd", /invalid sslmode value/],
  ];
  test.each(wrong)("%s: BAD at once, and it never throws", (conninfo, message) => {
    const before = resources();
    const conn = libpq.connectStart(conninfo, alone);
    expect(libpq.status(conn)).toBe("BAD");
    expect(libpq.errorMessage(conn)).toMatch(message);
    for (let i = 0; i < 3; i++) expect(libpq.connectPoll(conn)).toBe("failed");
    expect(libpq.socket(conn)).toBe(-1);
    expect(libpq.resetStart(conn)).toBe(false);
    libpq.finish(conn);
    expect(resources()).toEqual(before);
  });

  test("a secret is in no text", () => {
    const conn = libpq.connectStart("password=hunter2 host=a port=x user=ada", alone);
    expect(libpq.status(conn)).toBe("BAD");
    expect(libpq.errorMessage(conn)).not.toContain("hunter2");
    libpq.finish(conn);
  });

  test("a good one is not yet a connection: its facts are those of the parameters", async () => {
    await withoutTrace(welcome, async (port) => {
      using conn = start(port, "dbname=app password=x options='-c geqo=off'");
      expect(libpq.status(conn)).toBe("STARTED");
      expect([libpq.db(conn), libpq.pass(conn), libpq.options(conn)]).toEqual(["app", "x", "-c geqo=off"]);
      expect(libpq.transactionStatus(conn)).toBe("UNKNOWN");
      expect([libpq.backendPid(conn), libpq.serverVersion(conn), libpq.protocolVersion(conn)]).toEqual([
        0, 0, 3,
      ]);
      expect((await follow(conn)).end).toBe("ok");
      expect(libpq.transactionStatus(conn)).toBe("IDLE");
      expect([libpq.backendPid(conn), libpq.protocolVersion(conn), libpq.fullProtocolVersion(conn)]).toEqual([
        4711, 3, 30000,
      ]);
      expect(libpq.parameterStatus(conn, "server_version")).toBe("18.0");
      expect(libpq.parameterStatus(conn, "SERVER_VERSION")).toBeUndefined();
    });
  });
});

describe("acceptance 101: the loop", () => {
  test("before the first poll as if it had said writing; then as it says; until ok, which it says for ever", async () => {
    await withoutTrace(welcome, async (port) => {
      using conn = start(port);
      const { polls } = await follow(conn);
      expect(polls).toEqual(["writing", "reading", "ok"]);
      expect(polls.map((step) => libpq.pollingStatusNumber[step])).toEqual([2, 1, 3]);
      for (let i = 0; i < 3; i++) expect(libpq.connectPoll(conn)).toBe("ok");
      expect(await libpq.ready(conn), "nothing is to be waited for").toBe(true);
      expect(libpq.errorMessage(conn)).toBe("");
    });
  });

  test("until failed, which it says for ever, with the server's words", async () => {
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.fail("28P01", "password authentication failed");
    };
    await withoutTrace(script, async (port) => {
      using conn = start(port);
      const { polls, statuses } = await follow(conn);
      expect(polls).toEqual(["writing", "reading", "failed"]);
      expect(statuses.at(-1)).toBe("BAD");
      for (let i = 0; i < 3; i++) expect(libpq.connectPoll(conn)).toBe("failed");
      expect(libpq.errorMessage(conn)).toBe(
        `connection to server at "127.0.0.1", port ${port} failed: FATAL:  password authentication failed`,
      );
    });
  });

  test("the socket is asked for anew after each poll: sslmode=prefer without TLS in the end", async () => {
    const broken: Script = async (peer) => {
      await peer.expectStartup("ssl");
      peer.send(Buffer.from("S"));
      await peer.stream.read(1, "a ClientHello");
      peer.send(Buffer.from("this is not TLS"));
      await peer.closed;
    };
    await withoutTrace([broken, welcome], async (port) => {
      using conn = start(port, "sslmode=prefer");
      const sockets: number[] = [];
      const statuses: string[] = [];
      for (let step: string = "writing"; step === "writing" || step === "reading"; ) {
        await libpq.ready(conn);
        sockets.push(libpq.socket(conn));
        step = libpq.connectPoll(conn);
        statuses.push(libpq.status(conn));
      }
      expect(statuses.at(-1)).toBe("OK");
      expect(statuses.filter((status) => status === "STARTED").length, "a second connection").toBeGreaterThan(
        0,
      );
      expect(sockets.some((socket) => socket >= 0)).toBe(true);
      expect(libpq.socket(conn)).toBeGreaterThanOrEqual(0);
      expect(libpq.sslInUse(conn)).toBe(false);
      libpq.finish(conn);
      expect(libpq.socket(conn)).toBe(-1);
    });
  });

  test("what a socket still says once another has been turned to counts no more", async () => {
    const refuses: Script = async (peer) => {
      await peer.expectStartup("ssl");
      peer.fail("0A000", "no TLS here");
    };
    await withoutTrace([refuses, welcome], async (port, server) => {
      using conn = start(port, "sslmode=prefer");
      while (libpq.connectPoll(conn) !== "reading") await libpq.ready(conn);
      // Its words and its end lie in wait together.
      await waitUntil(() => server.peers[0]?.stream.isClosed === true, "the first connection is over");
      expect((await follow(conn)).end, libpq.errorMessage(conn)).toBe("ok");
    });
  });

  test("what comes between polls is kept, and beyond a bound not read", async () => {
    const notice = Buffer.alloc(64 * 1024, " ");
    notice.write("N");
    notice.writeUInt32BE(notice.length - 1, 1);
    notice.write("SNOTICE\0C00000\0M", 5);
    notice.fill(0, notice.length - 2);
    const ok = encodeBackend({ kind: "AuthenticationOk" });
    const before = resources();
    const sockets: net.Socket[] = [];
    const flood = net.createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => undefined).write(Buffer.concat([ok, ...Array<Buffer>(200).fill(notice)]));
    });
    flood.listen(0, "127.0.0.1");
    await once(flood, "listening");
    const pending = (): number => sockets[0]?.writableLength ?? 0;
    const conn = start((flood.address() as net.AddressInfo).port);
    await libpq.ready(conn);
    expect([libpq.connectPoll(conn), libpq.connectPoll(conn)]).toEqual(["writing", "reading"]);
    // Nobody polls: the kernel's buffers fill up, and the server has to keep the rest.
    let last = -1;
    let same = 0;
    await waitUntil(() => {
      same = pending() === last && last > 0 ? same + 1 : 0;
      last = pending();
      return same === 20;
    }, "the server can write no more, for good");
    expect(libpq.status(conn)).toBe("AWAITING_RESPONSE");
    while (pending() > 0) {
      await libpq.ready(conn);
      expect(libpq.connectPoll(conn)).toBe("reading");
    }
    expect(libpq.status(conn)).toBe("AUTH_OK");
    libpq.finish(conn);
    await waitUntil(() => sockets[0]?.destroyed === true, "the server sees the end");
    flood.close();
    await nothingLeftSince(before);
  });
});
