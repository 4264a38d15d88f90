/** The fault proxy, and the scripted server that tests of the client use. */
import { randomBytes } from "node:crypto";
import net from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CertificateAuthority, FaultProxy } from "../../src/lab/index.ts";
import { ByteStream } from "../kit/byte-stream.ts";
import { rawClient } from "../kit/raw-client.ts";
import { ScriptedServer } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";

describe("a fault proxy", () => {
  let server: net.Server;
  let accepted: ByteStream[];
  let proxy: FaultProxy;

  beforeEach(async () => {
    accepted = [];
    server = net.createServer((socket) => accepted.push(new ByteStream(socket)));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    proxy = await FaultProxy.start({ port: (server.address() as net.AddressInfo).port });
  });

  afterEach(async () => {
    await proxy.stop();
    for (const stream of accepted) stream.destroy();
    server.close();
  });

  async function open(): Promise<{ client: ByteStream; peer: ByteStream }> {
    const client = await ByteStream.connect(proxy.port);
    await waitUntil(() => accepted.length > 0, "the proxy connects");
    return { client, peer: accepted.pop() as ByteStream };
  }

  test("passes bytes both ways, and the end of a stream", async () => {
    const { client, peer } = await open();
    const bytes = randomBytes(5_000_000);
    client.write(bytes);
    expect((await peer.read(bytes.length, "all bytes")).equals(bytes)).toBe(true);
    peer.write(Buffer.from("answer"));
    peer.end();
    expect((await client.readToEnd()).toString()).toBe("answer");
    await waitUntil(() => proxy.connections === 0, "the link is gone");
    expect(proxy.accepted).toBe(1);
  });

  test("delays", async () => {
    const { client, peer } = await open();
    await proxy.set({ latencyMs: 100 });
    const start = performance.now();
    client.write(Buffer.from("a"));
    await peer.read(1, "a");
    peer.write(Buffer.from("b"));
    await client.read(1, "b");
    expect(performance.now() - start).toBeGreaterThanOrEqual(195);
  });

  test("tears writes apart", async () => {
    await proxy.set({ writeBytesMax: 3 });
    const { client, peer } = await open();
    const bytes = randomBytes(1000);
    client.write(bytes);
    expect((await peer.read(3, "the first bytes")).length).toBe(3);
    expect(peer.available).toBeLessThan(900);
    expect((await peer.read(997, "the rest")).equals(bytes.subarray(3))).toBe(true);
  });

  test("loses", async () => {
    const { client, peer } = await open();
    await proxy.set({ drop: true });
    client.write(Buffer.from("lost"));
    await expect(peer.read(1, "nothing", 100)).rejects.toThrow();
    await proxy.heal();
    client.write(Buffer.from("found"));
    expect((await peer.read(5, "found")).toString()).toBe("found");
  });

  test("stalls and cuts after a number of bytes", async () => {
    await proxy.set({ stallAfterBytes: 10 });
    const stalled = await open();
    stalled.peer.write(Buffer.alloc(25));
    await stalled.client.read(10, "what is let through");
    await expect(stalled.client.read(1, "nothing", 100)).rejects.toThrow();
    await proxy.heal();
    await stalled.client.read(15, "the rest");

    await proxy.set({ cutAfterBytes: 10 });
    const cut = await open();
    cut.peer.write(Buffer.alloc(25));
    expect(await cut.client.readToEnd()).toHaveLength(10);
    await cut.peer.closed;
  });

  test("resets, closes and refuses", async () => {
    const { client, peer } = await open();
    proxy.resetAll();
    await Promise.all([client.closed, peer.closed]);
    await waitUntil(() => client.error !== undefined, "the client sees a reset");
    expect((client.error as NodeJS.ErrnoException).code).toBe("ECONNRESET");
    const closed = await open();
    proxy.closeAll();
    await Promise.all([closed.client.closed, closed.peer.closed]);
    expect(closed.client.error).toBeUndefined();
    await proxy.set({ refuse: true });
    await expect(ByteStream.connect(proxy.port)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await proxy.heal();
    await open();
  });
});

describe("a scripted server", () => {
  test("plays its script, with TLS", async () => {
    const { certificate, key } = new CertificateAuthority().issue({ commonName: "localhost" });
    await using server = await ScriptedServer.start(async (peer) => {
      await peer.acceptTls({ cert: certificate, key });
      expect((await peer.expectStartup("startup")).parameters).toContainEqual(["user", "anna"]);
      peer.send({ kind: "AuthenticationCleartextPassword" });
      expect((await peer.expect("PasswordMessage")).data.toString()).toBe("secret\0");
      peer.welcome({ parameters: { server_version: "7.4" } });
      await peer.expect("Terminate");
    });
    using raw = await rawClient(server.port);
    await raw.startTls();
    const session = await raw.startup({ user: "anna", password: "secret" });
    expect(session.parameters.get("server_version")).toBe("7.4");
    await raw.close();
    await server.finished;
  });

  test("tells of a script that failed", async () => {
    await using server = await ScriptedServer.start(async (peer) => {
      await peer.refuseTls();
      await peer.expectStartup("startup");
    });
    using raw = await rawClient(server.port);
    await expect(raw.startTls()).rejects.toThrow(/answered N/);
    raw.stream.end();
    await expect(server.finished).rejects.toThrow(/ended before: startup/);
  });
});
