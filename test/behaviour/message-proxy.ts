/**
 * Stands between a pooler and a real PostgreSQL and knows where messages begin: replies can be held, seen and changed,
 * cancel requests lost, and what the pooler sends is kept, message by message and chunk by chunk. For what PostgreSQL does
 * too seldom, or at no time that a test could choose.
 */
import { once } from "node:events";
import net from "node:net";
import { decodeFrontend } from "../../src/wire/decode-frontend.ts";
import type { FrontendMessage } from "../../src/wire/messages.ts";

interface Upstream {
  readonly host: string;
  readonly port: number;
}

/** What is passed on in a reply's place, in the moment in which it is. */
export type Change = (reply: Buffer) => readonly Buffer[];

const cancelRequestCode = 80877102;

export class MessageProxy implements AsyncDisposable {
  readonly #upstream: Upstream;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  /** Connections that are no cancel requests, in the order in which they came. */
  readonly links: ProxiedServer[] = [];
  /** Cancel requests so far. */
  cancels = 0;
  /** Whether cancel requests reach PostgreSQL. */
  passesCancels = true;

  private constructor(upstream: Upstream) {
    this.#upstream = upstream;
    this.#server = net.createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  static async start({ host, port }: Upstream): Promise<MessageProxy> {
    const proxy = new MessageProxy({ host, port });
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get host(): string {
    return "127.0.0.1";
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** The link over which `text` was sent last, in a Query or a Parse. */
  linkOf(text: string): ProxiedServer | undefined {
    return this.links.findLast((link) => link.countOf(text) > 0);
  }

  /** How often `text` was sent, on all links. */
  countOf(text: string): number {
    return this.links.reduce((sum, link) => sum + link.countOf(text), 0);
  }

  /** Replies wait here, on all links that there are, until each is released. */
  hold(): void {
    for (const link of this.links) link.hold();
  }

  release(): void {
    for (const link of this.links) link.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(socket: net.Socket): void {
    this.#keep(socket);
    socket.once("data", (startup: Buffer) => {
      const isCancel = startup.length >= 8 && startup.readUInt32BE(4) === cancelRequestCode;
      if (isCancel) {
        this.cancels++;
        if (!this.passesCancels) {
          socket.end();
          return;
        }
      }
      const upstream = net.connect({ ...this.#upstream, noDelay: true });
      this.#keep(upstream);
      upstream.write(startup);
      const link = new ProxiedServer(socket, upstream);
      if (!isCancel) this.links.push(link);
    });
  }

  #keep(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
  }
}

/** One connection of the pooler to PostgreSQL. */
export class ProxiedServer {
  /** Messages of the pooler, after the startup packet, by the chunks in which they came. */
  readonly chunks: FrontendMessage[][] = [];
  /** Changes replies; they pass as they are without it. */
  change: Change | undefined;
  readonly #pooler: net.Socket;
  readonly #replies: Buffer[] = [];
  #held = false;
  #sent: Buffer = Buffer.alloc(0);
  #received: Buffer = Buffer.alloc(0);

  constructor(pooler: net.Socket, upstream: net.Socket) {
    this.#pooler = pooler;
    pooler.on("data", (chunk: Buffer) => {
      this.#note(chunk);
      upstream.write(chunk);
    });
    upstream.on("data", (chunk: Buffer) => this.#take(chunk));
    pooler.on("close", () => upstream.destroy());
    upstream.on("close", () => pooler.end());
  }

  get messages(): readonly FrontendMessage[] {
    return this.chunks.flat();
  }

  countOf(text: string): number {
    return this.messages.filter(
      (message) => (message.kind === "Query" || message.kind === "Parse") && message.sql === text,
    ).length;
  }

  /** The chunk in which a message with `text` came, as kinds of messages with their texts. */
  chunkWith(text: string): string[] | undefined {
    return this.chunks
      .map((messages) =>
        messages.map((message) =>
          message.kind === "Query" || message.kind === "Parse"
            ? `${message.kind}: ${message.sql}`
            : message.kind,
        ),
      )
      .find((messages) => messages.some((message) => message.endsWith(`: ${text}`)));
  }

  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    for (const reply of this.#replies.splice(0)) this.#pass(reply);
  }

  /** Replies that wait here. */
  get heldCount(): number {
    return this.#replies.length;
  }

  /** Bytes that the pooler does not read. */
  get unreadBytes(): number {
    return this.#pooler.writableLength;
  }

  /** Ends the connection to the pooler, after what has passed already. */
  cut(): void {
    this.#pooler.end();
  }

  #note(chunk: Buffer): void {
    this.#sent = Buffer.concat([this.#sent, chunk]);
    const messages: FrontendMessage[] = [];
    for (let end = endOf(this.#sent); end !== undefined; end = endOf(this.#sent)) {
      messages.push(decodeFrontend(this.#sent, 0, end));
      this.#sent = this.#sent.subarray(end);
    }
    this.chunks.push(messages);
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    for (let end = endOf(this.#received); end !== undefined; end = endOf(this.#received)) {
      const reply = this.#received.subarray(0, end);
      this.#received = this.#received.subarray(end);
      if (this.#held) this.#replies.push(reply);
      else this.#pass(reply);
    }
  }

  #pass(reply: Buffer): void {
    for (const bytes of this.change?.(reply) ?? [reply])
      if (!this.#pooler.writableEnded) this.#pooler.write(bytes);
  }
}

function endOf(bytes: Buffer): number | undefined {
  if (bytes.length < 5) return undefined;
  const end = 1 + bytes.readUInt32BE(1);
  return end <= bytes.length ? end : undefined;
}
