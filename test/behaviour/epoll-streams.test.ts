/** Streams by descriptor: how they read, write, end, fail and are handed on to Node. */
import { once } from "node:events";
import net from "node:net";
import { setImmediate as immediately, setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { useDescriptors } from "../../src/base/descriptors.ts";
import { socketOf } from "../../src/base/node-sockets.ts";
import { Transport } from "../../src/base/transport.ts";
import { useEpoll } from "../../src/epoll/descriptors.ts";
import { EpollKit, type Told } from "../kit/epoll-streams.ts";
import { waitUntil } from "../kit/wait.ts";

const chunk = Buffer.alloc(64 * 1024);
for (let i = 0; i < chunk.length; i++) chunk[i] = i % 251;

describe.runIf(process.platform === "linux")("a stream by descriptor", () => {
  let kit: EpollKit;
  beforeAll(() => {
    kit = new EpollKit();
  });
  afterEach(() => kit.close());

  /** Writes until the kernel takes no more; returns what was written. */
  function fill(told: Told): Buffer {
    const written = [chunk];
    while (told.stream.send(chunk)) written.push(chunk);
    // And small ones behind it, which are joined.
    for (const text of ["one", "two", "three"]) {
      told.stream.send(Buffer.from(text));
      written.push(Buffer.from(text));
    }
    return Buffer.concat(written);
  }

  /** What comes until the peer ends its side. */
  async function readAll(socket: net.Socket): Promise<Buffer> {
    const chunks: Buffer[] = [];
    socket.on("data", (bytes: Buffer) => chunks.push(bytes));
    socket.resume();
    await once(socket, "end");
    return Buffer.concat(chunks);
  }

  test("destroyed by who is told of bytes, it tells no more of them", async () => {
    const [one, other] = kit.pair();
    other.onChunk = () => other.stream.destroy();
    fill(one);
    await waitUntil(() => other.closes > 0 && one.closes > 0, "both are closed");
    expect(other.chunks).toHaveLength(1);
    expect([one.closes, other.closes]).toEqual([1, 1]);
    expect(other.errors).toEqual([]);
  });

  test("ended by who is told of bytes, it reads on until the peer ends", async () => {
    const [one, other] = kit.pair();
    other.onChunk = () => other.stream.end(Buffer.from("bye"));
    one.stream.send(Buffer.from("first"));
    await waitUntil(() => one.closes > 0 && other.closes > 0, "both are closed");
    expect(one.bytes.toString()).toBe("bye");
    expect([one.errors, other.errors]).toEqual([[], []]);
  });

  test("paused by who is told of bytes, it tells the others when it is resumed", async () => {
    const [one, other] = kit.pair();
    other.onChunk = () => other.stream.pause();
    const written = fill(one);
    await waitUntil(() => other.chunks.length > 0, "the first bytes are there");
    for (let i = 0; i < 5; i++) await sleep(1);
    expect(other.chunks).toHaveLength(1);
    other.onChunk = () => undefined;
    other.stream.resume();
    await waitUntil(() => other.bytes.equals(written), "all of them are there");
    expect(one.writes).toBe(1);
    expect(one.stream.writableLength).toBe(0);
  });

  test("what is released is read into again, however short; what is not keeps its bytes", async () => {
    const [one, other] = kit.pair();
    const memory: ArrayBufferLike[] = [];
    let kept: Buffer = Buffer.alloc(0);
    other.onChunk = (bytes) => {
      memory.push(bytes.buffer);
      if (memory.length === 3) kept = bytes;
      else other.stream.releaseChunk(bytes);
      // What is said of others, or of it too late, does not touch what was kept.
      other.stream.releaseChunk(memory.length === 3 ? Buffer.alloc(4) : kept);
    };
    const texts = ["short, so copied", "released", "kept", "copied again", "released", "the end"];
    for (const [i, text] of texts.entries()) {
      one.stream.send(Buffer.from(text));
      await waitUntil(() => memory.length > i, "it is there");
      other.stream.releaseChunk(kept);
    }
    expect(memory[2]).toBe(memory[1]);
    expect(memory[5]).toBe(memory[4]);
    expect(memory[4]).not.toBe(memory[1]);
    for (const copied of [memory[0], memory[3]]) expect([memory[1], memory[4]]).not.toContain(copied);
    expect(kept.toString()).toBe("kept");
  });

  test("paused, with a peer that resets, it costs nothing, and fails when it is resumed", async () => {
    const { here, there } = await kit.tcp();
    here.stream.pause();
    there.resetAndDestroy();
    await once(there, "close");
    await immediately();
    const before = kit.waits;
    await sleep(30);
    expect(kit.waits - before).toBeLessThan(50);
    expect(here.closes).toBe(0);
    here.stream.resume();
    await waitUntil(() => here.closes > 0, "it is told");
    expect(here.errors).toMatchObject([{ code: "ECONNRESET" }]);
  });

  test.each([true, false])(
    "waiting to write (paused: %s) to a peer that resets, it fails",
    async (paused) => {
      const { here, there } = await kit.tcp();
      if (paused) here.stream.pause();
      fill(here);
      expect(here.stream.writableLength).toBeGreaterThan(0);
      there.resetAndDestroy();
      await waitUntil(() => here.closes > 0, "it is told");
      expect(here.errors).toHaveLength(1);
      expect(here.errors[0]).toHaveProperty("code", expect.stringMatching(/^(ECONNRESET|EPIPE)$/));
      expect(here.closes).toBe(1);
    },
  );

  test("the peer ends its side first: what waits is written before ours is ended", async () => {
    const { here, there } = await kit.tcp(true);
    const written = fill(here);
    there.end("the last word");
    await waitUntil(() => here.bytes.toString() === "the last word", "its last bytes are there");
    expect(here.closes).toBe(0);
    expect((await readAll(there)).equals(written)).toBe(true);
    await waitUntil(() => here.closes > 0, "it is closed");
    expect(here.errors).toEqual([]);
  });

  test("ours is ended first: what waits is written, and what the peer sends is read", async () => {
    const { here, there } = await kit.tcp(true);
    const written = fill(here);
    here.stream.end(Buffer.from("bye"));
    expect(here.stream.send(Buffer.from("too late"))).toBe(true);
    expect((await readAll(there)).equals(Buffer.concat([written, Buffer.from("bye")]))).toBe(true);
    expect(here.closes).toBe(0);
    there.end(chunk);
    await waitUntil(() => here.closes > 0, "it is closed");
    expect(here.bytes.equals(chunk)).toBe(true);
    expect(here.errors).toEqual([]);
  });

  test("handed on to Node, it takes what waits with it, and tells nothing more", async () => {
    const { here, there } = await kit.tcp();
    const written = fill(here);
    const socket = socketOf(here.stream);
    socket.end("from Node");
    expect((await readAll(there)).equals(Buffer.concat([written, Buffer.from("from Node")]))).toBe(true);
    await immediately();
    expect([here.closes, here.writes, here.chunks.length, here.errors.length]).toEqual([0, 0, 0, 0]);
    socket.destroy();
  });

  test("addresses of both sides; none of a Unix socket, and none of ours when it is gone", async () => {
    const { here, there } = await kit.tcp();
    expect(here.stream.remotePort).toBe(there.localPort);
    expect(here.stream.localPort).toBe(there.remotePort);
    expect([here.stream.remoteAddress, here.stream.localAddress]).toEqual(["127.0.0.1", "127.0.0.1"]);
    here.stream.destroy();
    expect(here.stream.remoteAddress).toBe("127.0.0.1");
    expect([here.stream.localAddress, here.stream.localPort]).toEqual([undefined, undefined]);
    const [one] = kit.pair();
    expect([one.stream.remoteAddress, one.stream.localPort]).toEqual([undefined, undefined]);
  });
});

/** One step of who writes: so many bytes, and whether it waits then until they are through. */
type Step = readonly [bytes: number, waits: boolean];

describe.runIf(process.platform === "linux")("two transports", () => {
  beforeAll(() => {
    expect(useEpoll()).toBe(true);
  });
  afterAll(() => useDescriptors(undefined));

  const bytesOfStep = fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 700_000 }));
  const steps = fc.array(fc.tuple(bytesOfStep, fc.boolean()), { maxLength: 8 });

  for (const peer of ["a descriptor", "a handle of Node's"] as const) {
    test(`lose nothing and keep the order, with ${peer} at the other end`, async () => {
      await fc.assert(
        fc.asyncProperty(steps, steps, fc.integer({ min: 1, max: 6 }), async (here, there, pace) => {
          await exchange(peer === "a descriptor", here, there, pace);
        }),
        { numRuns: 8 },
      );
    });
  }

  /** Both write at once, and read slowly: every so many chunks they rest for a moment. */
  async function exchange(
    byDescriptor: boolean,
    here: readonly Step[],
    there: readonly Step[],
    pace: number,
  ) {
    const server = net.createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const accepted = once(server, "connection") as Promise<[net.Socket]>;
      const { port } = server.address() as net.AddressInfo;
      let open = false;
      const near = new End(
        Transport.connect({ host: "127.0.0.1", port }, 8192, () => {
          open = true;
        }),
        pace,
      );
      const [socket] = await accepted;
      if (!byDescriptor) useDescriptors(undefined);
      const far = new End(Transport.accept(socket), pace);
      useEpoll();
      await waitUntil(() => open, "it is connected");
      const [sent, answered] = await Promise.all([near.write(here), far.write(there)]);
      await waitUntil(() => near.digest.bytes === answered.bytes, "all is here");
      near.transport.end();
      await waitUntil(() => near.closes + far.closes === 2, "both are closed");
      expect([near.digest, far.digest]).toEqual([answered, sent]);
      expect([near.error, far.error]).toEqual([undefined, undefined]);
      expect([near.owed, far.owed]).toEqual([false, false]);
    } finally {
      server.close();
    }
  }
});

