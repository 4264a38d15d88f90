/** What is written below Node's streams, over real sockets: all of it arrives, in order, and what fails is told as Node tells it. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import { expect, test } from "vitest";
import { directHandle, systemError } from "../../../src/base/direct-write.ts";
import { Transport } from "../../../src/base/transport.ts";
import { authority, serverCertificate, serverKey } from "./certificates.ts";
import { listen, pair, portOf, Recorder, servers, until } from "./pairs.ts";

/**
 * A transport and the plain socket of its peer, which keeps its side open and reads nothing until it is told to. A transport
 * that closes with bytes unread resets the connection.
 */
async function withPeer(accepts: boolean): Promise<{ recorder: Recorder; peer: net.Socket }> {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[net.Socket]>;
  if (!accepts) {
    let opened = false;
    const transport = Transport.connect({ host: "127.0.0.1", port: portOf(server) }, 8192, () => {
      opened = true;
    });
    const recorder = new Recorder(transport);
    await until(() => opened, "it is open");
    const [peer] = await accepted;
    return { recorder, peer: peer.on("error", () => undefined) };
  }
  const peer = net.connect({ host: "127.0.0.1", port: portOf(server), allowHalfOpen: true });
  peer.on("error", () => undefined);
  const [socket] = await accepted;
  return { recorder: new Recorder(Transport.accept(socket)), peer };
}

/** Writes until the kernel takes no more; returns how many bytes. */
function fill({ transport }: Recorder, block = Buffer.alloc(256 * 1024, 7)): number {
  let written = block.length;
  while (transport.write(block)) written += block.length;
  return written;
}

/** What a socket reads until its end. */
async function readAll(socket: net.Socket): Promise<number> {
  let bytes = 0;
  socket.on("data", (chunk) => {
    bytes += chunk.length;
  });
  socket.resume();
  await once(socket, "end");
  return bytes;
}

test("handles of plain sockets are written to, of TLS and of unknown runtimes not", async () => {
  const server = await listen();
  const socket = net.connect(portOf(server), "127.0.0.1");
  await once(socket, "connect");
  const { _handle: handle } = socket as unknown as { _handle: object };
  expect(directHandle(handle)).toBe(handle);
  const secured = tls.connect({ socket });
  secured.on("error", () => undefined);
  expect(directHandle((secured as unknown as { _handle: object })._handle)).toBeUndefined();
  expect([undefined, null, {}, socket].map(directHandle)).toEqual(Array(4).fill(undefined));
  secured.destroy();
});

test("100 MB in pieces of every size arrive in order at a reader that is slower", async () => {
  const { near, far } = await pair();
  const received = createHash("sha1");
  let receivedBytes = 0;
  let reads = 0;
  near.transport.listener = {
    onData(chunk) {
      received.update(chunk);
      receivedBytes += chunk.length;
      if (++reads % 16 !== 0) return;
      near.transport.pause();
      setImmediate(() => near.transport.resume());
    },
    onDrain() {},
    onClose() {},
  };
  const source = Buffer.allocUnsafeSlow(1024 * 1024);
  for (let at = 0; at < source.length; at += 4) source.writeUInt32LE((at * 2654435761) >>> 0, at);
  const sent = createHash("sha1");
  let sentBytes = 0;
  for (let round = 0; sentBytes < 100e6; round++) {
    const length = round % 3 === 0 ? 700_001 : (round * 37) % 3000;
    const start = (round * 4099) % (source.length - length);
    const piece = source.subarray(start, start + length);
    sent.update(piece);
    sentBytes += length;
    const drains = far.drains;
    // Whoever waits for onDrain only sometimes has several writes pending behind each other.
    if (!far.transport.write(piece) && round % 5 === 0) await until(() => far.drains > drains, "it drains");
  }
  await until(() => receivedBytes === sentBytes, "every byte has arrived");
  expect(received.digest("hex")).toBe(sent.digest("hex"));
  await until(() => far.transport.pendingBytes === 0, "nothing is pending");
});

