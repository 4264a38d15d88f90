/** Streams in a loop of their own, whose system calls a test can look at, and what they tell. */
import { once } from "node:events";
import net from "node:net";
import type { StreamOwner } from "../../src/base/descriptors.ts";
import { AddressReader } from "../../src/epoll/addresses.ts";
import {
  closeOnExec,
  duplicateCloseOnExec,
  nonBlocking,
  noSignal,
  streamSocket,
  unixDomain,
} from "../../src/epoll/constants.ts";
import { EventLoop } from "../../src/epoll/event-loop.ts";
import { EpollStream } from "../../src/epoll/stream.ts";
import { loadSystemCalls, type SystemCalls } from "../../src/epoll/system-calls.ts";

/** One side of a connection, read by descriptor. */
export class Told implements StreamOwner {
  readonly chunks: Buffer[] = [];
  readonly errors: Error[] = [];
  closes = 0;
  writes = 0;
  kept = 0;
  onChunk: (chunk: Buffer) => void = () => undefined;
  onClosed: () => void = () => undefined;
  stream!: EpollStream; // set by whoever makes it

  onRead(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.onChunk(chunk);
  }

  onStreamError(error: Error): void {
    this.errors.push(error);
  }

  onStreamClosed(): void {
    this.closes++;
    this.onClosed();
  }

  onStreamKept(): void {
    this.kept++;
  }

  onStreamWritten(): void {
    this.writes++;
  }

  sendTurn(): void {}

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

export class EpollKit {
  /** A test may put others in their place, before it uses them. */
  readonly calls: SystemCalls;
  readonly loop: EventLoop;
  readonly addresses: AddressReader;
  /** How often the loop has waited. */
  waits = 0;
  readonly #opened: Told[] = [];
  readonly #sockets: net.Socket[] = [];

  constructor() {
    const calls = loadSystemCalls();
    if (calls === undefined) throw new Error("there are no system calls here");
    this.calls = { ...calls };
    this.calls.epoll_wait = (...given) => {
      this.waits++;
      return calls.epoll_wait(...given);
    };
    const loop = EventLoop.create(this.calls);
    if (loop === undefined) throw new Error("there is no loop here");
    this.loop = loop;
    this.addresses = new AddressReader(this.calls);
  }

  open(descriptor: number): Told {
    const told = new Told();
    told.stream = new EpollStream(this.loop, this.addresses, { descriptor }, told, true);
    this.#opened.push(told);
    return told;
  }

  /** Two descriptors that are connected. */
  descriptors(): [number, number] {
    const pair = Buffer.alloc(8);
    const made = this.calls.socketpair(unixDomain, streamSocket | nonBlocking | closeOnExec, 0, pair);
    if (made !== 0) throw new Error("no pair of sockets could be made");
    return [pair.readInt32LE(0), pair.readInt32LE(4)];
  }

  pair(): [Told, Told] {
    const [one, other] = this.descriptors();
    return [this.open(one), this.open(other)];
  }

  /** A TCP connection: here by descriptor, and the other side as a socket of Node's. */
  async tcp(allowHalfOpen = false): Promise<{ here: Told; there: net.Socket }> {
    const server = net.createServer({ allowHalfOpen, pauseOnConnect: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const accepted = once(server, "connection") as Promise<[net.Socket]>;
    const socket = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
    await once(socket, "connect");
    const [there] = await accepted;
    server.close();
    this.#sockets.push(there);
    there.on("error", () => undefined);
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    const descriptor = this.calls.fcntl(fd, duplicateCloseOnExec, "int", 0);
    socket.destroy();
    return { here: this.open(descriptor), there };
  }

  /** Writes without a stream; returns what the kernel has taken. */
  send(descriptor: number, text: string): number {
    return this.calls.send(descriptor, Buffer.from(text), text.length, noSignal);
  }

  /** Nothing is watched any more afterwards. */
  close(): void {
    for (const told of this.#opened.splice(0)) told.stream.destroy();
    for (const socket of this.#sockets.splice(0)) socket.destroy();
  }
}
