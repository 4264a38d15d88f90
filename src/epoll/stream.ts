/**
 * A connected socket that is read and written by its descriptor.
 *
 *     reading ──(the peer ends its side)──▶ what is pending is written, then closed
 *        └─(end)──▶ shut down behind what is pending ──(the peer ends its side)──▶ closed
 *
 * As with Node's sockets, closing is told later than it is asked for, once, and an error before. The descriptor is closed
 * at the end of the turn, so that no other connection gets its number while events of this turn speak of it.
 */
import type { DescriptorStream, KeepAlive, PeerAddress, StreamOwner } from "../base/descriptors.ts";
import { systemError } from "../base/direct-write.ts";
import { NamedStream, takeJoined } from "../base/plain-stream.ts";
import { keepTurn } from "../base/turn-writes.ts";
import type { AddressReader } from "./addresses.ts";
import {
  epollError,
  epollHangUp,
  epollIn,
  epollOut,
  keepAliveOption,
  keepCountOption,
  keepIdleOption,
  keepIntervalOption,
  noSignal,
  shutdownWrite,
  socketLevel,
  tcpLevel,
  userTimeoutOption,
} from "./constants.ts";
import { againCode, interruptedCode } from "./errors.ts";
import type { Closing, EventLoop, Watcher } from "./event-loop.ts";
import type { JointSender } from "./joint-sends.ts";

/** So long a chunk is not copied: the buffer that it lies in is left to it. */
const leftBytesMin = 32 * 1024;

export class EpollStream extends NamedStream implements DescriptorStream, Watcher, Closing, JointSender {
  readonly #loop: EventLoop;
  readonly #addresses: AddressReader;
  readonly #descriptor: number;
  readonly #owner: StreamOwner;
  readonly #copies: boolean;
  /** The last chunk was released, and so the next one probably will be. */
  #lends = false;
  /** What the owner is being told of. */
  #handed: Buffer | undefined;
  /** What epoll tells of. */
  #events = epollIn;
  #writable = true;
  #destroyed = false;
  /** The peer has ended its side; and our side has been ended. */
  #peerEnded = false;
  #shutDown = false;
  /** What was sent last goes to the kernel with what others send. */
  #joined = false;
  #waiting: Buffer[] | undefined;
  #waitingBytes = 0;

