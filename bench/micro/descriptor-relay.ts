/**
 * The relay of relay.ts by file descriptors, below all streams: by epoll and by io_uring, where one call submits all writes
 * of a turn and waits for what is read next.
 *
 *   node --import tsx bench/micro/descriptor-relay.ts epoll|gathered|together|single|multishot UPSTREAM-PORT [PORT]
 *
 * `gathered`: by epoll, but what a turn has read is written at its end, as `src/epoll` does; `together`: so, too, but by one call; `single`: each recv is asked for again; `multishot`: once for all. Only for small chunks that the kernel takes at once: a connection whose peer does not read is
 * ended. Run by relay-bench.ts, which asks for its processor time and its counts over the IPC channel.
 */
import net from "node:net";
import { constants } from "node:os";
import {
  closeOnExec,
  duplicateCloseOnExec,
  epollAdd,
  epollCloseOnExec,
  epollDelete,
  epollIn,
  eventBytes,
  eventDataOffset,
  nonBlocking,
  noSignal,
  streamSocket,
  unixDomain,
} from "../../src/epoll/constants.ts";
import { loadSystemCalls, type SystemCalls } from "../../src/epoll/system-calls.ts";
import { pollOperation, Ring, receiveSelecting, TurnSends } from "./ring.ts";

interface Engine {
  /** Begins to read both. */
  watch(one: number, other: number): void;
  /** Waits, and passes on what has come. False: Node has something to do. */
  turn(timeoutMs: number): boolean;
  /** Whether writes are prepared that name descriptors. */
  readonly hasPrepared: boolean;
}

const both = 2;
const readBytes = 65_536;
const eventsMax = 1024;
/** No multiple of a page, so that the first bytes of buffers do not share their places in the processor's cache. */
const bufferBytes = 8256;
const bufferCount = 64;
/** Of so many chunks in a turn each is written when it has been read. */
const fewMax = 2;

const [, , kind = "epoll", upstreamPort = "0", port = "0"] = process.argv;
const calls = loadSystemCalls() as SystemCalls;
const backend = calls.backendDescriptor();
const runTicks = (process as unknown as { _tickCallback: () => void })._tickCallback.bind(process);
/** Calls by the FFI, and those of them that enter the kernel. */
const counts = { turns: 0, ffi: 0, system: 0 };
/** By descriptor. */
const peers: number[] = [];
const ended: boolean[] = [];
let closing: number[] = [];
const engine = makeEngine();
const bell = listenToBell();
const byte = Buffer.alloc(1);

const server = net.createServer({ noDelay: true, pauseOnConnect: true }, (client) => {
  const upstream = net.connect({ host: "127.0.0.1", port: Number(upstreamPort), noDelay: true });
  upstream.pause();
  upstream.once("connect", () => join(take(client), take(upstream)));
});
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 }, () => {
  process.send?.({ port: (server.address() as net.AddressInfo).port });
  ring();
});
process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send?.({ user, system, counts });
});
process.on("disconnect", () => process.exit(0));

function makeEngine(): Engine {
  switch (kind) {
    case "epoll":
      return epollEngine("at once");
    case "gathered":
      return epollEngine("gathered");
    case "together":
      return epollEngine("together");
    default:
      return ringEngine(kind === "multishot");
  }
}

function take(socket: net.Socket): number {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const own = calls.fcntl(fd, duplicateCloseOnExec, "int", 0);
  socket.destroy();
  return own;
}

function join(one: number, other: number): void {
  peers[one] = other;
  peers[other] = one;
  ended[one] = false;
  ended[other] = false;
  engine.watch(one, other);
}

/** It has been read to its end. Both are closed when both have been, so that their numbers are nobody else's before. */
function end(one: number): void {
  const other = peers[one] as number;
  ended[one] = true;
  if (ended[other] === true) closing.push(one, other);
  else calls.shutdown(other, both);
}

/** An immediate instead would keep libuv from waiting for as long as it runs. */
function listenToBell(): number {
  const pair = Buffer.alloc(8);
  calls.socketpair(unixDomain, streamSocket | nonBlocking | closeOnExec, 0, pair);
  const callback = (): boolean => {
    run();
    return true;
  };
  const onread = { buffer: new Uint8Array(64), callback };
  const options = { fd: pair.readInt32LE(0), readable: true, writable: false, onread };
  new net.Socket(options).resume();
  return pair.readInt32LE(4);
}

/** Has Node call {@link run}. */
function ring(): void {
  calls.send(bell, byte, 1, noSignal);
}

/** As the event loop of `src/epoll`. */
function run(): void {
  let goesOn = true;
  while (goesOn) {
    counts.turns++;
    counts.ffi += 2;
    goesOn = engine.turn(calls.backendTimeout());
    runTicks();
    if (closing.length > 0 && !engine.hasPrepared) {
      for (const descriptor of closing) calls.close(descriptor);
      closing = [];
    }
  }
  ring();
}

