/**
 * What Node asks for a connection that lives for one statement: a program that accepts, answers AuthenticationOk and
 * ReadyForQuery to whatever comes first, the same row to each Query, and closes at Terminate. It has no servers, so that what a
 * pooler does comes on top of its figures.
 *
 *   node --import tsx bench/micro/bare-connects.ts data|shared|shared-hook|handle PORT
 *   pgbench -h 127.0.0.1 -p PORT -U postgres -n -S -C -c 16 -j 16 -T 5 bench
 *
 * `handle` makes no socket of the accepted handle: what is left is the kernel's work, libuv's and Node's C++.
 */
import net from "node:net";
import {
  encodeAuthenticationOk,
  encodeCommandComplete,
  encodeReadyForQuery,
} from "../../src/wire/encode-backend.ts";
import { hookAccept, type OnBytes, type ReadMode, readAccepted, usesHandle } from "./read-modes.ts";

/** What Node's own streams set as they read; reached by a way that is not for programs. */
interface StreamBinding {
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
}
interface Handle {
  onread: ((this: Handle) => void) | undefined;
  useUserBuffer(buffer: Buffer): void;
  setNoDelay(on: boolean): void;
  readStart(): number;
  writeBuffer(request: object, chunk: Buffer): number;
  close(): void;
}

const terminate = 0x58;
const [, , mode = "data", port = "0"] = process.argv;
const welcome = Buffer.concat([encodeAuthenticationOk(), encodeReadyForQuery(0x49)]);
const answer = Buffer.concat([encodeCommandComplete("SELECT 0"), encodeReadyForQuery(0x49)]);
const buffer = Buffer.allocUnsafeSlow(65_536);

const server = net.createServer({ noDelay: true, pauseOnConnect: usesHandle(mode as ReadMode) }, (socket) =>
  serve((onBytes) => readAccepted(socket, mode as ReadMode, onBytes)),
);
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 }, () => {
  if (mode === "shared-hook") hookAccept(server, true, serve);
  if (mode === "handle") hookHandles();
});

function serve(take: (onBytes: OnBytes) => net.Socket): void {
  let welcomed = false;
  const socket: net.Socket = take((chunk) => {
    if (!welcomed) socket.write(welcome);
    else if (chunk[0] === terminate) socket.end();
    else socket.write(answer);
    welcomed = true;
    return true;
  });
  socket.on("error", () => socket.destroy());
}

function hookHandles(): void {
  const bindings = process as unknown as { binding(name: string): unknown };
  const { streamBaseState, kReadBytesOrError } = bindings.binding("stream_wrap") as StreamBinding;
  const { WriteWrap } = bindings.binding("stream_wrap") as { WriteWrap: new () => object };
  const request = new WriteWrap();
  const welcomed = new WeakSet<Handle>();
  function onread(this: Handle): void {
    const bytes = streamBaseState[kReadBytesOrError] ?? -1;
    if (bytes <= 0 || (buffer[0] === terminate && welcomed.has(this))) this.close();
    else if (welcomed.has(this)) this.writeBuffer(request, answer);
    else {
      welcomed.add(this);
      this.writeBuffer(request, welcome);
    }
  }
  const { _handle: listening } = server as unknown as { _handle: { onconnection: unknown } };
  listening.onconnection = (status: number, handle: Handle) => {
    if (status !== 0) throw new Error(`accept failed: ${status}`);
    handle.setNoDelay(true);
    handle.useUserBuffer(buffer);
    handle.onread = onread;
    handle.readStart();
  };
}
