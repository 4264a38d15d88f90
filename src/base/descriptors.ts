/**
 * Sockets by their file descriptors, without handles of Node's: what transports ask of whoever reads and writes them. Who can do that
 * registers here (src/epoll); a process that has nobody has Node's sockets.
 */
import type { ReadBuffer } from "./read-buffer.ts";

/** Whose stream it is. */
export interface StreamOwner {
  /** The bytes are the owner's to keep, or lie in a buffer that the next read overwrites: whoever makes the stream knows. */
  onRead(chunk: Buffer): void;
  onStreamError(error: Error): void;
  onStreamClosed(): void;
  /** The kernel has not taken what {@link DescriptorStream.send} said that it would: it waits. */
  onStreamKept(): void;
  /** What {@link DescriptorStream.send} left is with the kernel. */
  onStreamWritten(): void;
  /** Writes what waits for the end of the turn. */
  sendTurn(): void;
}

/** How a TCP connection finds out that its peer is gone. What is 0 or missing is left to the system. */
export interface KeepAlive {
  readonly enabled: boolean;
  /** Seconds of idleness before the first probe. */
  readonly idleSeconds: number;
  /** Seconds between probes, and how many of them may be without an answer. Node can set neither these nor what follows. */
  readonly intervalSeconds?: number | undefined;
  readonly count?: number | undefined;
  /** How long what was sent may be without an answer. */
  readonly userTimeoutMs?: number | undefined;
}

/** A plain stream as far as a transport asks for it, with the names of Node's sockets. */
export interface PlainStream {
  readonly writable: boolean;
  /** Bytes that the kernel has not taken. */
  readonly writableLength: number;
  readonly destroyed: boolean;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
  setKeepAlive(enabled: boolean, idleMs: number): void;
  pause(): void;
  resume(): void;
  /** Writes the last bytes, and ends our side behind everything that is pending. */
  end(last?: Buffer): void;
  destroy(error?: Error): void;
}

/** A stream that is written to without a request for each write. */
export interface DescriptorStream extends PlainStream {
  /** Whether the kernel has taken all of it, or will at the end of the turn; if not, the chunk must not change, and the owner is told when it has. */
  send(chunk: Buffer): boolean;
  /** Nobody keeps bytes of the chunk that `onRead` is being told of, by a stream that leaves chunks to its owner. Of any other chunk it means nothing. */
  releaseChunk(chunk: Buffer): void;
  /** What {@link PlainStream.setKeepAlive} is not told of. */
  setTcpOptions(options: KeepAlive): void;
  /** The descriptor is another's from now on, and so is what could not be written yet; this stream tells nothing any more. */
  release(): { readonly descriptor: number; readonly pending: Buffer | undefined };
}

export interface PeerAddress {
  readonly address?: string;
  readonly port?: number;
}

/** A connection that was accepted, not yet read from. */
export interface AcceptedDescriptor {
  readonly descriptor: number;
  /** Of a TCP connection. */
  readonly peer: PeerAddress;
  close(): void;
}

/** A handle of Node's whose descriptor can be taken. */
interface DescriptorHandle {
  /** Missing where the system has no descriptors. */
  readonly fd?: number;
  close(): void;
}

/** Who reads and writes descriptors in this process. */
export interface Descriptors {
  /** Where streams that were opened with `copies: false` read; who keeps bytes of a chunk marks it as retained. */
  readonly reads: ReadBuffer;
  /** Begins to read from a connected socket. `copies`: every chunk is a new one, unless it is released. */
  open(
    socket: { descriptor: number; peer?: PeerAddress },
    owner: StreamOwner,
    copies: boolean,
  ): DescriptorStream;
  /** Takes the connection out of a handle, which is closed. Undefined: it has no descriptor (any more). */
  take(handle: DescriptorHandle): number | undefined;
  /**
   * Accepts at a socket that Node listens on, in Node's place, without delay of small writes. Returns what stops it, to be called before
   * the socket is closed. Undefined: this socket cannot be accepted from here.
   */
  accept(
    listening: DescriptorHandle,
    onAccept: (accepted: AcceptedDescriptor) => void,
    onFailed: (error: Error) => void,
  ): (() => void) | undefined;
}

let descriptors: Descriptors | undefined;

/** Who reads and writes the sockets that are opened from now on; undefined: Node. */
export function useDescriptors(by: Descriptors | undefined): void {
  descriptors = by;
}

export function currentDescriptors(): Descriptors | undefined {
  return descriptors;
}

export function isAcceptedDescriptor(accepted: object): accepted is AcceptedDescriptor {
  return "descriptor" in accepted;
}
