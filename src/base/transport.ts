/**
 * One byte stream to a peer: TCP, Unix socket, or TLS over either, with one listener.
 *
 * Chunks handed to `onData` may lie in a buffer that the next read overwrites. Whoever keeps bytes of a
 * chunk beyond the call (because a write of them is still pending) says so with `retainChunk`, and the next
 * read gets a fresh buffer. Connecting sockets read into one reused buffer, which saves an allocation per
 * read; accepted sockets and TLS get a new chunk each time, because an idle client must not hold a buffer, unless
 * `releaseChunk` says that nobody keeps it: so a stream of long chunks goes through one buffer, too.
 *
 * Writing never blocks and never fails: `write` says whether the kernel has taken everything, `onDrain`
 * follows if it had not. An error never escapes as an event: it arrives once, as the argument of `onClose`.
 */
import net from "node:net";
import tls from "node:tls";
import { assert } from "./assert.ts";
import {
  type AcceptedDescriptor,
  currentDescriptors,
  type DescriptorStream,
  isAcceptedDescriptor,
  type KeepAlive,
  type PeerAddress,
  type StreamOwner,
} from "./descriptors.ts";
import {
  type DirectHandle,
  type DirectWriter,
  directHandle,
  systemError,
  writeDirectly,
  writePending,
} from "./direct-write.ts";
import { type AcceptedHandle, canReadHandles, HandleStream } from "./handle-stream.ts";
import { connectReading, holderOf, judgeClientCertificate, socketOf, takeHandle } from "./node-sockets.ts";
import { ReadBuffer } from "./read-buffer.ts";
import {
  beginChunk,
  endChunk,
  fillPlace,
  keepTurn,
  placeBytes,
  type TurnWriter,
  takePlace,
  turnBytesMax,
} from "./turn-writes.ts";
import type { Endpoint } from "./unix-socket.ts";

/** What a transport tells its one listener. */
export interface TransportListener {
  /** Bytes have come. Valid until this call returns unless `retainChunk` is called in it. */
  onData(chunk: Buffer): void;
  /** Everything that was written has been handed to the kernel, after a write said that it had not. */
  onDrain(): void;
  /** The stream is gone, once. `error` is undefined when it ended in an orderly way. */
  onClose(error: Error | undefined): void;
}

/** Hears when accepted connections end, whoever listens to them meanwhile. */
export interface TransportWatcher {
  /** Only the last bytes are still to leave; the peer may take its time with them, see {@link lingerMs}. */
  onEnding(transport: Transport): void;
  /** After `onClose`. */
  onGone(transport: Transport): void;
}

/** What can be taken over. */
export type AcceptedSocket = net.Socket | AcceptedHandle | AcceptedDescriptor;

/** How long `end` waits for the peer to take the last bytes and to close its side. */
const lingerMs = 5_000;

/** A stream of ours knows its transport. */
const ownerOf = Symbol("transport");
type OwnedStream = net.Socket & { [ownerOf]: Transport };

// The same functions for all streams, set by Transport: functions of its own cost each idle client some hundred bytes.
let onStreamData: (this: OwnedStream, chunk: Buffer) => void;
let onStreamError: (this: OwnedStream, error: Error) => void;
let onStreamEnd: (this: OwnedStream) => void;
let onStreamClose: (this: OwnedStream) => void;

const ignore: TransportListener = { onData() {}, onDrain() {}, onClose() {} };

export class Transport implements TurnWriter, DirectWriter, StreamOwner {
  /** What is read and written now: after a TLS handshake the TLS socket. */
  #stream!: net.Socket | HandleStream | DescriptorStream; // set by whoever makes it
  /** The same, while it is a descriptor. */
  #descriptor: DescriptorStream | undefined;
  /** Where it is written to below the stream. Undefined: by the stream (TLS, not connected yet, a runtime without such handles). */
  #handle: DirectHandle | undefined;
  /** Bytes that were written to the handle and are pending. */
  #directBytes = 0;
  #listener: TransportListener = ignore;
  /** Undefined: every chunk is a new one. */
  #reads: ReadBuffer | undefined;
  #paused = false;
  /** Node's socket has told of its end. */
  #peerEnded = false;
  /** Bytes of this turn, and where they wait for its end. */
  #turnBytes = 0;
  #turnPlace = 0;
  /** A write was told that it is pending, so `onDrain` is owed. */
  #drainOwed = false;
  /** `end` or `destroy` was called, or the stream is gone: what comes from now on is nobody's, and nothing is written. */
  #ending = false;
  #closed = false;
  #error: Error | undefined;
  #lingerTimer: NodeJS.Timeout | undefined;
  #watcher: TransportWatcher | undefined;

