/** The ends of a connection that libpq's calls make: time-outs, finish, reset. */
import { describe, expect, test } from "vitest";
import * as libpq from "../../src/client/libpq/index.ts";
import { type Script, ScriptedServer } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";
import { alone, conninfoFor, follow, start } from "./client-libpq-loop.ts";
import { withoutTrace } from "./client-traces.ts";

const welcome: Script = async (peer) => {
  await peer.expectStartup("startup");
  peer.welcome();
  await peer.closed;
};

describe("acceptance 103: who waits by himself has connect_timeout, and a deadline for the whole", () => {
  test("connectdb gives up an address after connect_timeout, and goes on to the next", async () => {
    await using silent = await ScriptedServer.start(async (peer) => await peer.closed);
    await using good = await ScriptedServer.start(welcome);
    const hosts = `host=127.0.0.1,127.0.0.1 port=${silent.port},${good.port}`;
    using conn = await libpq.connectdb(`${hosts} user=ada sslmode=disable connect_timeout=1`, {}, alone);
    expect([libpq.status(conn), libpq.port(conn)]).toEqual(["OK", String(good.port)]);
  });

  test("the deadline is for all addresses together, and for look-ups", async () => {
    await withoutTrace(
      async (peer) => await peer.closed,
      async (port) => {
        const hosts = `${conninfoFor(port)} host=127.0.0.1,127.0.0.1 connect_timeout=100`;
        using conn = await libpq.connectdb(hosts, { timeoutMs: 50 }, alone);
        expect(libpq.status(conn)).toBe("BAD");
        expect(libpq.errorMessage(conn)).toBe(
          `connection to server at "127.0.0.1", port ${port} failed: timeout expired`,
        );
        expect([await libpq.reset(conn, { timeoutMs: 0 }), libpq.errorMessage(conn)]).toEqual([
          "failed",
          "invalid timeout: 0 ms",
        ]);
      },
    );
  });

  test("a signal ends it", async () => {
    await withoutTrace(
      async (peer) => await peer.closed,
      async (port) => {
        using conn = await libpq.connectdb(conninfoFor(port), { signal: AbortSignal.timeout(20) }, alone);
        expect(libpq.errorMessage(conn)).toMatch(/the attempt was aborted$/);
      },
    );
  });

  test("ready rejects with the reason of its signal, and the connection is not touched", async () => {
    await withoutTrace(welcome, async (port) => {
      using conn = start(port, "host=db.example", { resolve: async () => ["127.0.0.1"] });
      const reason = new Error("no time");
      const controller = new AbortController();
      const waiting = libpq.ready(conn, { signal: controller.signal });
      controller.abort(reason);
      await expect(waiting).rejects.toBe(reason);
      await expect(libpq.ready(conn, { signal: controller.signal })).rejects.toBe(reason);
      expect((await follow(conn)).end).toBe("ok");
    });
  });
});

describe("acceptance 105: every connection is owed a finish, also one that has failed", () => {
  test("a connection that failed keeps its socket until then", async () => {
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.fail("28000", "no");
      await peer.closed;
    };
    await withoutTrace(script, async (port, server) => {
      const conn = start(port);
      expect((await follow(conn)).end).toBe("failed");
      expect(libpq.socket(conn)).toBeGreaterThanOrEqual(0);
      expect(server.peers[0]?.stream.isClosed).toBe(false);
      libpq.finish(conn);
      expect(libpq.socket(conn)).toBe(-1);
    });
  });

  test("a session is said goodbye to, and its socket goes at once", async () => {
    const words: string[] = [];
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.welcome();
      words.push((await peer.next()).kind);
      await peer.closed;
    };
    await withoutTrace(script, async (port, server) => {
      {
        using conn = start(port);
        expect((await follow(conn)).end).toBe("ok");
      }
      await server.finished;
      expect(words).toEqual(["Terminate"]);
    });
  });

  test("reset makes it anew by the same parameters, polled or not; the old one is said goodbye to", async () => {
    let pid = 100;
    const words: string[] = [];
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.welcome({ pid: pid++ });
      words.push((await peer.next()).kind);
    };
    await withoutTrace(script, async (port) => {
      using conn = start(port);
      await follow(conn);
      expect(libpq.backendPid(conn)).toBe(100);
      expect(libpq.resetStart(conn)).toBe(true);
      expect([libpq.status(conn), libpq.backendPid(conn)]).toEqual(["STARTED", 0]);
      for (let step = "writing"; step !== "ok"; step = libpq.resetPoll(conn)) await libpq.ready(conn);
      expect([libpq.status(conn), libpq.backendPid(conn)]).toEqual(["OK", 101]);
      expect(await libpq.reset(conn)).toBe("ok");
      expect(libpq.backendPid(conn)).toBe(102);
      libpq.finish(conn);
      await waitUntil(() => words.length === 3, "three goodbyes");
    });
  });

  test("finish while reset waits by itself", async () => {
    await withoutTrace(
      async (peer) => await peer.closed,
      async (port) => {
        const conn = start(port);
        const resetting = libpq.reset(conn);
        await waitUntil(() => libpq.status(conn) === "AWAITING_RESPONSE", "it waits for the server");
        libpq.finish(conn);
        expect(await resetting).toBe("failed");
      },
    );
  });

  test("finish from within a trace", async () => {
    await withoutTrace(welcome, async (port) => {
      const conn = start(port);
      libpq.trace(conn, (line) => {
        if (line.includes("AuthenticationOk")) libpq.finish(conn);
      });
      expect((await follow(conn)).end).toBe("failed");
    });
  });
});