  /**
   * Begins to read. `copies`: each chunk stays as it is, unless it is released; otherwise it lies in the loop's buffer, which is read
   * into again.
   */
  constructor(
    loop: EventLoop,
    addresses: AddressReader,
    socket: { descriptor: number; peer?: PeerAddress },
    owner: StreamOwner,
    copies: boolean,
  ) {
    super(socket.peer);
    this.#loop = loop;
    this.#addresses = addresses;
    this.#descriptor = socket.descriptor;
    this.#owner = owner;
    this.#copies = copies;
    if (loop.watch(this.#descriptor, this, epollIn)) return;
    this.#events = 0;
    this.#destroyed = true;
    this.#writable = false;
    owner.onStreamError(systemError(-loop.calls.errno(), "epoll_ctl"));
    loop.atTurnClosed(this);
  }

  get writable(): boolean {
    return this.#writable;
  }

  get writableLength(): number {
    return this.#waitingBytes;
  }

  get destroyed(): boolean {
    return this.#destroyed;
  }

  protected override readPeerName(): PeerAddress {
    return this.#addresses.peerOf(this.#descriptor);
  }

  protected override readOwnName(): PeerAddress {
    return this.#addresses.ownOf(this.#descriptor);
  }

  setKeepAlive(enabled: boolean, idleMs: number): void {
    if (this.#destroyed) return;
    this.#setOption(socketLevel, keepAliveOption, enabled ? 1 : 0);
    const idleSeconds = Math.trunc(idleMs / 1000);
    if (enabled) this.#setOption(tcpLevel, keepIdleOption, idleSeconds);
  }

  setTcpOptions({ enabled, intervalSeconds, count, userTimeoutMs }: KeepAlive): void {
    if (this.#destroyed) return;
    if (enabled) {
      this.#setOption(tcpLevel, keepIntervalOption, intervalSeconds);
      this.#setOption(tcpLevel, keepCountOption, count);
    }
    this.#setOption(tcpLevel, userTimeoutOption, userTimeoutMs);
  }

  /** 0 leaves an option of TCP to the system. */
  #setOption(level: number, option: number, value = 0): void {
    if (level === tcpLevel && value <= 0) return;
    optionValue.writeInt32LE(value);
    this.#loop.calls.setsockopt(this.#descriptor, level, option, optionValue, optionValue.length);
  }

  pause(): void {
    this.#watch(this.#events & ~epollIn);
  }

  resume(): void {
    if (!this.#peerEnded) this.#watch(this.#events | epollIn);
  }

  #watch(events: number): void {
    if (this.#destroyed || events === this.#events) return;
    this.#loop.change(this.#descriptor, this.#events, events);
    this.#events = events;
  }

  onReady(events: number): void {
    const failed = (events & (epollError | epollHangUp)) !== 0;
    // Also what has failed is read first: there may be bytes before the failure.
    if ((this.#events & epollIn) !== 0 && (failed || (events & epollIn) !== 0)) this.#read();
    if (this.#waiting !== undefined && (failed || (events & epollOut) !== 0)) this.#writeWaiting();
  }

  #read(): void {
    const loop = this.#loop;
    const bytes = loop.receive(this.#descriptor);
    if (bytes > 0) {
      const chunk = loop.reads.first(bytes);
      if (!this.#copies) this.#owner.onRead(chunk);
      else this.#handOn(chunk, bytes < leftBytesMin && !this.#lends);
    } else if (bytes === 0) this.#onPeerEnded();
    else {
      const code = loop.calls.errno();
      if (code !== againCode && code !== interruptedCode) this.destroy(systemError(-code, "read"));
    }
  }

  /** Hands on a chunk that is the owner's to keep. */
  #handOn(chunk: Buffer, copied: boolean): void {
    this.#lends = false;
    this.#loop.reads.retained = !copied;
    this.#handed = copied ? copyOf(chunk) : chunk;
    try {
      this.#owner.onRead(this.#handed);
    } finally {
      this.#handed = undefined;
    }
  }

  releaseChunk(chunk: Buffer): void {
    // Of one that came before nothing is known any more: the buffer may be another's by now.
    if (chunk !== this.#handed) return;
    this.#lends = true;
    this.#loop.reads.retained = false;
  }

  #onPeerEnded(): void {
    this.#watch(this.#events & ~epollIn);
    this.#peerEnded = true;
    this.#owner.sendTurn();
    if (this.#destroyed) return;
    // Closing ends our side as well; nothing is unread, so that it is no reset.
    if (this.#shutDown || this.#waiting === undefined) this.destroy();
    else this.end();
  }

  send(chunk: Buffer): boolean {
    if (!this.#writable) return true;
    if (this.#joined) this.#loop.joint?.send();
    if (this.#waiting === undefined && this.#join(chunk)) return true;
    const taken = this.#waiting === undefined ? this.#offer(chunk) : 0;
    if (taken === chunk.length || this.#destroyed) return true;
    this.#keep(chunk, taken);
    return false;
  }

  #keep(chunk: Buffer, taken: number): void {
    this.#waiting ??= [];
    this.#waiting.push(taken === 0 ? chunk : chunk.subarray(taken));
    this.#waitingBytes += chunk.length - taken;
    this.#watch(this.#events | epollOut);
  }

  #join(chunk: Buffer): boolean {
    this.#joined = this.#loop.joint?.add(this, this.#descriptor, chunk) ?? false;
    return this.#joined;
  }

  onJointSend(chunk: Buffer, result: number): void {
    this.#joined = false;
    if (this.#destroyed || result === chunk.length) return;
    if (result < 0 && result !== -againCode && result !== -interruptedCode) {
      this.destroy(systemError(result, "write"));
      return;
    }
    keepTurn();
    this.#keep(chunk, Math.max(result, 0));
    this.#owner.onStreamKept();
  }

  /** How many bytes the kernel takes. What fails ends the stream. */
  #offer(chunk: Buffer): number {
    const { calls } = this.#loop;
    const taken = calls.send(this.#descriptor, chunk, chunk.length, noSignal);
    if (taken >= 0) return taken;
    const code = calls.errno();
    if (code !== againCode && code !== interruptedCode) this.destroy(systemError(-code, "write"));
    return 0;
  }

  #writeWaiting(): void {
    while (this.#waiting !== undefined && !this.#destroyed) {
      const chunk = takeJoined(this.#waiting);
      const taken = this.#offer(chunk);
      if (this.#destroyed) return;
      this.#waitingBytes -= taken;
      if (taken < chunk.length) {
        this.#waiting.unshift(chunk.subarray(taken));
        return;
      }
      if (this.#waiting.length === 0) this.#waiting = undefined;
    }
    this.#watch(this.#events & ~epollOut);
    if (!this.#writable) this.#shut();
    this.#owner.onStreamWritten();
  }

  end(last?: Buffer): void {
    if (!this.#writable) return;
    if (this.#joined) this.#loop.joint?.send();
    if (last !== undefined) this.send(last);
    this.#writable = false;
    if (this.#waiting === undefined) this.#shut();
  }

  #shut(): void {
    if (this.#destroyed || this.#shutDown) return;
    this.#shutDown = true;
    // Of a peer that is gone there is nothing to wait for, and reading tells so.
    this.#loop.calls.shutdown(this.#descriptor, shutdownWrite);
    if (this.#peerEnded) this.destroy();
  }

  destroy(error?: Error): void {
    if (this.#destroyed) return;
    this.#leave();
    if (error !== undefined) this.#owner.onStreamError(error);
    this.#loop.atTurnClosed(this);
  }

  onTurnClosed(): void {
    this.#loop.calls.close(this.#descriptor);
    this.#owner.onStreamClosed();
  }

  release(): { descriptor: number; pending: Buffer | undefined } {
    if (this.#joined) this.#loop.joint?.send();
    const pending = this.#waiting === undefined ? undefined : Buffer.concat(this.#waiting);
    this.#leave();
    return { descriptor: this.#descriptor, pending };
  }

  /** Of what comes from now on nobody hears. */
  #leave(): void {
    this.#loop.unwatch(this.#descriptor, this.#events);
    this.#events = 0;
    this.#destroyed = true;
    this.#writable = false;
    this.#waiting = undefined;
    this.#waitingBytes = 0;
  }
}

function copyOf(chunk: Buffer): Buffer {
  const copy = Buffer.allocUnsafe(chunk.length);
  copy.set(chunk);
  return copy;
}

const optionValue = Buffer.alloc(4);
