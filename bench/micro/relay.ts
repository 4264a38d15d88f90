/**
 * A TCP relay, one server connection per client, in as many ways as Node offers to read and to write.
 *
 * It knows nothing of PostgreSQL, so what it costs per transaction is the price of the sockets alone: two
 * reads and two writes. Run by relay-bench.ts, which asks for its processor time over the IPC channel.
 *
 *   node --import tsx bench/micro/relay.ts '{"accepted":"data","connected":"onread","write":"chunk","port":54329}'
 */
import net from "node:net";
import { hookAccept, type OnBytes, type ReadMode, readAccepted, reader, usesHandle } from "./read-modes.ts";

/**
 * How bytes are passed on: the chunk as it was read; a copy; the chunk in two writes under cork; the same two
 * pieces joined by Buffer.concat; in two plain writes; straight to the handle (not for use, a lower bound).
 */
export type WriteMode = "chunk" | "copy" | "cork" | "concat" | "two" | "handle";

export interface RelayOptions {
  readonly accepted: ReadMode;
  readonly connected: ReadMode;
  readonly write: WriteMode;
  readonly noDelay: boolean;
  /** Where PostgreSQL listens on 127.0.0.1. */
  readonly port: number;
}

const options = JSON.parse(process.argv[2] ?? "{}") as RelayOptions;
const write = writer(options.write);
const server = net.createServer(
  { noDelay: options.noDelay, pauseOnConnect: usesHandle(options.accepted) },
  (socket) => {
    relay((onBytes) => readAccepted(socket, options.accepted, onBytes));
  },
);
server.listen({ port: Number(process.argv[3] ?? 0), host: "127.0.0.1", backlog: 4096 }, () => {
  if (options.accepted === "shared-hook") {
    hookAccept(server, options.noDelay, (take) => relay(take));
  }
  process.send?.({ port: (server.address() as net.AddressInfo).port });
});
process.on("message", () => {
  const usage = process.cpuUsage();
  process.send?.({ user: usage.user, system: usage.system, rss: process.memoryUsage.rss() });
});
process.on("disconnect", () => process.exit(0));

/** Joins one accepted socket to one new connection. */
function relay(accept: (onBytes: OnBytes) => net.Socket): void {
  const upstream: net.Socket = connect((chunk) => pass(upstream, client, chunk));
  const client: net.Socket = accept((chunk) => pass(client, upstream, chunk));
  couple(client, upstream);
  couple(upstream, client);
}

/** Passes a chunk on. False when the reader has to wait, and its buffer to stay as it is, until the drain. */
function pass(source: net.Socket, target: net.Socket, chunk: Buffer): boolean {
  write(target, chunk);
  if (target.writableLength === 0) return true;
  // Node emits "drain" only after write() returned false; what is pending here may be less than that.
  (target as unknown as { _writableState: { needDrain: boolean } })._writableState.needDrain = true;
  source.pause();
  target.once("drain", () => source.resume());
  return false;
}

function couple(one: net.Socket, other: net.Socket): void {
  one.on("error", () => other.destroy());
  one.on("close", () => other.destroy());
  one.on("end", () => other.end());
}

function connect(onBytes: OnBytes): net.Socket {
  const address = { host: "127.0.0.1", port: options.port, noDelay: options.noDelay };
  if (options.connected === "data") {
    const socket = net.connect(address);
    socket.on("data", onBytes);
    return socket;
  }
  return net.connect({ ...address, onread: reader(options.connected, onBytes) });
}

function writer(mode: WriteMode): (target: net.Socket, chunk: Buffer) => void {
  switch (mode) {
    case "chunk":
      return (target, chunk) => target.write(chunk);
    case "copy":
      return (target, chunk) => target.write(Buffer.from(chunk));
    case "two":
      return (target, chunk) => {
        target.write(chunk.subarray(0, 5));
        target.write(chunk.subarray(5));
      };
    case "cork":
      return (target, chunk) => {
        target.cork();
        target.write(chunk.subarray(0, 5));
        target.write(chunk.subarray(5));
        target.uncork();
      };
    case "concat":
      return (target, chunk) => target.write(Buffer.concat([chunk.subarray(0, 5), chunk.subarray(5)]));
    case "handle":
      return handleWriter();
  }
}

/** Node's own call below the stream machinery. Only small chunks that the kernel takes at once. */
function handleWriter(): (target: net.Socket, chunk: Buffer) => void {
  const internals = process as unknown as { binding(name: string): { WriteWrap: new () => object } };
  const { WriteWrap } = internals.binding("stream_wrap");
  return (target, chunk) => {
    const { _handle } = target as unknown as {
      _handle: { writeBuffer(request: object, data: Buffer): number };
    };
    if (_handle === null) target.write(chunk);
    else _handle.writeBuffer(new WriteWrap(), chunk);
  };
}
