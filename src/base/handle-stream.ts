/**
 * An accepted socket without Node's socket object: its handle is read from, ended and closed here. Of the 110 µs that Node
 * asks for a connection which lives for one statement, that object and the states of its stream are 60 (bench/micro).
 *
 *     reading ──(the peer ends its side)──▶ what is pending is written, then closed
 *        └─(end)──▶ shut down behind what is pending ──(the peer ends its side)──▶ closed
 *
 * It leans on what Node's own streams are made of (lib/internal/stream_base_commons.js, src/stream_base.cc, src/stream_wrap.cc): `onread` of
 * a handle is called for each read, and how many bytes there are, or which error, stands in an array of the runtime's. Where that is not
 * to be had, `canReadHandles` is false, and sockets are Node's (docs/adr/0008).
 *
 * Node's order is kept: closing is told later than it is asked for, once; an error is told before.
 */
import net from "node:net";
import os from "node:os";
import type { PlainStream, StreamOwner } from "./descriptors.ts";
import {
  type DirectHandle,
  type DirectWriter,
  systemError,
  writeDirectly,
  writePending,
} from "./direct-write.ts";
import { NamedStream, takeJoined } from "./plain-stream.ts";
import { ReadBuffer } from "./read-buffer.ts";

interface Address {
  address?: string;
  port?: number;
}

/** The system's handle of a connection (TCPWrap and PipeWrap; a pipe has no addresses and no keepalive). */
interface StreamHandle extends DirectHandle {
  [streamOf]: HandleStream;
  onread: unknown;
  readonly writeQueueSize: number;
  useUserBuffer(buffer: Buffer): void;
  readStart(): number;
  readStop(): number;
  shutdown(request: ShutdownRequest): number;
  close(onClosed: (this: StreamHandle) => void): void;
  getpeername?(into: Address): number;
  getsockname?(into: Address): number;
  setKeepAlive?(enabled: boolean, idleSeconds: number, ...others: undefined[]): number;
}

interface ShutdownRequest {
  stream?: HandleStream;
  oncomplete?: (this: ShutdownRequest) => void;
}

/** What Node reads and shuts down with. */
interface Binding {
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly ShutdownWrap: new () => ShutdownRequest;
}

/** UV_EOF of libuv, on every system. */
const endOfStream = -4095;
/** UV_EALREADY of libuv. */
const alreadyReading = -os.constants.errno.EALREADY;

/** Where accepted sockets read; what came is copied out at once. */
const acceptedReads = new ReadBuffer(64 * 1024);

const streamOf = Symbol("stream");
const binding = findBinding();

/** Whether handles can be read from in this runtime. */
export const canReadHandles: boolean = binding !== undefined;

// The same functions for all streams.
let onHandleRead: (this: StreamHandle) => void;
let onHandleClosed: (this: StreamHandle) => void;
let onShutDown: (this: ShutdownRequest) => void;

/** As far as a transport asks for it, with the names of Node's sockets. */
export class HandleStream extends NamedStream implements PlainStream, DirectWriter {
  readonly #handle: StreamHandle;
  readonly #owner: StreamOwner;
  #writable = true;
  #destroyed = false;
  /** The peer has ended its side. */
  #peerEnded = false;
  /** Our side is to be ended behind what is pending, and has been. */
  #shutting = false;
  #shutDown = false;
  /** Of what was written here: bytes at the handle, and chunks behind them. */
  #writtenBytes = 0;
  #waiting: Buffer[] | undefined;
  #waitingBytes = 0;
  #onWritten: (() => void) | undefined;

  /** Begins to read. `handle`: {@link canReadHandles}, and {@link isStreamHandle}. */
  constructor(handle: AcceptedHandle, owner: StreamOwner) {
    super();
    this.#handle = handle as unknown as StreamHandle;
    this.#owner = owner;
    this.#handle[streamOf] = this;
    this.#handle.useUserBuffer(acceptedReads.bytes);
    this.#handle.onread = onHandleRead;
    this.resume();
  }

  static {
    const { streamBaseState, kReadBytesOrError } = binding ?? { streamBaseState: [], kReadBytesOrError: 0 };
    // What it returns would be the next buffer to read into.
    onHandleRead = function () {
      this[streamOf].#onRead(streamBaseState[kReadBytesOrError] ?? 0);
    };
    onHandleClosed = function () {
      this[streamOf].#owner.onStreamClosed();
    };
    onShutDown = function () {
      if (this.stream !== undefined) this.stream.#onShutDown();
    };
  }

  get handle(): object {
    return this.#handle;
  }

  get writable(): boolean {
    return this.#writable;
  }

  get writableLength(): number {
    return this.#writtenBytes + this.#waitingBytes;
  }

  get destroyed(): boolean {
    return this.#destroyed;
  }

  protected override readPeerName(): Address {
    const name: Address = {};
    return this.#handle.getpeername?.(name) === 0 ? name : {};
  }

  protected override readOwnName(): Address {
    const name: Address = {};
    this.#handle.getsockname?.(name);
    return name;
  }

