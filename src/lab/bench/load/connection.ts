/**
 * One client of the load driver: sends a request, calls back at ReadyForQuery. Callbacks, not promises,
 * because the driver shares the machine with what it measures and should be light.
 */
import net from "node:net";
import { copyDone, errorText, ReplyWalker, reply, startup, terminate } from "./protocol.ts";

export interface LoadTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

/** Called when the server is ready for the next request; with the text of the error if there was one. */
export type OnReady = (error: string | undefined) => void;

/** All sockets are read into this one buffer: every chunk is used up before the next read. */
const readBuffer = Buffer.allocUnsafeSlow(65_536);

export class LoadConnection {
  readonly #socket: net.Socket;
  #onReady: OnReady | undefined;
  #error: string | undefined;
  #ended = false;
  /** Messages that answer CopyInResponse. */
  #copySource: Iterator<Buffer> | undefined;
  #copyAsked = false;
  /** As the server named it at login. */
  serverVersion: string = "unknown";
  /** Takes the data of COPY TO STDOUT. */
  #copyTarget: ((data: Buffer) => void) | undefined;

  /** Connects and logs in; the server must ask for no password. `onReady` is called once logged in. */
  constructor(target: LoadTarget, onReady: OnReady) {
    this.#onReady = onReady;
    const walker = new ReplyWalker({
      keeps: (type) =>
        type === reply.error ||
        type === reply.authentication ||
        type === reply.parameterStatus ||
        (type === reply.copyData && this.#copyTarget !== undefined),
      onReply: (type, body) => this.#onReply(type, body),
    });
    this.#socket = net.connect({
      host: target.host,
      port: target.port,
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (bytes: number) => {
          walker.feed(readBuffer.subarray(0, bytes));
          return true;
        },
      },
    });
    this.#socket.once("connect", () => this.#socket.write(startup(target.user, target.database)));
    this.#socket.on("drain", () => this.#sendCopy());
    this.#socket.on("error", (error) => this.#fail(error.message));
    this.#socket.on("close", () => this.#fail("the connection was closed"));
  }

  static open(target: LoadTarget): Promise<LoadConnection> {
    return new Promise((resolve, reject) => {
      const connection: LoadConnection = new LoadConnection(target, (error) => {
        if (error === undefined) resolve(connection);
        else reject(new Error(error));
      });
    });
  }

  /** Sends a request that ends in one ReadyForQuery. */
  send(request: Buffer, onReady: OnReady): void {
    if (this.#ended) {
      onReady(this.#error ?? "the connection was closed");
      return;
    }
    this.#onReady = onReady;
    this.#socket.write(request);
  }

  /**
   * As {@link send}, for COPY FROM STDIN (the messages of `source` are sent, no faster than they are taken) or COPY TO
   * STDOUT (`target` receives; without one the data is passed over).
   */
  copy(
    request: Buffer,
    onReady: OnReady,
    source: Iterable<Buffer> | undefined,
    target: ((data: Buffer) => void) | undefined,
  ): void {
    this.#copySource = source?.[Symbol.iterator]();
    this.#copyTarget = target;
    this.send(request, onReady);
  }

  /** {@link send} as a promise. */
  request(request: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.send(request, (error) => (error === undefined ? resolve() : reject(new Error(error))));
    });
  }

  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onReady = undefined;
    this.#socket.end(terminate);
  }

  #onReply(type: number, body: Buffer): void {
    if (type === reply.ready) this.#ready();
    else if (type === reply.error) this.#error ??= errorText(body);
    else if (type === reply.copyIn) {
      this.#copyAsked = true;
      this.#sendCopy();
    } else if (type === reply.copyData) this.#copyTarget?.(body);
    else if (type === reply.parameterStatus) this.#noteParameter(body);
    else if (type === reply.authentication && body.readInt32BE(0) !== 0)
      this.#fail("the server asks for a password");
  }

  #noteParameter(body: Buffer): void {
    const [key, value] = body.toString("utf8").split("\0", 2);
    if (key === "server_version" && value !== undefined) this.serverVersion = value;
  }

  #sendCopy(): void {
    const source = this.#copySource;
    if (source === undefined || !this.#copyAsked) return;
    for (let next = source.next(); ; next = source.next()) {
      if (next.done === true) break;
      if (!this.#socket.write(next.value)) return;
    }
    this.#copySource = undefined;
    this.#socket.write(copyDone);
  }

  #ready(): void {
    this.#copySource = undefined;
    this.#copyAsked = false;
    const [onReady, error] = [this.#onReady, this.#error];
    this.#onReady = undefined;
    this.#error = undefined;
    onReady?.(error);
  }

  #fail(message: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error ??= message;
    const onReady = this.#onReady;
    this.#onReady = undefined;
    this.#socket.destroy();
    onReady?.(this.#error);
  }
}
