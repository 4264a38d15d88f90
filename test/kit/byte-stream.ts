/**
 * A socket that is read by asking for bytes, for tests that speak a protocol step by step. What has come and
 * was not asked for yet is kept, also across a change to TLS.
 */
import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import { unixSocketPath } from "../../src/base/unix-socket.ts";
import { waitMs, waitToSee, within } from "./wait.ts";

/** A port of 127.0.0.1, an address, or the folder of a Unix socket. */
export type Place = number | { readonly host: string; readonly port: number };

export class ByteStream {
  #socket: net.Socket;
  #received: Buffer = Buffer.alloc(0);
  #ended = false;
  #error: Error | undefined;
  #wake: () => void = () => undefined;
  /** Resolves when the other side has closed, in whichever way, or we have. */
  readonly closed: Promise<void>;
  #onClosed: () => void = () => undefined;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
    this.#listen(socket);
  }

  static async connect(place: Place): Promise<ByteStream> {
    const { host, port } = typeof place === "number" ? { host: "127.0.0.1", port: place } : place;
    const socket = host.startsWith("/")
      ? net.connect({ path: unixSocketPath(host, port) })
      : net.connect({ host, port, noDelay: true });
    await once(socket, "connect");
    return new ByteStream(socket);
  }

  /** Error of the socket, for example ECONNRESET, once it is closed. */
  get error(): Error | undefined {
    return this.#error;
  }

  get isClosed(): boolean {
    return this.#ended;
  }

  get tlsSocket(): tls.TLSSocket | undefined {
    return this.#socket instanceof tls.TLSSocket ? this.#socket : undefined;
  }

  /** Bytes that have come and were not read yet. */
  get available(): number {
    return this.#received.length;
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Waits for exactly `count` bytes; rejects if the stream ends before, or after `timeoutMs`. */
  async read(count: number, what: string, timeoutMs: number = waitMs): Promise<Buffer> {
    await this.#until(() => this.#received.length >= count, what, timeoutMs);
    const bytes = this.#received.subarray(0, count);
    this.#received = this.#received.subarray(count);
    return bytes;
  }

  /** The next bytes without taking them. */
  async peek(count: number, what: string, timeoutMs: number = waitMs): Promise<Buffer> {
    await this.#until(() => this.#received.length >= count, what, timeoutMs);
    return this.#received.subarray(0, count);
  }

  /** Everything until the other side closes. */
  async readToEnd(timeoutMs: number = waitMs): Promise<Buffer> {
    await within(this.closed, "the other side closes", timeoutMs);
    const bytes = this.#received;
    this.#received = Buffer.alloc(0);
    return bytes;
  }

  /** Stops taking bytes from the system, so that the other side feels pressure. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  async startTls(options: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> {
    const plain = this.#release();
    const secured = tls.connect({ rejectUnauthorized: false, ...options, socket: plain });
    return await this.#secure(secured, "secureConnect");
  }

  async acceptTls(options: tls.TLSSocketOptions): Promise<tls.TLSSocket> {
    const plain = this.#release();
    const secured = new tls.TLSSocket(plain, { ...options, isServer: true });
    return await this.#secure(secured, "secure");
  }

  /** Closes in an orderly way. */
  end(): void {
    this.#socket.end();
  }

  /** Closes at once with a reset, where the stream can. */
  reset(): void {
    const socket = this.#socket;
    if (socket instanceof tls.TLSSocket) socket.destroy();
    else socket.resetAndDestroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #listen(socket: net.Socket): void {
    const end = (): void => {
      this.#ended = true;
      this.#onClosed();
      this.#wake();
    };
    socket.on("data", (chunk: Buffer) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      this.#wake();
    });
    socket.on("error", (error) => {
      this.#error ??= error;
    });
    socket.on("end", end);
    socket.on("close", end);
  }

  /** Takes the plain socket for TLS, with what has come of the handshake already. */
  #release(): net.Socket {
    const socket = this.#socket;
    socket.removeAllListeners("data");
    socket.pause();
    if (this.#received.length > 0) socket.unshift(this.#received);
    this.#received = Buffer.alloc(0);
    return socket;
  }

  async #secure(secured: tls.TLSSocket, event: "secure" | "secureConnect"): Promise<tls.TLSSocket> {
    this.#socket = secured;
    this.#listen(secured);
    await within(once(secured, event), "the TLS handshake succeeds");
    return secured;
  }

  async #until(condition: () => boolean, what: string, timeoutMs: number): Promise<void> {
    await within(
      (async () => {
        while (!condition()) {
          if (this.#ended) throw new Error(`the stream ended before: ${what}`, { cause: this.#error });
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      })(),
      what,
      timeoutMs,
    );
  }
}

/** Nobody listens on the port of 127.0.0.1 any more. */
export async function untilRefused(port: number): Promise<void> {
  await waitToSee(
    async () => {
      try {
        (await ByteStream.connect(port)).destroy();
        return "accepted";
      } catch (error) {
        return (error as NodeJS.ErrnoException).code;
      }
    },
    (answer) => answer === "ECONNREFUSED",
    "new connections are refused",
  );
}