  setKeepAlive(enabled: boolean, idleMs: number): void {
    if (this.#destroyed) return;
    this.#handle.setKeepAlive?.(enabled, Math.trunc(idleMs / 1000), undefined, undefined);
  }

  pause(): void {
    if (!this.#destroyed && !this.#peerEnded) this.#handle.readStop();
  }

  resume(): void {
    if (this.#destroyed || this.#peerEnded) return;
    const status = this.#handle.readStart();
    if (status !== 0 && status !== alreadyReading) this.destroy(systemError(status, "read"));
  }

  /** For what the handle does not take at once; `onWritten` follows. Small chunks are joined while others are on their way. */
  write(chunk: Buffer, onWritten: () => void): void {
    this.#onWritten = onWritten;
    if (this.#writtenBytes > 0) {
      this.#waiting ??= [];
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.length;
    } else this.#writeToHandle(chunk);
  }

  #writeToHandle(chunk: Buffer): void {
    const status = writeDirectly(this.#handle, chunk, this);
    if (status === writePending) this.#writtenBytes = chunk.length;
    else if (status !== 0) this.destroy(systemError(status, "write"));
  }

  onWriteEnded(_bytes: number, status: number): void {
    this.#writtenBytes = 0;
    if (this.#destroyed) return;
    if (status < 0) {
      this.destroy(systemError(status, "write"));
      return;
    }
    while (this.#waiting !== undefined && this.#writtenBytes === 0 && !this.#destroyed) {
      this.#writeToHandle(this.#takeWaiting(this.#waiting));
    }
    if (!this.#writable && this.#waiting === undefined) this.#shut();
    this.#onWritten?.();
  }

  #takeWaiting(waiting: Buffer[]): Buffer {
    const chunk = takeJoined(waiting);
    this.#waitingBytes -= chunk.length;
    if (waiting.length === 0) this.#waiting = undefined;
    return chunk;
  }

  /** Writes the last bytes, and ends our side behind everything that is pending. */
  end(last?: Buffer): void {
    if (!this.#writable) return;
    if (last !== undefined) this.write(last, this.#onWritten ?? ignore);
    this.#writable = false;
    if (this.#waiting === undefined) this.#shut();
  }

  /** libuv does it when it has written what is pending. */
  #shut(): void {
    if (this.#destroyed || this.#shutting) return;
    this.#shutting = true;
    const request = new (binding as Binding).ShutdownWrap();
    request.stream = this;
    request.oncomplete = onShutDown;
    // Done at once, or the peer is gone: either way there is nothing to wait for.
    if (this.#handle.shutdown(request) !== 0) this.#onShutDown();
  }

  #onShutDown(): void {
    this.#shutDown = true;
    if (this.#peerEnded) this.destroy();
  }

  destroy(error?: Error): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#writable = false;
    this.#waiting = undefined;
    this.#waitingBytes = 0;
    if (error !== undefined) this.#owner.onStreamError(error);
    this.#handle.close(onHandleClosed);
  }

  /** The handle is another stream's from now on; this one tells nothing any more. */
  release(): object {
    this.#handle.readStop();
    if (this.#waiting !== undefined) this.#writeToHandle(Buffer.concat(this.#waiting));
    this.#destroyed = true;
    this.#writable = false;
    return this.#handle;
  }

  #onRead(bytes: number): void {
    if (bytes > 0) {
      const chunk = Buffer.allocUnsafe(bytes);
      chunk.set(acceptedReads.first(bytes));
      this.#owner.onRead(chunk);
    } else if (bytes === endOfStream) this.#onPeerEnded();
    else if (bytes < 0) this.destroy(systemError(bytes, "read"));
  }

  #onPeerEnded(): void {
    this.#handle.readStop();
    this.#peerEnded = true;
    this.#owner.sendTurn();
    if (this.#destroyed) return;
    // Closing ends our side as well; nothing is unread, so that it is no reset.
    if (this.#shutDown || this.#handle.writeQueueSize + this.#waitingBytes === 0) this.destroy();
    else this.end();
  }
}

function ignore(): void {}

/** A connection that was accepted, before Node makes a socket of it. */
export interface AcceptedHandle {
  readonly useUserBuffer: unknown;
  readonly fd?: number;
  setNoDelay?(on: boolean): void;
  close(): void;
}

/**
 * Has what a server accepts from now on handed on as handles, without delay of small writes. False, and everything is as it was, if this
 * runtime knows no such handles.
 */
export function acceptHandles(
  server: net.Server,
  onAccept: (handle: AcceptedHandle) => void,
  onFailed: (error: Error) => void,
): boolean {
  const { _handle: listening } = server as unknown as { _handle?: { onconnection?: unknown } | null };
  if (!canReadHandles || typeof listening?.onconnection !== "function") return false;
  listening.onconnection = (status: number, handle: AcceptedHandle | undefined) => {
    if (status !== 0 || handle === undefined) {
      onFailed(systemError(status, "accept"));
      return;
    }
    handle.setNoDelay?.(true);
    onAccept(handle);
  };
  return true;
}

/** Whether a handle is one that {@link HandleStream} knows how to use. */
export function isStreamHandle(handle: object): handle is AcceptedHandle {
  return [
    "useUserBuffer",
    "readStart",
    "readStop",
    "shutdown",
    "writeBuffer",
    "writeQueueSize",
    "close",
  ].every((name) => name in handle);
}

/** What another process has passed on, as it is to be taken over. */
export function asAccepted(handle: object): net.Socket | AcceptedHandle {
  if (canReadHandles && isStreamHandle(handle)) return handle;
  return new net.Socket({ handle, pauseOnCreate: true } as net.SocketConstructorOpts);
}

/** Undefined: the runtime has none, or gives it to no program (as under Node's permission model). */
function findBinding(): Binding | undefined {
  try {
    const { binding: find } = process as unknown as { binding?: (name: string) => unknown };
    const found = find?.("stream_wrap") as Partial<Binding> | undefined;
    const { streamBaseState, kReadBytesOrError, ShutdownWrap } = found ?? {};
    const known =
      streamBaseState instanceof Int32Array &&
      typeof kReadBytesOrError === "number" &&
      typeof ShutdownWrap === "function";
    return known ? (found as Binding) : undefined;
  } catch {
    return undefined;
  }
}
