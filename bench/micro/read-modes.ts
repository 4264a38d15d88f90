/**
 * The ways to read from a socket that the micro-benchmarks compare.
 *
 * With `onread` Node reads into a buffer of ours and calls back at once, without the stream machinery. As
 * reading and calling back are one step, one buffer can serve all sockets of a process, if whoever keeps bytes
 * beyond the callback copies them. `onread` is an option of net.connect only; how an accepted socket can have
 * it too is what the modes `shared`, `shared-patch` and `shared-hook` try.
 */
import net from "node:net";

/**
 * How a side is read: `data` events; `onread` into a buffer of its own; `shared`: `onread` into one buffer for
 * all sockets of the process; `shared-patch`, `shared-hook`: as `shared`, but an accepted socket gets there by
 * its private fields, or by taking the handle before Node makes a socket of it.
 */
export type ReadMode = "data" | "onread" | "shared" | "shared-patch" | "shared-hook";

export type OnBytes = (chunk: Buffer) => boolean;

type Handle = { useUserBuffer(buffer: Buffer): void; onconnection: unknown };
type WithHandle = { _handle: Handle | null };

const readBufferBytes = 65_536;
const sharedBuffer = Buffer.allocUnsafeSlow(readBufferBytes);

/** Whether sockets must be accepted without being read from (`pauseOnConnect`). */
export function usesHandle(mode: ReadMode): boolean {
  return mode === "onread" || mode === "shared";
}

/** Makes an accepted socket call `onBytes`, and returns the socket to use from now on. */
export function readAccepted(socket: net.Socket, mode: ReadMode, onBytes: OnBytes): net.Socket {
  if (mode === "data") {
    socket.on("data", onBytes);
    return socket;
  }
  if (mode === "shared-patch") return patchFields(socket, onBytes);
  return wrapHandle(takeHandle(socket), reader(mode, onBytes));
}

/** The `onread` option. */
export function reader(mode: ReadMode, onBytes: OnBytes): net.OnReadOpts {
  const buffer = mode === "onread" ? Buffer.allocUnsafeSlow(readBufferBytes) : sharedBuffer;
  return { buffer, callback: (bytes) => onBytes(buffer.subarray(0, bytes)) };
}

/** The way the `net` documentation allows in part: `handle` is an option without a page. */
function wrapHandle(handle: Handle, onread: net.OnReadOpts): net.Socket {
  const socket = new net.Socket({
    handle,
    onread,
    readable: true,
    writable: true,
  } as net.SocketConstructorOpts);
  socket.read(0);
  return socket;
}

function takeHandle(socket: net.Socket): Handle {
  const holder = socket as unknown as WithHandle;
  const handle = holder._handle;
  if (handle === null) throw new Error("the accepted socket is gone");
  holder._handle = null;
  return handle;
}

/** Sets what the `onread` option would have set, found by the names of the symbols. */
function patchFields(socket: net.Socket, onBytes: OnBytes): net.Socket {
  const fields = socket as unknown as Record<symbol, unknown>;
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    if (symbol.description === "kBuffer") fields[symbol] = sharedBuffer;
    if (symbol.description === "kBufferCb") {
      fields[symbol] = (bytes: number) => onBytes(sharedBuffer.subarray(0, bytes));
    }
  }
  (socket as unknown as WithHandle)._handle?.useUserBuffer(sharedBuffer);
  return socket;
}

/** Replaces the listener's accept callback, so that only one socket object is made per client. */
export function hookAccept(
  server: net.Server,
  noDelay: boolean,
  onSocket: (take: (onBytes: OnBytes) => net.Socket) => void,
): void {
  const listening = (server as unknown as WithHandle)._handle;
  if (listening === null) throw new Error("not listening");
  listening.onconnection = (status: number, handle: Handle & { setNoDelay(on: boolean): void }) => {
    if (status !== 0) throw new Error(`accept failed: ${status}`);
    if (noDelay) handle.setNoDelay(true);
    onSocket((onBytes) => wrapHandle(handle, reader("shared", onBytes)));
  };
}
