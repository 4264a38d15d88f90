/** Accepted connections without Node's socket object, as they come from a listener; and what there is where that cannot be had. */
import { once } from "node:events";
import net from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import {
  type AcceptedHandle,
  acceptHandles,
  asAccepted,
  isStreamHandle,
} from "../../../src/base/handle-stream.ts";
import { Transport } from "../../../src/base/transport.ts";
import { listen, portOf, Recorder, servers, until } from "./pairs.ts";

const unexpected = (): void => expect.unreachable();

/** What a listener hands on for one connection, and the client's side of it. */
async function accepted(): Promise<{ handle: AcceptedHandle; client: net.Socket }> {
  const server = await listen();
  const handles: AcceptedHandle[] = [];
  const takes = acceptHandles(server, (handle) => handles.push(handle), unexpected);
  expect(takes).toBe(true);
  const client = net.connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true });
  await until(() => handles.length > 0, "it is accepted");
  return { handle: handles[0] as AcceptedHandle, client };
}

test("a handle is read, written and ended, and knows both addresses, also when its peer is gone", async () => {
  const { handle, client } = await accepted();
  const { transport, ...recorder } = new Recorder(Transport.accept(handle));
  const { remotePort, localPort } = transport;
  expect([transport.remoteAddress, remotePort]).toEqual(["127.0.0.1", client.localPort]);
  expect([transport.localAddress, localPort]).toEqual(["127.0.0.1", client.remotePort]);
  client.write("ping");
  await until(() => recorder.chunks.length > 0, "it is read");
  expect(String(recorder.chunks[0])).toBe("ping");
  transport.write(Buffer.from("pong"));
  expect(String(await once(client, "data"))).toBe("pong");
  client.resetAndDestroy();
  await until(() => recorder.closes.length > 0, "it is closed");
  expect(recorder.closes).toMatchObject([
    { code: "ECONNRESET", syscall: "read", message: "read ECONNRESET" },
  ]);
  expect(transport.remotePort).toBe(remotePort);
});

test("the peer's end closes at once what has nothing to write, and nothing is lost of what has", async () => {
  const { handle, client } = await accepted();
  const recorder = new Recorder(Transport.accept(handle));
  recorder.transport.listener = {
    onData: () => recorder.transport.write(Buffer.from("the answer")),
    onDrain() {},
    onClose: (error) => recorder.closes.push(error),
  };
  client.end("the question");
  const [answer] = await once(client, "data");
  expect(String(answer)).toBe("the answer");
  await once(client, "end");
  await until(() => recorder.closes.length > 0, "it is closed");
  expect(recorder.closes).toEqual([undefined]);
});

test("an accept that fails is told as Node tells it, and the next one works", async () => {
  const server = await listen();
  const told: (Error | string)[] = [];
  acceptHandles(
    server,
    (handle) => {
      told.push("accepted");
      handle.close();
    },
    (error) => told.push(error),
  );
  const { _handle: listening } = server as unknown as { _handle: { onconnection(status: number): void } };
  listening.onconnection(-24);
  net.connect(portOf(server), "127.0.0.1").on("error", () => undefined);
  await until(() => told.length === 2, "one is accepted");
  expect(told).toMatchObject([{ message: "accept EMFILE", code: "EMFILE", errno: -24 }, "accepted"]);
});

test("a handle that another process passes on is taken as it is", async () => {
  const { handle, client } = await accepted();
  expect(asAccepted(handle)).toBe(handle);
  handle.close();
  client.destroy();
  expect(isStreamHandle({})).toBe(false);
});

test("where nobody may read handles, accepted connections are Node's sockets", async () => {
  const { binding } = process as unknown as { binding: unknown };
  onTestFinished(() => {
    Object.assign(process, { binding });
    vi.resetModules();
  });
  Object.assign(process, { binding: undefined });
  vi.resetModules();
  const own = await import("../../../src/base/handle-stream.ts");
  const { Transport: OwnTransport } = await import("../../../src/base/transport.ts");
  expect(own.canReadHandles).toBe(false);
  const server = net.createServer({ pauseOnConnect: true });
  servers.push(server.listen(0, "127.0.0.1"));
  await once(server, "listening");
  expect(own.acceptHandles(server, unexpected, unexpected)).toBe(false);
  const connection = once(server, "connection");
  const client = net.connect(portOf(server), "127.0.0.1");
  const [socket] = (await connection) as [net.Socket];
  const recorder = new Recorder(OwnTransport.accept(socket));
  client.write("ping");
  await until(() => recorder.text === "ping", "it is read");
  recorder.transport.end(Buffer.from("bye"));
  expect(String(await once(client, "data"))).toBe("bye");
  await until(() => recorder.closes.length > 0, "it is closed");
  expect(recorder.closes).toEqual([undefined]);
});
