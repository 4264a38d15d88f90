/** Writes of many streams by one call of io_uring: everybody's bytes arrive, whole and in order, whatever the kernel takes of them. */
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { useDescriptors } from "../../src/base/descriptors.ts";
import { turnBytesMax } from "../../src/base/turn-writes.ts";
import { useEpoll } from "../../src/epoll/descriptors.ts";
import { JointSends } from "../../src/epoll/joint-sends.ts";
import { loadSystemCalls } from "../../src/epoll/system-calls.ts";
import { pair, type Recorder, until } from "../unit/base/pairs.ts";

const calls = loadSystemCalls();
const ring = calls && JointSends.create(calls);
const writersCount = 12;

interface Pair {
  readonly near: Recorder;
  readonly far: Recorder;
  readonly written: Buffer[];
}

/** Connections that are written to in turns of the loop, each turn when a byte has come. */
async function crowd(): Promise<{ pairs: Pair[]; turn: (write: (pairs: Pair[]) => void) => Promise<void> }> {
  const trigger = await pair();
  const pairs: Pair[] = [];
  for (let i = 0; i < writersCount; i++) pairs.push({ ...(await pair()), written: [] });
  const turn = async (write: (pairs: Pair[]) => void): Promise<void> => {
    const handled = new Promise<void>((resolve) => {
      trigger.near.transport.listener = {
        onData() {
          try {
            write(pairs);
          } finally {
            resolve();
          }
        },
        onDrain() {},
        onClose() {},
      };
    });
    trigger.far.transport.write(Buffer.from("!"));
    await handled;
  };
  return { pairs, turn };
}

function write({ near, written }: Pair, bytes: number): boolean {
  const chunk = randomBytes(bytes);
  written.push(Buffer.from(chunk));
  const free = near.transport.write(chunk);
  // What was taken may be used again.
  if (free) chunk.fill(0);
  return free;
}

async function arrived({ far, written }: Pair): Promise<void> {
  const expected = Buffer.concat(written);
  await until(() => far.bytes >= expected.length, "everything has arrived");
  expect(Buffer.concat(far.chunks).equals(expected)).toBe(true);
}

