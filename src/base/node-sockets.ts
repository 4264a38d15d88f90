/** What transports do with Node's own sockets, beyond what these offer. */
import net from "node:net";
import type tls from "node:tls";
import type { DescriptorStream } from "./descriptors.ts";
import { type AcceptedHandle, isStreamHandle } from "./handle-stream.ts";
import type { ReadBuffer } from "./read-buffer.ts";
import { type Endpoint, isUnixHost, unixSocketPath } from "./unix-socket.ts";

/** Starts to connect a socket that reads into one buffer. */
export function connectReading(
  { host, port }: Endpoint,
  reads: ReadBuffer,
  isConnected: () => boolean,
  onRead: (chunk: Buffer) => void,
): net.Socket {
  const address = isUnixHost(host) ? { path: unixSocketPath(host, port) } : { host, port, noDelay: true };
  return net.connect({
    ...address,
    onread: {
      // Node asks once for every address it tries, and after every read; then only another buffer than
      // the last is worth an answer.
      buffer: () => {
        if (isConnected() && !reads.retained) return undefined as unknown as Uint8Array;
        if (reads.retained) reads.renew();
        return reads.bytes;
      },
      callback: (bytes: number) => {
        onRead(reads.first(bytes));
        return true;
      },
    },
  } as net.NetConnectOpts);
}

/** What a stream has read and written by its descriptor goes on as a socket of Node's. */
export function socketOf(stream: DescriptorStream): net.Socket {
  const { descriptor, pending } = stream.release();
  const socket = new net.Socket({
    fd: descriptor,
    readable: true,
    writable: true,
    pauseOnCreate: true,
  } as net.SocketConstructorOpts);
  if (pending !== undefined) socket.write(pending);
  return socket;
}

/** Takes the system's handle out of a socket, to be used in another way. Undefined where the runtime keeps no such handle. */
export function takeHandle(socket: net.Socket | AcceptedHandle): AcceptedHandle | undefined {
  if (!(socket instanceof net.Socket)) return socket;
  const holder = holderOf(socket);
  const handle = holder._handle;
  if (handle === undefined || handle === null || !isStreamHandle(handle)) return undefined;
  holder._handle = null;
  // The emptied socket leaves its server's count; the server no longer knows of the connection.
  socket.destroy();
  return handle;
}

export function holderOf(socket: net.Socket): { _handle?: object | null } {
  return socket as unknown as { _handle?: object | null };
}

/** What tls.Server does for its sockets, and nobody for one that was made by hand. */
export function judgeClientCertificate(socket: tls.TLSSocket): void {
  const handle = (socket as unknown as { _handle: { verifyError(): (Error & { code: string }) | null } })
    ._handle;
  const error = handle.verifyError();
  socket.authorized = error === null;
  if (error !== null) socket.authorizationError = error;
}
