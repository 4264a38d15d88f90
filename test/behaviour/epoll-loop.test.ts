/** The loop around Node's: what Node promises holds, and what streams of one turn do to each other. */
import { execFile } from "node:child_process";
import { fstatSync, openSync } from "node:fs";
import { stat } from "node:fs/promises";
import { setImmediate as immediately, setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { duplicateCloseOnExec } from "../../src/epoll/constants.ts";
import { EpollKit, type Told } from "../kit/epoll-streams.ts";
import { waitUntil } from "../kit/wait.ts";

const execute = promisify(execFile);

describe.runIf(process.platform === "linux")("the loop", () => {
  let kit: EpollKit;
  beforeAll(() => {
    kit = new EpollKit();
  });
  afterEach(() => kit.close());

  /** Each answers what the other sends, without end. */
  function playBall(): () => number {
    const [one, other] = kit.pair();
    let strokes = 0;
    for (const side of [one, other]) {
      side.onChunk = (chunk) => {
        side.chunks.length = 0;
        strokes++;
        side.stream.send(chunk);
      };
    }
    one.stream.send(Buffer.from("ball"));
    return () => strokes;
  }

  describe("while descriptors are busy for ever", () => {
    test("ticks, promises, immediates, timers and what other threads do have their turns", async () => {
      const strokes = playBall();
      let before = 0;
      for (let round = 0; round < 20; round++) {
        await new Promise<void>((resolve) => process.nextTick(resolve));
        await Promise.resolve();
        await immediately();
        await sleep(1);
        await stat(".");
        // And so have the descriptors.
        await waitUntil(() => strokes() > before, "the ball is played on");
        before = strokes();
      }
    });

    test("an interval comes again and again", async () => {
      playBall();
      let count = 0;
      const interval = setInterval(() => count++, 1);
      try {
        // Not a timer, which the interval could hide behind.
        while (count < 10) await immediately();
      } finally {
        clearInterval(interval);
      }
    });
  });

  test("timers and other threads are heard while descriptors are idle", async () => {
    kit.pair();
    for (let round = 0; round < 5; round++) {
      await sleep(1);
      await stat(".");
    }
  });

  test("an idle loop waits, and does not turn", async () => {
    kit.pair();
    await immediately();
    const before = kit.waits;
    await sleep(30);
    // It returns to Node for the timer; a loop that does not wait has turned ten thousand times.
    expect(kit.waits - before).toBeLessThan(50);
  });

  test("ticks and promises of a handler run before anything waits, immediates soon after", async () => {
    const order: string[] = [];
    const real = { ...kit.calls };
    const [one, other] = kit.pair();
    other.onChunk = () => {
      order.push("handler");
      setImmediate(() => order.push("immediate"));
      void Promise.resolve().then(() => {
        order.push("promise");
        process.nextTick(() => order.push("tick of the promise"));
      });
      process.nextTick(() => order.push("tick"));
    };
    kit.calls.epoll_wait = (...given) => {
      order.push("wait");
      return real.epoll_wait(...given);
    };
    try {
      one.stream.send(Buffer.from("go"));
      await waitUntil(() => order.includes("immediate"), "everything has run");
    } finally {
      Object.assign(kit.calls, real);
    }
    const after = order.slice(order.indexOf("handler"));
    expect(after.slice(0, 4)).toEqual(["handler", "tick", "promise", "tick of the promise"]);
    // It may look once without waiting.
    expect(after.filter((what) => what === "wait").length).toBeLessThanOrEqual(after.length - 5);
    expect(after.slice(4, 7)).toContain("immediate");
  });

  test("a handler destroys a stream whose event is in the same turn", async () => {
    const [a, toA] = kit.descriptors();
    const [b, toB] = kit.descriptors();
    const both = [kit.open(a), kit.open(b)] as const;
    const reused: number[] = [];
    for (const [i, told] of both.entries()) {
      told.onChunk = () => {
        both[1 - i]?.stream.destroy();
        // Its number is not given to another while events of this turn may speak of it.
        reused.push(kit.calls.fcntl(a, duplicateCloseOnExec, "int", 0));
      };
    }
    kit.send(toA, "one");
    kit.send(toB, "other");
    await waitUntil(() => both.some(({ closes }) => closes > 0), "one is closed");
    expect(both.flatMap(({ chunks }) => chunks)).toHaveLength(1);
    expect(both.flatMap(({ errors }) => errors)).toEqual([]);
    expect([a, b]).not.toContain(reused[0]);
    expect(reused).toHaveLength(1);
    for (const descriptor of [toA, toB, ...reused]) kit.calls.close(descriptor);
  });

  test("closing is told once, later than it is asked for, with the first error", async () => {
    const [one, other] = kit.pair();
    const first = new Error("first");
    one.stream.destroy(first);
    one.stream.destroy(new Error("second"));
    one.stream.end();
    expect(one.closes).toBe(0);
    expect(one.stream.destroyed).toBe(true);
    await waitUntil(() => other.closes > 0 && one.closes > 0, "both are closed");
    await immediately();
    expect([one.closes, other.closes]).toEqual([1, 1]);
    expect(one.errors).toEqual([first]);
    expect(other.errors).toEqual([]);
    expect(one.stream.send(Buffer.from("late"))).toBe(true);
  });

  test("a stream that is opened when another is told to be closed is read", async () => {
    const [one] = kit.pair();
    let later: [Told, Told] | undefined;
    one.onClosed = () => {
      later = kit.pair();
    };
    one.stream.destroy();
    await waitUntil(() => later !== undefined, "it is closed");
    later?.[0].stream.send(Buffer.from("ping"));
    await waitUntil(() => later?.[1].bytes.toString() === "ping", "the bytes are there");
  });

  test("a descriptor that cannot be watched is an error and a close", async () => {
    const file = openSync(import.meta.filename, "r");
    const told = kit.open(file);
    expect(told.errors).toMatchObject([{ code: "EPERM" }]);
    await waitUntil(() => told.closes > 0, "it is told");
    expect(() => fstatSync(file)).toThrow("EBADF");
  });
});

describe.runIf(process.platform === "linux")("a program", () => {
  const folder = fileURLToPath(new URL("../../src/", import.meta.url));

  /** Runs a program that reads by descriptors; `near` and `far` are the transports of a connection. Resolves with what it prints. */
  async function run(body: string): Promise<string> {
    const program = `
      import net from "node:net";
      import { Transport } from "${folder}base/transport.ts";
      import { useEpoll } from "${folder}epoll/descriptors.ts";
      if (!useEpoll()) throw new Error("no descriptors");
      const server = net.createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1", () => {
        const near = Transport.connect({ host: "127.0.0.1", port: server.address().port }, 8192, () => {});
        server.once("connection", (socket) => {
          const far = Transport.accept(socket);
          server.close();
          ${body}
        });
      });`;
    const { stdout } = await execute(
      process.execPath,
      ["--import", "tsx", "--input-type=module", "-e", program],
      { cwd: folder },
    );
    return stdout;
  }

  test("that has closed all its streams ends by itself", async () => {
    const body = `far.listener = { onData() {}, onDrain() {}, onClose: () => console.log("closed") };
      near.destroy();`;
    expect(await run(body)).toBe("closed\n");
  });

  test("hears of what a listener throws as of any callback, once, and its other streams go on", async () => {
    const body = `process.on("uncaughtException", (error) => console.log(error.message));
      let count = 0;
      far.listener = {
        onData(chunk) {
          if (count++ === 0) {
            far.write(chunk);
            throw new Error("thrown");
          }
          console.log(String(chunk));
          far.end();
        },
        onDrain() {},
        onClose: () => console.log("closed"),
      };
      near.listener = { onData: (chunk) => near.write(chunk), onDrain() {}, onClose() {} };
      near.write(Buffer.from("ball"));`;
    expect(await run(body)).toBe("thrown\nball\nclosed\n");
  });
});