/** So many bytes, and what they were. */
interface Digest {
  bytes: number;
  sum: number;
}

function add(digest: Digest, bytes: Buffer): void {
  for (const byte of bytes) digest.sum = (Math.imul(digest.sum, 31) + byte) | 0;
  digest.bytes += bytes.length;
}

class End {
  readonly transport: Transport;
  readonly digest: Digest = { bytes: 0, sum: 0 };
  closes = 0;
  error: Error | undefined;
  /** A write was told that it is pending, and nobody has told yet that it is through. */
  owed = false;
  #chunks = 0;

  constructor(transport: Transport, pace: number) {
    this.transport = transport;
    transport.listener = {
      onData: (bytes) => {
        add(this.digest, bytes);
        if (++this.#chunks % pace !== 0) return;
        transport.pause();
        setTimeout(() => transport.resume(), 1);
      },
      onDrain: () => {
        expect(this.owed).toBe(true);
        this.owed = false;
      },
      onClose: (error) => {
        this.closes++;
        this.error = error;
      },
    };
  }

  async write(steps: readonly Step[]): Promise<Digest> {
    const sent: Digest = { bytes: 0, sum: 0 };
    for (const [i, [length, waits]] of steps.entries()) {
      const bytes = Buffer.allocUnsafe(length);
      for (let k = 0; k < length; k++) bytes[k] = (k * 7 + (k >> 8) + i) & 0xff;
      add(sent, bytes);
      if (!this.transport.write(bytes)) this.owed = true;
      if (waits) await waitUntil(() => !this.owed, "it is told that all is through");
    }
    await waitUntil(() => !this.owed, "it is told that all is through");
    return sent;
  }
}
