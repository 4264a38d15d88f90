/**
 * A client for masses: sends more than anybody should, reads or does not read as it likes, and counts the
 * messages that come instead of keeping them.
 */
import { once } from "node:events";
import net from "node:net";
import { Backend, largeMessageBytesMax, type TransactionStatus } from "../../src/wire/constants.ts";
import { decodeBackend } from "../../src/wire/decode-backend.ts";
import { encodeFrontend } from "../../src/wire/encode-frontend.ts";
import { backendRules, Frame, Framer } from "../../src/wire/framer.ts";
import type { BackendMessage, FrontendMessage } from "../../src/wire/messages.ts";
import { encodeStartup } from "../../src/wire/startup.ts";
import { waitToSee } from "../kit/wait.ts";
import { type Bystander, patienceMs } from "./hostile-pooler.ts";

/** Rows of usual length come whole, so that their values can be read. */
const rules = backendRules().collectIfShort(Backend.dataRow, largeMessageBytesMax);

export class FloodClient implements Disposable {
  /** Messages that came since the login, by their letter. */
  readonly received = new Map<string, number>();
  /** First values of rows, if they are short. */
  readonly values: string[] = [];
  lastError: Extract<BackendMessage, { kind: "ErrorResponse" }>["fields"] | undefined;
  status: TransactionStatus | undefined;
  closed = false;
  #backendPid = 0;
  #key: Buffer = Buffer.alloc(0);
  readonly #socket: net.Socket;
  readonly #framer = new Framer(rules);

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.closed = true;
    });
  }

  static async connect(
    place: { readonly host: string; readonly port: number },
    parameters: readonly (readonly [string, string])[] = [],
  ): Promise<FloodClient> {
    const socket = net.connect(place);
    await once(socket, "connect");
    const client = new FloodClient(socket);
    client.send(encodeStartup(196_608, [["user", "postgres"], ["database", "postgres"], ...parameters]));
    await client.until("Z", 1);
    client.received.clear();
    return client;
  }

  /** What a cancel request needs. */
  get session(): { pid: number; key: Buffer } {
    return { pid: this.#backendPid, key: this.#key };
  }

  /** Bytes that the system has taken. */
  get sentBytes(): number {
    return this.#socket.bytesWritten - this.#socket.writableLength;
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  send(...items: readonly (FrontendMessage | Buffer)[]): void {
    this.#socket.write(
      Buffer.concat(items.map((item) => (Buffer.isBuffer(item) ? item : encodeFrontend(item)))),
    );
  }

  /** Sends the same again and again. */
  repeat(messages: readonly FrontendMessage[], times: number): void {
    const bytes = Buffer.concat(messages.map(encodeFrontend));
    this.#socket.write(Buffer.alloc(bytes.length * times, bytes));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Waits until so many messages with this letter have come. */
  async until(letter: string, count: number): Promise<void> {
    await waitToSee(
      () => {
        const enough = (this.received.get(letter) ?? 0) >= count;
        if (this.closed && !enough)
          throw new Error(`closed before ${letter} has come: ${this.lastError?.message}`);
        return this.received;
      },
      (received) => (received.get(letter) ?? 0) >= count,
      `${count} times ${letter}`,
      patienceMs,
    );
  }

  /** Nobody takes its bytes any more, although there are more. Others work meanwhile. */
  async untilStuck(bystander: Bystander): Promise<void> {
    for (let before = -1; before !== this.sentBytes; ) {
      before = this.sentBytes;
      await bystander.works(5);
    }
  }

  async untilClosed(): Promise<void> {
    await waitToSee(
      () => ({ closed: this.closed, received: this.received, lastError: this.lastError }),
      ({ closed }) => closed,
      "the connection is closed",
      patienceMs,
    );
  }

  reset(): void {
    this.#socket.resetAndDestroy();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    const framer = this.#framer;
    framer.feed(chunk);
    for (let kind = framer.next(); kind !== Frame.need; kind = framer.next()) {
      if (kind === Frame.whole || kind === Frame.head) this.#note(framer, kind === Frame.whole);
    }
  }

  #note({ type, buffer, start, end }: Framer, whole: boolean): void {
    const letter = String.fromCharCode(type);
    this.received.set(letter, (this.received.get(letter) ?? 0) + 1);
    if (type === Backend.dataRow && whole) {
      const bytes = buffer.readInt32BE(start + 7);
      if (bytes >= 0 && bytes < 100)
        this.values.push(buffer.toString("latin1", start + 11, start + 11 + bytes));
    } else if (type === Backend.readyForQuery) {
      this.status = buffer[start + 5] as TransactionStatus;
    } else if (whole && (type === Backend.errorResponse || type === Backend.backendKeyData)) {
      const message = decodeBackend(buffer, start, end);
      if (message.kind === "ErrorResponse") this.lastError = message.fields;
      else if (message.kind === "BackendKeyData")
        [this.#backendPid, this.#key] = [message.pid, Buffer.from(message.key)];
    }
  }
}