  /** Made for the first write by the stream; most transports have none. */
  #onNodeWritten: (() => void) | undefined;

  private constructor(reads: ReadBuffer | undefined) {
    this.#reads = reads;
  }

  static {
    onStreamData = function (chunk) {
      this[ownerOf].onRead(chunk);
    };
    onStreamError = function (error) {
      this[ownerOf].onStreamError(error);
    };
    onStreamEnd = function () {
      this[ownerOf].#onStreamEnd();
    };
    onStreamClose = function () {
      this[ownerOf].onStreamClosed();
    };
  }

  /** Starts to connect. `onConnect` is called when the socket is open; failure arrives as `onClose`. */
  static connect(endpoint: Endpoint, readBufferBytes: number, onConnect: () => void): Transport {
    const reads = new ReadBuffer(readBufferBytes);
    let connected = false;
    const stream = connectReading(
      endpoint,
      reads,
      () => connected,
      (chunk) => transport.onRead(chunk),
    );
    const transport = new Transport(reads);
    transport.#stream = stream;
    stream.once("connect", () => {
      connected = true;
      // TLS may have it by now.
      if (transport.#stream === stream && !transport.#continueByDescriptor(stream)) {
        transport.#handle = directHandle(holderOf(stream)._handle);
      }
      onConnect();
    });
    transport.#listenTo(stream);
    return transport;
  }

  /**
   * Takes over an accepted socket or its handle, which must not have been read from (`pauseOnConnect`). All of them read into
   * one buffer and hand on copies of what came: an idle client holds no buffer. Where the runtime lets nobody read a handle,
   * they hand on what Node's socket reads.
   */
  static accept(accepted: AcceptedSocket, watcher?: TransportWatcher): Transport {
    const transport = new Transport(undefined);
    transport.#watcher = watcher;
    if (isAcceptedDescriptor(accepted)) {
      transport.#openDescriptor(accepted, true);
      return transport;
    }
    const handle = canReadHandles ? takeHandle(accepted) : undefined;
    const descriptor = handle === undefined ? undefined : currentDescriptors()?.take(handle);
    if (descriptor !== undefined) {
      transport.#openDescriptor({ descriptor }, true);
      return transport;
    }
    if (handle !== undefined) {
      transport.#stream = new HandleStream(handle, transport);
      transport.#handle = directHandle(handle);
      return transport;
    }
    const socket = accepted as net.Socket; // handles come only where they can be read
    transport.#stream = socket;
    socket.on("data", onStreamData);
    transport.#listenTo(socket);
    socket.resume();
    return transport;
  }

