/**
 * Writes to a socket's handle, below Node's stream machinery, for as long as the kernel takes everything at once: then a write
 * needs no request, no state of a stream and no tick of its own (docs/adr/0008, bench/micro).
 *
 * `writeBuffer` of a handle tries to write first and makes the request a real one only for what is left; libuv keeps that in a
 * queue of its own, in order with what the stream writes or shuts down afterwards (src/stream_base.cc, StreamBase::Write). In
 * Node 20 the caller passes the request, here one for all streams until it is needed; in Node 26 the handle returns it.
 * Which of them it is, a socket with a handle of ours is asked once. A handle that is not known is not written to.
 */
import net from "node:net";
import { getSystemErrorName } from "node:util";

/** The system's handle of a plain socket. */
export interface DirectHandle {
  /** 0 or an error of libuv; Node 26: also the request, if bytes are left. */
  writeBuffer(request: WriteRequest | null, chunk: Buffer): number | WriteRequest;
}

/** Whose bytes are left. */
export interface DirectWriter {
  /** A write that was pending is through, or failed with an error of libuv. */
  onWriteEnded(bytes: number, status: number): void;
}

/** What {@link writeDirectly} returns for bytes that are left; the kernel has taken everything: 0; less: it failed. */
export const writePending = 1;

interface WriteRequest {
  writer?: DirectWriter;
  /** It is read from until the end. */
  chunk?: Buffer;
  /** Called by the handle at the end. */
  oncomplete?: (this: WriteRequest, status: number) => void;
  /** -1 for a request that nothing waits for. */
  getAsyncId(): number;
}

/** How a handle wants its request: undefined in a runtime that is not known. */
type Requests = "passed" | "returned" | undefined;

let requests: Requests;
let asked = false;
/** For all writes that leave nothing; then for the first that does. */
let passed: WriteRequest | null = null;

/** The handle of a socket that is connected, if it can be written to. */
export function directHandle(handle: unknown): DirectHandle | undefined {
  if (typeof handle !== "object" || handle === null) return undefined;
  const kind = handle.constructor.name;
  if ((kind !== "TCP" && kind !== "Pipe") || !("writeBuffer" in handle)) return undefined;
  if (!asked) ask();
  return requests === undefined ? undefined : (handle as DirectHandle);
}

/** Writes a chunk. If it is {@link writePending}, the chunk must not change, and the writer is told of the end. */
export function writeDirectly(handle: DirectHandle, chunk: Buffer, writer: DirectWriter): number {
  const result = handle.writeBuffer(passed, chunk);
  if (typeof result !== "number") return waitFor(result, chunk, writer);
  if (passed === null || passed.getAsyncId() === -1) return result;
  const request = passed;
  passed = newRequest(request);
  return waitFor(request, chunk, writer);
}

/** The error that Node's own streams have for what failed with an error of libuv. */
export function systemError(status: number, syscall: string): NodeJS.ErrnoException {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`${syscall} ${code}`), { errno: status, code, syscall });
}

function waitFor(request: WriteRequest, chunk: Buffer, writer: DirectWriter): number {
  request.writer = writer;
  request.chunk = chunk;
  request.oncomplete = completed;
  return writePending;
}

function completed(this: WriteRequest, status: number): void {
  this.writer?.onWriteEnded(this.chunk?.length ?? 0, status);
}

function newRequest(like: object): WriteRequest {
  return new (like.constructor as new () => WriteRequest)();
}

/** Lets Node write to a handle of ours, and sees what it passes as the request. */
function ask(): void {
  asked = true;
  let request: unknown;
  const handle = {
    writeBuffer(given: unknown): number {
      request = given;
      return 0;
    },
    getAsyncId: () => 1,
    readStart: () => 0,
    readStop: () => 0,
    close() {},
  };
  try {
    const socket = new net.Socket({ handle, readable: false, writable: true } as net.SocketConstructorOpts);
    socket.on("error", () => undefined);
    socket.write(Buffer.of(0));
    socket.destroy();
    if (request === null) requests = "returned";
    if (typeof request !== "object" || request === null) return;
    const made = newRequest(request);
    if (made.getAsyncId() !== -1) return;
    passed = made;
    requests = "passed";
  } catch {
    // A runtime with other sockets: they are written to by their streams.
  }
}
