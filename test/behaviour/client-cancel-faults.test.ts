/** Cancel requests and the small client, against servers that are slow, gone or broken; nothing is left of them. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { type CancelTarget, cancelBackend, SimpleClient } from "../../src/client/index.ts";
import { TransactionStatus } from "../../src/wire/constants.ts";
import type { Script } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";
import { failureOf, nothingLeftSince, optionsFor, resources, withoutTrace } from "./client-traces.ts";

describe("a cancel request", () => {
  const session = (port: number, given: Partial<CancelTarget> = {}): CancelTarget => ({
    endpoint: { host: "db.example", address: "127.0.0.1", port },
    tls: false,
    backendPid: 7,
    cancelKey: Buffer.of(1, 2, 3, 4),
    ...given,
  });

  test("acceptance 90: goes to the address of the session on a new socket, without a look-up", async () => {
    const script: Script = async (peer) => {
      expect(await peer.expectStartup("cancel")).toMatchObject({ pid: 7, key: Buffer.of(1, 2, 3, 4) });
    };
    await withoutTrace(script, async (port, server) => {
      // The options name other hosts as well: only where the session is counts.
      const options = optionsFor(1, { hosts: [{ host: "elsewhere.example", port: 1 }] });
      await cancelBackend(options, session(port), { timeoutMs: 2000 });
      await server.finished;
    });
  });

  test("acceptance 91: is done only when the server has closed", async () => {
    let close = (): void => undefined;
    const closing = new Promise<void>((resolve) => {
      close = resolve;
    });
    let taken = false;
    const script: Script = async (peer) => {
      await peer.expectStartup("cancel");
      taken = true;
      await closing;
    };
    await withoutTrace(script, async (port) => {
      let done = false;
      const cancelled = cancelBackend(optionsFor(port), session(port), { timeoutMs: 5000 }).then(() => {
        done = true;
      });
      await waitUntil(() => taken, "the request arrives");
      await sleep(100);
      expect(done).toBe(false);
      close();
      await cancelled;
    });
  });

  test("acceptance 90: that cannot be delivered fails, with nothing left", async () => {
    const before = resources();
    const none = await failureOf(cancelBackend(optionsFor(1), session(1), { timeoutMs: 2000 }));
    expect(none).toMatchObject({ code: "client.connect_failed", sqlstate: "08001" });
    await nothingLeftSince(before);
    await withoutTrace(
      async (peer) => await peer.closed,
      async (port) => {
        const late = await failureOf(cancelBackend(optionsFor(port), session(port), { timeoutMs: 80 }));
        expect(late.code).toBe("client.connect_timeout");
      },
    );
  });

  test("without a key there is nothing to send", async () => {
    const error = await failureOf(
      cancelBackend(optionsFor(1), session(1, { cancelKey: undefined }), { timeoutMs: 10 }),
    );
    expect(error.message).toMatch(/no cancel key/);
  });
});

describe("SimpleClient", () => {
  test("acceptance 78: a session that is closed says Terminate, and its socket goes", async () => {
    let farewell = "";
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.welcome();
      farewell = (await peer.next()).kind;
    };
    await withoutTrace(script, async (port) => {
      const client = await SimpleClient.connect(optionsFor(port));
      await client.close();
      expect(farewell).toBe("Terminate");
      expect(client.connection.transport.closed).toBe(true);
    });
  });

  test("a server that goes away rejects what waits, with its last words", async () => {
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.welcome();
      await peer.expect("Query");
      peer.fail("57P01", "terminating connection due to administrator command");
    };
    await withoutTrace(script, async (port) => {
      const client = await SimpleClient.connect(optionsFor(port));
      const results = await Promise.allSettled([client.query("select 1"), client.query("select 2")]);
      expect(results[0]).toMatchObject({ reason: { sqlstate: "57P01" } });
      expect(results[1]).toMatchObject({ reason: { sqlstate: "08006" } });
      await expect(client.query("select 3")).rejects.toMatchObject({ sqlstate: "08006" });
    });
  });

  test("a server that breaks the protocol ends the session", async () => {
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.welcome();
      await peer.expect("Query");
      peer.send(Buffer.from("?????"), { kind: "ReadyForQuery", status: TransactionStatus.idle });
      await peer.closed;
    };
    await withoutTrace(script, async (port) => {
      const client = await SimpleClient.connect(optionsFor(port));
      await expect(client.query("select 1")).rejects.toMatchObject({ sqlstate: "08P01" });
    });
  });
});
