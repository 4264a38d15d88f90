/**
 * COPY in goes through one read buffer as long as nobody keeps a chunk (Transport.releaseChunk), and other clients' bytes go through the same
 * one. So what reaches the servers is summed up there: behind slow readers, from many clients at once, in pieces of any size.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setImmediate as immediately } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { unixSocketPath } from "../../src/base/unix-socket.ts";
import { encodeBackend } from "../../src/wire/encode-backend.ts";
import { encodeFrontend } from "../../src/wire/encode-frontend.ts";
import { Frame, Framer, frontendRules } from "../../src/wire/framer.ts";
import type { BackendMessage } from "../../src/wire/messages.ts";
import { Client, Pooled } from "./pooled.ts";

const copyData = "d".charCodeAt(0);
const idle = 0x49;

/** How a server reads: it rests for a moment after every so many chunks, so that the pooler has more than the kernel takes. */
let chunksPerRest = 1;
const restMs = 4;
let server: net.Server;
let pooled: Pooled;
let folder: string;

beforeAll(async () => {
  server = net.createServer({ noDelay: true }, (socket) => new SummingPeer(socket));
  // A Unix socket takes some 200 kB, where TCP may take megabytes: writes to a slow reader wait in the pooler.
  folder = mkdtempSync(path.join(tmpdir(), "copy-buffers-"));
  server.listen(unixSocketPath(folder, 5432));
  await once(server, "listening");
  pooled = await Pooled.start(
    { primary: { host: folder, port: 5432 } },
    { settings: { default_pool_size: 4, max_client_conn: 100 } },
  );
});
afterAll(async () => {
  await pooled[Symbol.asyncDispose]();
  server.close();
  rmSync(folder, { recursive: true });
});

/** What a COPY was, with the headers of its messages. */
class Sum {
  #bytes = 0;
  #sum = 0;

  add(bytes: Buffer): void {
    for (const byte of bytes) this.#sum = (Math.imul(this.#sum, 31) + byte) | 0;
    this.#bytes += bytes.length;
  }

  get text(): string {
    return `COPY ${this.#bytes} ${this.#sum}`;
  }
}

/** A server that answers a COPY with the sum of its data, and any other query with its text. */
class SummingPeer {
  readonly #socket: net.Socket;
  readonly #framer = new Framer(frontendRules(1024 * 1024));
  #startup = true;
  #chunks = 0;
  #sum = new Sum();

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => this.#read(chunk));
  }

  #read(chunk: Buffer): void {
    if (this.#startup) {
      this.#startup = false;
      this.#send(
        { kind: "AuthenticationOk" },
        { kind: "ParameterStatus", name: "server_version", value: "18.0" },
        { kind: "BackendKeyData", pid: 4711, key: Buffer.from("1234") },
        { kind: "ReadyForQuery", status: idle },
      );
      return;
    }
    this.#framer.feed(chunk);
    for (let kind = this.#framer.next(); kind !== Frame.need; kind = this.#framer.next()) {
      const { type, buffer, start, end } = this.#framer;
      if (type === copyData) this.#sum.add(buffer.subarray(start, end));
      else if (kind === Frame.whole) this.#answer(String.fromCharCode(type), buffer.subarray(start + 5, end));
    }
    if (++this.#chunks % chunksPerRest !== 0) return;
    this.#socket.pause();
    setTimeout(() => this.#socket.resume(), restMs);
  }

  #answer(type: string, body: Buffer): void {
    if (type === "X") this.#socket.end();
    if (type === "c") {
      this.#send({ kind: "CommandComplete", tag: this.#sum.text }, { kind: "ReadyForQuery", status: idle });
    }
    if (type !== "Q") return;
    const sql = body.toString("latin1", 0, body.length - 1);
    if (sql === "copy") {
      this.#sum = new Sum();
      this.#send({ kind: "CopyInResponse", format: 0, columnFormats: [] });
    } else {
      this.#send({ kind: "CommandComplete", tag: sql }, { kind: "ReadyForQuery", status: idle });
    }
  }

  #send(...messages: readonly BackendMessage[]): void {
    this.#socket.write(Buffer.concat(messages.map((message) => encodeBackend(message))));
  }
}

