/** What a transport promises, over real sockets on the loopback interface, whoever reads and writes these: Node, or src/epoll. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import tls from "node:tls";
import { describe, expect, test, vi } from "vitest";
import { Transport } from "../../../src/base/transport.ts";
import { unixSocketPath } from "../../../src/base/unix-socket.ts";
import { authority, clientCertificate, clientKey, serverCertificate, serverKey } from "./certificates.ts";
import { listen, pair, portOf, Recorder, readBufferBytes, servers, transports, until } from "./pairs.ts";

describe("connecting", () => {
  test("bytes pass both ways", async () => {
    const { near, far } = await pair();
    near.transport.write(Buffer.from("ping"));
    await until(() => far.text === "ping", "the accepted side has the bytes");
    far.transport.write(Buffer.from("pong"));
    await until(() => near.text === "pong", "the connecting side has the bytes");
    expect(near.transport.remotePort).toBe(far.transport.localPort);
    expect(near.transport.localAddress).toBe("127.0.0.1");
  });

  test("a Unix socket is found by its folder and port", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "transport-"));
    try {
      const server = await listen({ path: unixSocketPath(folder, 6432) });
      const accepted = once(server, "connection") as Promise<[net.Socket]>;
      const near = new Recorder(
        Transport.connect({ host: folder, port: 6432 }, readBufferBytes, () => undefined),
      );
      const far = new Recorder(Transport.accept((await accepted)[0]));
      near.transport.write(Buffer.from("ping"));
      await until(() => far.text === "ping", "the bytes are there");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("abstract names of Linux begin with a NUL byte", () => {
    expect(unixSocketPath("@sluice", 5432)).toBe("\0sluice/.s.PGSQL.5432");
  });

  test("a refused connection is one onClose with the reason", async () => {
    const server = await listen();
    const port = portOf(server);
    server.close();
    await once(server, "close");
    const near = new Recorder(
      Transport.connect({ host: "127.0.0.1", port }, readBufferBytes, () => undefined),
    );
    await until(() => near.closes.length > 0, "the failure arrives");
    expect(near.closes).toMatchObject([{ code: "ECONNREFUSED" }]);
  });

  test("a name with a dead first address reads correctly from the second", async () => {
    const server = await listen();
    const lookup = net.getDefaultAutoSelectFamily();
    net.setDefaultAutoSelectFamily(true);
    try {
      const accepted = once(server, "connection") as Promise<[net.Socket]>;
      const near = new Recorder(
        Transport.connect({ host: "localhost", port: portOf(server) }, readBufferBytes, () => undefined),
      );
      const far = new Recorder(Transport.accept((await accepted)[0]));
      far.transport.write(Buffer.from("hello"));
      await until(() => near.bytes === 5, "five bytes are there");
      expect(near.text).toBe("hello");
    } finally {
      net.setDefaultAutoSelectFamily(lookup);
    }
  });
});

describe("reading", () => {
  test("without retainChunk the next read uses the same memory", async () => {
    const { near, far } = await pair((chunk) => chunk);
    far.transport.write(Buffer.from("first"));
    await until(() => near.chunks.length === 1, "the first chunk is there");
    far.transport.write(Buffer.from("other"));
    await until(() => near.chunks.length === 2, "the second chunk is there");
    expect(near.chunks.map(String)).toEqual(["other", "other"]);
  });

  test("a retained chunk keeps its bytes", async () => {
    const { near, far } = await pair((chunk) => {
      near.transport.retainChunk();
      return chunk;
    });
    for (const word of ["first", "other", "third"]) {
      const count = near.chunks.length;
      far.transport.write(Buffer.from(word));
      await until(() => near.chunks.length > count, `${word} is there`);
    }
    expect(near.chunks.map(String)).toEqual(["first", "other", "third"]);
  });

  test("accepted sockets share a buffer and yet never each other's bytes", async () => {
    const server = await listen();
    const kept: { from: number; chunk: Buffer }[] = [];
    server.on("connection", (socket) => {
      const transport = Transport.accept(socket);
      const recorder = new Recorder(transport);
      const index = transports.length;
      recorder.transport.listener = {
        onData: (chunk) => kept.push({ from: index, chunk }),
        onDrain: () => undefined,
        onClose: () => undefined,
      };
    });
    const writers = Array.from({ length: 8 }, (_, index) => {
      const transport = Transport.connect({ host: "127.0.0.1", port: portOf(server) }, readBufferBytes, () =>
        transport.write(Buffer.alloc(1000, index)),
      );
      return new Recorder(transport);
    });
    const received = (): number => kept.reduce((sum, { chunk }) => sum + chunk.length, 0);
    await until(() => received() === 1000 * writers.length, "all bytes are there");
    const bytesOf = new Map<number, Set<number>>();
    for (const { from, chunk } of kept) {
      const bytes = bytesOf.get(from) ?? new Set();
      for (const byte of chunk) bytes.add(byte);
      bytesOf.set(from, bytes);
    }
    expect([...bytesOf.values()].map((bytes) => bytes.size)).toEqual(writers.map(() => 1));
    expect(new Set([...bytesOf.values()].flatMap((bytes) => [...bytes])).size).toBe(writers.length);
  });

  test("nothing is delivered while paused, everything afterwards", async () => {
    for (const side of ["near", "far"] as const) {
      const both = await pair();
      const reader = both[side];
      const writer = side === "near" ? both.far : both.near;
      reader.transport.pause();
      expect(reader.transport.paused).toBe(true);
      writer.transport.write(Buffer.from("later"));
      await new Promise((resolve) => setTimeout(resolve, 30));
      expect(reader.bytes).toBe(0);
      reader.transport.resume();
      await until(() => reader.text === "later", "the bytes come after all");
    }
  });
});

describe("back-pressure", () => {
  test("a full peer makes writes pending; onDrain follows once it reads", async () => {
    const { near, far } = await pair();
    near.transport.pause();
    const block = Buffer.alloc(256 * 1024, 7);
    let written = 0;
    while (far.transport.write(block)) written += block.length;
    written += block.length;
    expect(far.transport.pendingBytes).toBeGreaterThan(0);
    expect(far.drains).toBe(0);
    near.transport.resume();
    await until(() => far.drains === 1, "the writer is told");
    expect(far.transport.pendingBytes).toBe(0);
    await until(() => near.bytes === written, "every byte has arrived");
  });

  test("onDrain follows also for a write below Node's high-water mark", async () => {
    const { near, far } = await pair();
    near.transport.pause();
    const block = Buffer.alloc(4096, 7);
    let written = block.length;
    while (far.transport.write(block)) written += block.length;
    expect(far.transport.pendingBytes).toBeLessThanOrEqual(4096);
    near.transport.resume();
    await until(() => far.drains === 1, "the writer is told");
    await until(() => near.bytes === written, "every byte has arrived");
  });

  test("no onDrain for writes that were taken at once", async () => {
    const { near, far } = await pair();
    expect(far.transport.write(Buffer.from("a"))).toBe(true);
    await until(() => near.text === "a", "it is there");
    expect(far.drains).toBe(0);
  });
});

describe("closing", () => {
  test("end sends what is pending and closes both sides once, without an error", async () => {
    const { near, far } = await pair();
    far.transport.write(Buffer.from("almost "));
    far.transport.end(Buffer.from("done"));
    await until(() => near.closes.length > 0 && far.closes.length > 0, "both are closed");
    expect(near.text).toBe("almost done");
    expect([near.closes, far.closes]).toEqual([[undefined], [undefined]]);
    expect(far.transport.closed).toBe(true);
    expect(far.transport.write(Buffer.from("too late"))).toBe(true);
    far.transport.end();
    far.transport.destroy(new Error("too late"));
    expect(far.closes).toHaveLength(1);
  });

  test("end on a paused stream drops what comes and does not hang", async () => {
    const { near, far } = await pair();
    far.transport.pause();
    near.transport.write(Buffer.from("unread"));
    far.transport.end(Buffer.from("sorry"));
    await until(() => near.closes.length > 0 && far.closes.length > 0, "both are closed");
    expect(near.text).toBe("sorry");
    expect(near.closes).toEqual([undefined]);
    expect(far.bytes).toBe(0);
  });

  test("end does not wait for ever for a peer that keeps its side open", async () => {
    const server = net.createServer({ allowHalfOpen: true });
    servers.push(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const accepted = once(server, "connection") as Promise<[net.Socket]>;
    const near = new Recorder(
      Transport.connect({ host: "127.0.0.1", port: portOf(server) }, readBufferBytes, () => undefined),
    );
    const [socket] = await accepted;
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    near.transport.end();
    vi.advanceTimersByTime(5_000);
    vi.useRealTimers();
    await until(() => near.closes.length > 0, "it is closed all the same");
    expect(near.closes).toEqual([undefined]);
    socket.destroy();
  });

  test("finish sends what is pending, and does not wait for the peer's side", async () => {
    const server = await listen();
    const accepted = once(server, "connection") as Promise<[net.Socket]>;
    const socket = net.connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true });
    const far = new Recorder(Transport.accept((await accepted)[0]));
    try {
      far.transport.write(Buffer.from("done"));
      far.transport.finish();
      await until(() => far.closes.length > 0, "it is closed before its peer is");
      expect(far.closes).toEqual([undefined]);
      expect(String((await once(socket, "data"))[0])).toBe("done");
    } finally {
      socket.destroy();
    }
  });

  test("finish is an end where the kernel has not taken everything", async () => {
    const { near, far } = await pair();
    near.transport.pause();
    const block = Buffer.alloc(16 * 1024 * 1024, 7);
    expect(far.transport.write(block)).toBe(false);
    far.transport.finish();
    near.transport.resume();
    await until(() => near.closes.length > 0 && far.closes.length > 0, "both are closed");
    expect(near.bytes).toBe(block.length);
    expect([near.closes, far.closes]).toEqual([[undefined], [undefined]]);
  });

  test("destroy drops what is pending and passes its error on", async () => {
    const { near, far } = await pair();
    const reason = new Error("enough");
    near.transport.destroy(reason);
    near.transport.destroy(new Error("again"));
    await until(() => near.closes.length > 0 && far.closes.length > 0, "both are closed");
    expect(near.closes).toEqual([reason]);
  });

  test("a reset by the peer is one onClose with an error, never an exception", async () => {
    const server = await listen();
    const accepted = once(server, "connection") as Promise<[net.Socket]>;
    const near = new Recorder(
      Transport.connect({ host: "127.0.0.1", port: portOf(server) }, readBufferBytes, () => undefined),
    );
    const [socket] = await accepted;
    socket.resetAndDestroy();
    await until(() => near.closes.length > 0, "the reset is seen");
    expect(near.closes).toMatchObject([{ code: "ECONNRESET" }]);
  });
});

describe("TLS", () => {
  const serverOptions = {
    secureContext: tls.createSecureContext({ cert: serverCertificate, key: serverKey, ca: authority }),
  };
  const clientOptions = { ca: authority, servername: "localhost" };

  /** Both sides change to TLS. `first`: how many bytes of the ClientHello the server has read as plain text. */
  async function secure(
    server: tls.TLSSocketOptions,
    client: tls.ConnectionOptions,
    readFirst = false,
  ): Promise<{ near: Recorder; far: Recorder; secured: string[] }> {
    const { near, far } = await pair();
    const secured: string[] = [];
    if (!readFirst) far.transport.acceptTls(server, undefined, () => secured.push("far"));
    near.transport.startTls(client, () => secured.push("near"));
    if (readFirst) {
      await until(() => far.bytes > 0, "the ClientHello has come");
      far.transport.acceptTls(server, Buffer.concat(far.chunks.splice(0)), () => secured.push("far"));
    }
    return { near, far, secured };
  }

  for (const readFirst of [false, true]) {
    test(`bytes pass both ways (ClientHello ${readFirst ? "already read" : "unread"})`, async () => {
      const { near, far, secured } = await secure(serverOptions, clientOptions, readFirst);
      await until(() => secured.length === 2, "both sides are secure");
      expect(near.transport.tlsSocket?.getProtocol()).toBe("TLSv1.3");
      near.transport.write(Buffer.from("ping"));
      await until(() => far.text === "ping", "ping is there");
      const block = Buffer.alloc(1024 * 1024, 7);
      if (!far.transport.write(block)) await until(() => far.drains === 1, "the writer is told");
      await until(() => near.bytes === block.length, "the block is there");
      far.transport.end(Buffer.from("bye"));
      await until(() => near.closes.length > 0 && far.closes.length > 0, "both are closed");
      expect(near.text.endsWith("bye")).toBe(true);
      expect([near.closes, far.closes]).toEqual([[undefined], [undefined]]);
    });
  }

  test("pause and resume work on the secure stream", async () => {
    const { near, far, secured } = await secure(serverOptions, clientOptions);
    await until(() => secured.length === 2, "both sides are secure");
    near.transport.pause();
    far.transport.write(Buffer.from("later"));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(near.bytes).toBe(0);
    near.transport.resume();
    await until(() => near.text === "later", "the bytes come after all");
  });

  test("an end that comes while paused is acted on when the stream is resumed", async () => {
    const { near, far, secured } = await secure(serverOptions, clientOptions);
    await until(() => secured.length === 2, "both sides are secure");
    near.transport.write(Buffer.from("last"));
    await until(() => far.text === "last", "the last bytes are there");
    far.transport.pause();
    const socket = far.transport.tlsSocket as tls.TLSSocket;
    const ended = once(socket, "end");
    near.transport.end();
    await ended;
    await new Promise(setImmediate);
    expect(socket.writable).toBe(true);
    expect(far.closes).toEqual([]);
    far.transport.resume();
    await until(() => near.closes.length > 0 && far.closes.length > 0, "both are closed");
    expect([near.closes, far.closes]).toEqual([[undefined], [undefined]]);
  });

  test("the peer's plain close ends the secure stream", async () => {
    const server = await listen();
    const accepted = once(server, "connection") as Promise<[net.Socket]>;
    const near = new Recorder(
      Transport.connect({ host: "127.0.0.1", port: portOf(server) }, readBufferBytes, () => undefined),
    );
    const [socket] = await accepted;
    near.transport.startTls(clientOptions, () => undefined);
    socket.end();
    await until(() => near.closes.length > 0, "the end is seen");
    expect(near.closes[0]).toBeInstanceOf(Error);
  });

  for (const side of ["acceptTls", "startTls"] as const) {
    test(`${side} for a peer that turns out to be gone is one onClose with the reason`, async () => {
      const server = await listen();
      const accepted = once(server, "connection") as Promise<[net.Socket]>;
      const peer = net.connect(portOf(server), "127.0.0.1");
      const far = new Recorder(Transport.accept((await accepted)[0]));
      // What is not read cannot tell.
      far.transport.pause();
      peer.resetAndDestroy();
      await once(peer, "close");
      far.transport.write(Buffer.from("S"));
      if (side === "acceptTls") far.transport.acceptTls(serverOptions, undefined, () => undefined);
      else far.transport.startTls(clientOptions, () => undefined);
      await until(() => far.closes.length > 0, "the failure arrives");
      expect(far.closes).toHaveLength(1);
      expect(far.closes[0]).toBeInstanceOf(Error);
      // Others are not disturbed.
      const next = await pair();
      next.near.transport.write(Buffer.from("ping"));
      await until(() => next.far.text === "ping", "another stream has its bytes");
    });
  }

  test("an unknown authority is refused by the client, both sides close once", async () => {
    const { near, far } = await secure(serverOptions, { servername: "localhost" });
    await until(() => near.closes.length > 0 && far.closes.length > 0, "both are closed");
    expect(near.closes).toMatchObject([{ code: "SELF_SIGNED_CERT_IN_CHAIN" }]);
    expect(far.closes).toHaveLength(1);
  });

  test("garbage in place of a ClientHello is a close with an error", async () => {
    const { near, far } = await pair();
    far.transport.acceptTls(serverOptions, undefined, () => undefined);
    near.transport.write(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
    await until(() => far.closes.length > 0, "the server gives up");
    expect(far.closes[0]).toBeInstanceOf(Error);
  });

  test("garbage after the handshake is a close with an error", async () => {
    const server = await listen();
    const relay = await listen();
    const accepted = once(server, "connection") as Promise<[net.Socket]>;
    const relayed = once(relay, "connection") as Promise<[net.Socket]>;
    const client = tls.connect({ ...clientOptions, host: "127.0.0.1", port: portOf(relay) });
    client.on("error", () => undefined);
    const toServer = net.connect(portOf(server), "127.0.0.1");
    const [toClient] = await relayed;
    // Either side closes with bytes unread, which resets the relay's connections.
    for (const socket of [toClient, toServer]) socket.on("error", () => undefined);
    toClient.pipe(toServer).pipe(toClient);

    let secure = false;
    const far = new Recorder(Transport.accept((await accepted)[0]));
    far.transport.acceptTls(serverOptions, undefined, () => {
      secure = true;
    });
    await until(() => secure, "the server is secure");
    toServer.write(Buffer.from("\x17\x03\x03\x00\x05junk!", "latin1"));
    await until(() => far.closes.length > 0, "the server gives up");
    expect(far.closes[0]).toBeInstanceOf(Error);
    client.destroy();
  });

  test("a client certificate is judged", async () => {
    const asking = { ...serverOptions, requestCert: true };
    const withCertificate = { ...clientOptions, cert: clientCertificate, key: clientKey };

    const good = await secure(asking, withCertificate);
    await until(() => good.secured.length === 2, "both sides are secure");
    expect(good.far.transport.tlsSocket?.authorized).toBe(true);
    expect(good.far.transport.tlsSocket?.getPeerCertificate().subject.CN).toBe("alice");

    const none = await secure({ ...asking, rejectUnauthorized: false }, clientOptions);
    await until(() => none.secured.length === 2, "both sides are secure");
    expect(none.far.transport.tlsSocket?.authorized).toBe(false);
    expect(none.far.transport.tlsSocket?.authorizationError).toBeTruthy();

    const refused = await secure({ ...asking, rejectUnauthorized: true }, clientOptions);
    await until(() => refused.far.closes.length > 0 && refused.near.closes.length > 0, "both are closed");
    expect(refused.far.closes[0]).toBeInstanceOf(Error);
    expect(refused.secured).not.toContain("far");
  });
});