describe.skipIf(ring === undefined)("joint sends", () => {
  const joint = vi.spyOn(JointSends.prototype, "add");

  beforeAll(() => {
    expect(useEpoll()).toBe(true);
  });
  afterEach(() => joint.mockClear());
  afterAll(() => {
    joint.mockRestore();
    useDescriptors(undefined);
  });

  const joined = (): number => joint.mock.results.filter(({ value }) => value === true).length;

  test("what many write in a turn arrives, turn after turn", async () => {
    const { pairs, turn } = await crowd();
    for (let i = 0; i < 50; i++)
      await turn((all) => {
        for (const each of all) write(each, 1 + ((i * 37) % turnBytesMax));
      });
    for (const each of pairs) await arrived(each);
    // And some of what asked for the next turn.
    expect(joined()).toBeGreaterThanOrEqual(50 * writersCount);
  });

  test("what a slow reader does not take waits, and goes on in order", async () => {
    const { pairs, turn } = await crowd();
    const slow = pairs.slice(0, 1);
    for (const { far } of slow) far.transport.pause();
    const stuck = (): boolean => slow.every(({ near }) => near.transport.pendingBytes > 0);
    for (let i = 0; !stuck() && i < 20_000; i++)
      await turn((all) => {
        for (const each of all)
          if (each.near.transport.pendingBytes === 0)
            write(each, slow.includes(each) ? turnBytesMax - (i % 7) : 20);
      });
    expect(stuck()).toBe(true);
    // Behind what waits, and beside those who are not waited for.
    await turn((all) => {
      for (const each of all) write(each, 100);
    });
    for (const { far } of slow) far.transport.resume();
    for (const each of pairs) await arrived(each);
    await until(() => slow.every(({ near }) => near.drains > 0), "those who waited are told");
    expect(slow.every(({ near }) => near.transport.pendingBytes === 0)).toBe(true);
    for (let i = 0; i < 3; i++)
      await turn((all) => {
        for (const each of all) write(each, 200);
      });
    for (const each of pairs) await arrived(each);
  });

  test("a large chunk and an end in the same turn come behind the small ones", async () => {
    const { pairs, turn } = await crowd();
    await turn((all) => {
      for (const each of all) write(each, 10);
      write(all[0] as Pair, 50_000);
      write(all[0] as Pair, 10);
      const { near, written } = all[1] as Pair;
      written.push(Buffer.from("last"));
      near.transport.end(Buffer.from("last"));
    });
    for (const each of pairs) await arrived(each);
    await until(() => (pairs[1] as Pair).far.closes.length === 1, "the end has been told");
  });

  test("who is gone is told so, and nobody else", async () => {
    const { pairs, turn } = await crowd();
    const [gone, ...others] = pairs as [Pair, ...Pair[]];
    gone.near.transport.pause();
    gone.far.transport.destroy();
    await until(() => gone.far.closes.length === 1, "it is gone");
    for (let i = 0; i < 20 && gone.near.closes.length === 0; i++) {
      await turn((all) => {
        for (const each of all) write(each, 500);
      });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await until(() => gone.near.closes.length === 1, "its writer is told");
    expect(gone.near.closes[0]).toMatchObject({ syscall: "write" });
    for (const each of others) {
      await arrived(each);
      expect(each.near.closes).toEqual([]);
    }
  });

  test("more than there are places", async () => {
    const { pairs, turn } = await crowd();
    await turn((all) => {
      // A full place leaves by itself.
      for (let i = 0; i < 40; i++) for (const each of all) write(each, 900);
    });
    for (const each of pairs) await arrived(each);
  });
});

describe.skipIf(ring === undefined)("who is told and comes again", () => {
  const arena = Buffer.allocUnsafeSlow(64);
  const chunk = (index: number): Buffer => arena.subarray(index, index + 1);

  test("finds that everybody else has been told", () => {
    const told: string[] = [];
    const sends = ring as JointSends;
    const tells = (name: string) => ({ onJointSend: () => void told.push(name) });
    sends.begin(arena);
    sends.add(tells("first"), 1 << 30, chunk(0));
    const again = {
      onJointSend() {
        told.push("again");
        sends.send();
        expect(told).toEqual(["first", "again", "third", "fourth"]);
        sends.begin(arena);
        for (const [index, name] of ["fifth", "sixth", "seventh"].entries())
          sends.add(tells(name), 1 << 30, chunk(index));
        sends.send();
      },
    };
    sends.add(again, 1 << 30, chunk(1));
    sends.add(tells("third"), 1 << 30, chunk(2));
    sends.add(tells("fourth"), 1 << 30, chunk(3));
    sends.send();
    expect(told).toEqual(["first", "again", "third", "fourth", "fifth", "sixth", "seventh"]);
  });

  test("and begins anew with all that were not told", () => {
    const told: string[] = [];
    const sends = ring as JointSends;
    const tells = (name: string) => ({ onJointSend: () => void told.push(name) });
    const again = {
      onJointSend() {
        sends.begin(arena);
        sends.add(tells("new"), 1 << 30, chunk(5));
        sends.send();
      },
    };
    sends.begin(arena);
    sends.add(again, 1 << 30, chunk(0));
    sends.add(tells("second"), 1 << 30, chunk(1));
    sends.send();
    expect(told).toEqual(["second", "new"]);
  });
});

describe.skipIf(ring === undefined)("what the kernel refuses to begin with", () => {
  const arena = Buffer.allocUnsafeSlow(64);

  test.each([
    ["all", 0],
    ["the last two", 3],
  ])("is told to be for later: %s", (_, taken) => {
    if (calls === undefined) throw new Error("there are no system calls here");
    let entered = 0;
    const short = JointSends.create({
      ...calls,
      syscall(number, ring, submit, ...rest) {
        if (number !== 426) return calls.syscall(number, ring, submit, ...rest);
        entered++;
        if (entered > 1 || taken === 0) return -1;
        return calls.syscall(number, ring, taken, taken, rest[1], rest[2], rest[3]);
      },
    }) as JointSends;
    const told: [number, number][] = [];
    short.begin(arena);
    // Nobody's descriptor: what has begun says so.
    for (let i = 0; i < 5; i++)
      short.add(
        { onJointSend: (_chunk, result) => told.push([i, result]) },
        1 << 30,
        arena.subarray(i, i + 1),
      );
    short.send();
    expect(told).toEqual([0, 1, 2, 3, 4].map((i) => [i, i < taken ? -9 : -11]));
  });
});