  /** What has connected is read and written by its descriptor from now on, if this process can. */
  #continueByDescriptor(stream: net.Socket): boolean {
    const descriptors = currentDescriptors();
    const { _handle: handle } = holderOf(stream);
    const descriptor = handle && descriptors?.take(handle as AcceptedHandle);
    if (descriptors === undefined || typeof descriptor !== "number") return false;
    holderOf(stream)._handle = null;
    stream.off("error", onStreamError);
    stream.off("end", onStreamEnd);
    stream.off("close", onStreamClose);
    // Node's object is empty now; it reads no more.
    stream.destroy();
    this.#reads = descriptors.reads;
    this.#openDescriptor({ descriptor }, false);
    return true;
  }

  #openDescriptor(socket: { descriptor: number; peer?: PeerAddress }, copies: boolean): void {
    const stream = currentDescriptors()?.open(socket, this, copies);
    assert(stream !== undefined, "descriptors come only where they can be read");
    this.#stream = stream;
    this.#descriptor = stream;
    if (this.#paused) stream.pause();
  }

  /** Who hears of this stream from now on. */
  set listener(listener: TransportListener) {
    this.#listener = listener;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Bytes written and not yet taken by the kernel. */
  get pendingBytes(): number {
    if (!this.#drainOwed && !this.#ending) return 0;
    return this.#stream.writableLength + this.#directBytes;
  }

  /** The TLS socket, once `startTls` or `acceptTls` has succeeded. */
  get tlsSocket(): tls.TLSSocket | undefined {
    return this.#stream instanceof tls.TLSSocket ? this.#stream : undefined;
  }

  get remoteAddress(): string | undefined {
    return this.#stream.remoteAddress;
  }

  get remotePort(): number | undefined {
    return this.#stream.remotePort;
  }

  get localAddress(): string | undefined {
    return this.#stream.localAddress;
  }

  get localPort(): number | undefined {
    return this.#stream.localPort;
  }

  /**
   * Writes bytes; few ones at the end of this turn of the event loop. Returns whether `chunk` may be used
   * again; if not, it is still being read from (keep it unchanged) and `onDrain` follows.
   */
  write(chunk: Buffer): boolean {
    if (this.#ending) return true;
    if (this.#writesLater(chunk)) return true;
    this.sendTurn();
    return this.#writeNow(chunk);
  }

  /** What was written in this turn goes to the kernel now. */
  sendTurn(): void {
    const bytes = this.#turnBytes;
    if (bytes === 0) return;
    this.#turnBytes = 0;
    if (!this.#ending && !this.#writeNow(placeBytes(this.#turnPlace, bytes))) keepTurn();
  }

  /** Small writes leave with those of other streams at the end of the turn; they are copied. */
  #writesLater(chunk: Buffer): boolean {
    const { length } = chunk;
    if (length > turnBytesMax || this.#drainOwed) return false;
    if (this.#turnBytes + length > turnBytesMax) this.sendTurn();
    if (this.#turnBytes === 0) this.#turnPlace = takePlace(this);
    fillPlace(this.#turnPlace, this.#turnBytes, chunk);
    this.#turnBytes += length;
    return true;
  }

  #writeNow(chunk: Buffer): boolean {
    // What is pending at the handle comes before what the stream writes now, and the stream joins small chunks.
    if (this.#descriptor !== undefined) return this.#writeToDescriptor(this.#descriptor, chunk);
    if (this.#handle !== undefined && !this.#drainOwed) return this.#writeDirectly(this.#handle, chunk);
    if (!this.#stream.writable) return true;
    const stream = this.#stream as net.Socket | HandleStream; // no descriptor, as was seen
    this.#onNodeWritten ??= () => this.onStreamWritten();
    stream.write(chunk, this.#onNodeWritten);
    if (stream.writableLength === 0) return true;
    this.#drainOwed = true;
    return false;
  }

  #writeToDescriptor(stream: DescriptorStream, chunk: Buffer): boolean {
    if (stream.send(chunk)) return true;
    this.#drainOwed = true;
    return false;
  }

  onStreamKept(): void {
    this.#drainOwed = true;
  }

  #writeDirectly(handle: DirectHandle, chunk: Buffer): boolean {
    const status = writeDirectly(handle, chunk, this);
    if (status === 0) return true;
    if (status === writePending) {
      this.#directBytes += chunk.length;
      this.#drainOwed = true;
      return false;
    }
    // One that has ended takes nothing: that is no failure. It is asked only now, as that costs as much as a short write.
    if (this.#stream.writable) this.#stream.destroy(systemError(status, "write"));
    return true;
  }

  /** What was pending at the handle is through. */
  onWriteEnded(bytes: number, status: number): void {
    // The handle has been left for TLS, and tells of its last writes or not.
    if (this.#handle === undefined) return;
    this.#directBytes -= bytes;
    if (status >= 0) this.onStreamWritten();
    else if (!this.#stream.destroyed) this.#stream.destroy(systemError(status, "write"));
  }

  /** To be called in `onData` by whoever keeps bytes of the chunk: the next read uses another buffer. */
  retainChunk(): void {
    if (this.#reads !== undefined) this.#reads.retained = true;
  }

  /** To be called in `onData` of an accepted connection by whoever keeps nothing of the chunk: the next read may use its buffer. */
  releaseChunk(chunk: Buffer): void {
    this.#descriptor?.releaseChunk(chunk);
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#stream.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#peerEnded) this.#onStreamEnd();
    else this.#stream.resume();
  }

  setKeepAlive(keepAlive: KeepAlive): void {
    this.#stream.setKeepAlive(keepAlive.enabled, keepAlive.idleSeconds * 1000);
    this.#descriptor?.setTcpOptions(keepAlive);
  }

  /**
   * Sends what is pending, then closes in an orderly way; `onClose` follows within {@link lingerMs}, `onData`
   * does not. What the peer still sends is read and dropped: a socket that is closed with unread bytes sends
   * a reset, and a reset can cost the peer the last message.
   */
  end(last?: Buffer): void {
    if (this.#closed || this.#ending) return;
    this.sendTurn();
    this.#ending = true;
    if (last === undefined) this.#stream.end();
    else this.#stream.end(last);
    this.#lingerTimer = setTimeout(() => this.#stream.destroy(), lingerMs);
    this.#watcher?.onEnding(this);
    this.resume();
  }

  /** For a peer that has said its last word: as `end`, but its side is not waited for if everything is with the kernel; as PostgreSQL closes behind Terminate. */
  finish(): void {
    this.sendTurn();
    if (this.pendingBytes > 0 || this.tlsSocket !== undefined) this.end();
    else this.destroy();
  }

  /** Closes at once and drops what is pending; `onClose` follows, `onData` does not. */
  destroy(error?: Error): void {
    if (this.#closed) return;
    this.#ending = true;
    this.#error ??= error;
    this.#stream.destroy();
  }

  /**
   * Becomes the TLS client on this stream, which flows from here on. `onSecure` follows a handshake that
   * succeeded; failure is `onClose`.
   */
  startTls(options: tls.ConnectionOptions, onSecure: (socket: tls.TLSSocket) => void): void {
    this.sendTurn();
    // That may have found the peer gone; then closing follows.
    if (this.#stream.destroyed) return;
    const plain = this.#socket();
    const secured = tls.connect({ ...options, socket: plain });
    this.#adopt(secured, plain);
    secured.once("secureConnect", () => onSecure(secured));
  }

  /**
   * Becomes the TLS server on this stream, which flows from here on. `first`: bytes of the handshake that
   * were read already. If a client certificate was asked for, `authorized` and `authorizationError` of the
   * socket say what came of it; with `rejectUnauthorized` a bad one ends the stream instead.
   */
  acceptTls(
    options: tls.TLSSocketOptions,
    first: Buffer | undefined,
    onSecure: (socket: tls.TLSSocket) => void,
  ): void {
    this.sendTurn();
    if (this.#stream.destroyed) return;
    const plain = this.#socket();
    plain.pause();
    if (first !== undefined && first.length > 0) plain.unshift(first);
    const secured = new tls.TLSSocket(plain, { ...options, isServer: true });
    this.#adopt(secured, plain);
    // A TLSSocket outside of a tls.Server reports an error here only, and stays open.
    secured.on("_tlsError", (error: Error) => this.destroy(error));
    secured.once("secure", () => {
      if (options.requestCert === true) judgeClientCertificate(secured);
      if (secured.authorizationError && options.rejectUnauthorized === true) {
        this.destroy(new Error(`client certificate refused: ${String(secured.authorizationError)}`));
      } else {
        onSecure(secured);
      }
    });
  }

  // Node's "drain" speaks only of writes beyond its high-water mark; a smaller one may be stuck as well.
  onStreamWritten(): void {
    if (!this.#drainOwed || this.#closed || this.pendingBytes > 0) return;
    this.#drainOwed = false;
    this.#listener.onDrain();
  }

  onRead(chunk: Buffer): void {
    if (this.#ending) return this.releaseChunk(chunk);
    beginChunk();
    try {
      this.#listener.onData(chunk);
    } finally {
      endChunk();
    }
  }

  onStreamError(error: Error): void {
    this.#error ??= error;
  }

  /** Node's sockets tell of it even while paused. Of a client, whose last words may still wait with the listener, it counts on `resume`. */
  #onStreamEnd(): void {
    this.#peerEnded = true;
    if (this.#paused && this.#reads === undefined) return;
    this.sendTurn();
    this.#stream.end();
  }

  onStreamClosed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ending = true;
    clearTimeout(this.#lingerTimer);
    this.#listener.onClose(this.#error);
    this.#watcher?.onGone(this);
  }

  /** TLS is spoken by Node's sockets only. */
  #socket(): net.Socket {
    const stream = this.#stream;
    if (this.#descriptor !== undefined) return socketOf(this.#descriptor);
    if (!(stream instanceof HandleStream)) return stream as net.Socket;
    const handle = stream.release();
    return new net.Socket({ handle, pauseOnCreate: true } as net.SocketConstructorOpts);
  }

  /** Puts the TLS socket in the place of the plain one, which it now owns. */
  #adopt(secured: tls.TLSSocket, plain: net.Socket): void {
    plain.off("data", onStreamData);
    plain.off("end", onStreamEnd);
    plain.off("close", onStreamClose);
    this.#stream = secured;
    this.#handle = undefined;
    this.#descriptor = undefined;
    this.#directBytes = 0;
    this.#paused = false;
    secured.on("data", onStreamData);
    this.#listenTo(secured);
  }

  #listenTo(stream: net.Socket): void {
    (stream as OwnedStream)[ownerOf] = this;
    stream.allowHalfOpen = true; // ended by onStreamEnd
    stream.on("error", onStreamError);
    stream.on("end", onStreamEnd);
    stream.on("close", onStreamClose);
  }
}