/** One COPY: how long its messages are, and the pieces that it is written in. */
interface Plan {
  readonly messages: readonly number[];
  readonly pieces: readonly number[];
}

const plan: fc.Arbitrary<Plan> = fc.record({
  messages: fc.array(
    fc.oneof(
      fc.integer({ min: 0, max: 200 }),
      fc.integer({ min: 0, max: 20_000 }),
      fc.integer({ min: 0, max: 400_000 }),
    ),
    { minLength: 1, maxLength: 40 },
  ),
  pieces: fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 200_000 })), {
    minLength: 1,
    maxLength: 6,
  }),
});

function dataOf({ messages }: Plan, seed: number): Buffer {
  return Buffer.concat(
    messages.map((length, i) => {
      const data = Buffer.allocUnsafe(length);
      for (let k = 0; k < length; k++) data[k] = (k * 7 + (k >> 8) * 13 + i + seed * 31) & 0xff;
      return encodeFrontend({ kind: "CopyData", data });
    }),
  );
}

/** At most so many small pieces: each is a turn of the event loop. */
const piecesMax = 200;

async function write(client: Client, bytes: Buffer, pieces: readonly number[]): Promise<void> {
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const length = i < piecesMax ? (pieces[i % pieces.length] as number) : bytes.length;
    client.send(bytes.subarray(at, at + length));
    at += length;
    if (length < 1000) await immediately();
  }
}

async function copy(given: Plan, seed: number): Promise<void> {
  using client = await Client.connect(pooled.place);
  client.send({ kind: "Query", sql: "copy" });
  await client.raw.until("CopyInResponse");
  const data = dataOf(given, seed);
  const sum = new Sum();
  sum.add(data);
  // What follows the data may come in one piece with the end of it, and is no data.
  const end = Buffer.concat([
    encodeFrontend({ kind: "CopyDone" }),
    encodeFrontend({ kind: "Query", sql: `after ${seed}` }),
  ]);
  await write(client, Buffer.concat([data, end]), given.pieces);
  expect([(await client.outcome()).tags, (await client.outcome()).tags]).toEqual([
    [sum.text],
    [`after ${seed}`],
  ]);
}

/** Its bytes lie in the same buffer as everybody's. */
async function ask(count: number, seed: number): Promise<void> {
  using client = await Client.connect(pooled.place);
  for (let i = 0; i < count; i++) {
    const sql = `statement ${seed} ${i} ${"y".repeat((i * 997) % 5000)}`;
    expect((await client.run(sql)).tags).toEqual([sql]);
  }
}

test("every byte of several COPYs at once reaches its server, between statements of others, and behind slow readers", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(plan, { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 4 }),
      async (plans, pace) => {
        chunksPerRest = pace;
        await Promise.all([...plans.map((given, i) => copy(given, i)), ask(20, 1)]);
      },
    ),
    { numRuns: 8 },
  );
}, 60_000);

test("a client that resets in the middle of a COPY leaves the bytes of others alone", async () => {
  chunksPerRest = 2;
  const large: Plan = {
    messages: Array.from({ length: 60 }, (_, i) => 20_000 + i * 1_001),
    pieces: [150_000],
  };
  const lost = await Client.connect(pooled.place);
  lost.send({ kind: "Query", sql: "copy" });
  await lost.raw.until("CopyInResponse");
  const others = [copy(large, 1), copy(large, 2)];
  await write(lost, dataOf(large, 3).subarray(0, 1_000_000), [100_000]);
  lost.raw.stream.reset();
  await Promise.all(others);
  await copy(large, 4);
});