for (const accepts of [true, false]) {
  const side = accepts ? "accepted" : "connecting";

  test(`a reset while bytes are pending is one onClose and no onDrain (${side})`, async () => {
    const { recorder, peer } = await withPeer(accepts);
    fill(recorder);
    peer.resetAndDestroy();
    await until(() => recorder.closes.length > 0, "the reset is seen");
    expect(recorder.closes).toMatchObject([{ code: expect.stringMatching(/^(ECONNRESET|EPIPE)$/) }]);
    expect(recorder.transport.write(Buffer.from("too late"))).toBe(true);
    expect(recorder.drains).toBe(0);
  });

  test(`what is pending arrives although the peer has ended its side, and then the end (${side})`, async () => {
    const { recorder, peer } = await withPeer(accepts);
    const written = fill(recorder);
    peer.end();
    await once(peer, "finish");
    expect(await readAll(peer)).toBe(written);
    await until(() => recorder.closes.length > 0, "it is closed");
    expect(recorder.closes).toEqual([undefined]);
  });

  test(`end comes after what is pending (${side})`, async () => {
    const { recorder, peer } = await withPeer(accepts);
    const written = fill(recorder);
    recorder.transport.write(Buffer.from("one more "));
    recorder.transport.end(Buffer.from("and the last"));
    expect(await readAll(peer)).toBe(written + "one more and the last".length);
    peer.end();
    await until(() => recorder.closes.length > 0, "it is closed");
    expect(recorder.closes).toEqual([undefined]);
  });

  test(`destroy drops what is pending (${side})`, async () => {
    const { recorder, peer } = await withPeer(accepts);
    const written = fill(recorder);
    recorder.transport.destroy();
    await until(() => recorder.closes.length > 0, "it is closed");
    expect(recorder.closes).toEqual([undefined]);
    peer.on("error", () => undefined);
    const ended = once(peer, "close");
    let bytes = 0;
    peer.on("data", (chunk) => {
      bytes += chunk.length;
    });
    peer.on("end", () => peer.end());
    peer.resume();
    await ended;
    expect(bytes).toBeLessThan(written);
    expect(recorder.drains).toBe(0);
  });
}

test("a write that fails at once ends the stream with the error that Node's streams have", async () => {
  const { recorder, peer } = await withPeer(true);
  recorder.transport.pause();
  peer.resetAndDestroy();
  const line = Buffer.alloc(4096);
  while (recorder.closes.length === 0) {
    recorder.transport.write(line);
    await new Promise(setImmediate);
  }
  const [error] = recorder.closes;
  expect(error).toMatchObject({
    syscall: "write",
    code: expect.stringMatching(/^(ECONNRESET|EPIPE)$/),
  });
  expect(recorder.closes).toHaveLength(1);
});

test("the error of a failed write has libuv's name and number", () => {
  expect(systemError(-32, "write")).toMatchObject({
    message: "write EPIPE",
    code: "EPIPE",
    errno: -32,
    syscall: "write",
  });
});

test("TLS takes over while plain bytes are pending, and they arrive", async () => {
  const { near, far } = await pair();
  near.transport.pause();
  const written = fill(far, Buffer.alloc(1024 * 1024, 7));
  const secured: string[] = [];
  const options = { secureContext: tls.createSecureContext({ cert: serverCertificate, key: serverKey }) };
  far.transport.acceptTls(options, undefined, () => secured.push("far"));
  near.transport.resume();
  await until(() => near.bytes === written, "the plain bytes have arrived");
  near.transport.startTls({ ca: authority, servername: "localhost" }, () => secured.push("near"));
  await until(() => secured.length === 2, "both sides are secure");
  near.transport.write(Buffer.from("ping"));
  far.transport.write(Buffer.from("pong"));
  await until(() => far.text === "ping" && near.text.endsWith("pong"), "both words are there");
  await until(() => far.transport.pendingBytes === 0, "nothing is pending");
});