function epollEngine(way: "at once" | "gathered" | "together"): Engine {
  const epoll = calls.epoll_create1(epollCloseOnExec);
  const event = Buffer.alloc(eventBytes);
  const control = (operation: number, descriptor: number): void => {
    event.writeUInt32LE(epollIn, 0);
    event.writeInt32LE(descriptor, eventDataOffset);
    calls.epoll_ctl(epoll, operation, descriptor, event);
  };
  control(epollAdd, backend);
  const memory = Buffer.allocUnsafeSlow(eventsMax * eventBytes);
  const events = new Int32Array(memory.buffer, memory.byteOffset, memory.length / 4);
  const eventsAddress = calls.addressOf(memory);
  const chunk = Buffer.allocUnsafeSlow(readBytes);
  const chunkAddress = calls.addressOf(chunk);
  const together = way === "at once" ? undefined : new TurnSends(way === "together", eventsMax, bufferBytes);
  const pass = (descriptor: number, isOneOfMany: boolean): void => {
    const sends = isOneOfMany ? together : undefined;
    const bytes = calls.recv(
      descriptor,
      sends === undefined ? chunkAddress : sends.next(),
      sends === undefined ? readBytes : bufferBytes,
      0,
    );
    counts.ffi++;
    counts.system++;
    const peer = peers[descriptor] as number;
    if (bytes > 0 && (sends === undefined ? sendNow(peer, chunk, bytes) : sends.add(peer, bytes))) return;
    control(epollDelete, descriptor);
    end(descriptor);
  };
  return {
    hasPrepared: false,
    watch(one, other) {
      control(epollAdd, one);
      control(epollAdd, other);
    },
    turn(timeoutMs) {
      const count = calls.epoll_wait(epoll, eventsAddress, eventsMax, timeoutMs);
      counts.ffi++;
      counts.system++;
      let goesOn = count > 0 && timeoutMs !== 0;
      for (let i = 0; i < count; i++) {
        const descriptor = events[(i * eventBytes + eventDataOffset) / 4] as number;
        if (descriptor === backend) goesOn = false;
        else pass(descriptor, count > fewMax);
      }
      if (together === undefined) return goesOn;
      const callsBefore = together.calls;
      for (const descriptor of together.send()) calls.shutdown(descriptor, both);
      counts.ffi += together.calls - callsBefore;
      counts.system += together.calls - callsBefore;
      return goesOn;
    },
  };
}

function sendNow(peer: number, chunk: Buffer, bytes: number): boolean {
  counts.ffi++;
  counts.system++;
  return calls.send(peer, chunk, bytes, noSignal) === bytes;
}

function ringEngine(multishot: boolean): Engine {
  const rings = new Ring({ bufferCount, bufferBytes });
  const { words } = rings;
  /** Bytes that lie in each buffer. */
  const lengths = new Int32Array(bufferCount);
  const receive = receiveSelecting(multishot);
  /** What tells a completion of a read from that of a write, which names its buffer. */
  const noBuffer = -1;
  let isBackendWatched = false;
  let sends = 0;
  const read = (descriptor: number): void =>
    rings.prepare(receive, descriptor, 0, 0, 0, descriptor, noBuffer);
  const onRead = (descriptor: number, result: number, flags: number): void => {
    if (result > 0) {
      const buffer = flags >>> 16;
      const peer = peers[descriptor] as number;
      lengths[buffer] = result;
      rings.prepareSend(peer, rings.addressOf(buffer), result, buffer);
      sends++;
      if (!rings.goesOn(flags)) read(descriptor);
    } else if (result === -constants.errno.ENOBUFS) read(descriptor);
    else end(descriptor);
  };
  return {
    get hasPrepared() {
      return sends > 0;
    },
    watch(one, other) {
      read(one);
      read(other);
    },
    turn(timeoutMs) {
      if (!isBackendWatched) rings.prepare(pollOperation, backend, 0, 0, epollIn, backend, noBuffer);
      isBackendWatched = true;
      // What is sent completes at once, as it is not to wait.
      rings.enter(sends + 1, timeoutMs);
      counts.ffi++;
      counts.system++;
      sends = 0;
      let goesOn = timeoutMs !== 0;
      let reads = 0;
      for (let at = rings.next(); at >= 0; at = rings.next()) {
        const descriptor = words[at] as number;
        const buffer = words[at + 1] as number;
        const result = words[at + 2] as number;
        if (buffer !== noBuffer) {
          rings.giveBack(buffer);
          if (result !== lengths[buffer]) calls.shutdown(descriptor, both);
        } else if (descriptor === backend) {
          isBackendWatched = false;
          goesOn = false;
        } else {
          onRead(descriptor, result, words[at + 3] as number);
          reads++;
        }
      }
      rings.consumed();
      return goesOn && reads > 0;
    },
  };
}
