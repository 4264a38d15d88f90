/** Stand-ins for what pools and sessions stand on: a transport that remembers, a server on top of it, replies. */
import type { Transport, TransportListener } from "../../../src/base/transport.ts";
import type { OpenConnection } from "../../../src/client/handshake/driver.ts";
import type { ReplyQueue, Verdict } from "../../../src/pool/replies.ts";
import { Server, type ServerOwner } from "../../../src/pool/server.ts";
import { Statistics } from "../../../src/pool/statistics.ts";
import { text, typed } from "../wire/bytes.ts";

export class FakeTransport {
  /** What was written, as the buffers that were handed in. */
  readonly writes: Buffer[] = [];
  /** Of each write what the kernel has copied; undefined while it is pending. */
  readonly #copies: (Buffer | undefined)[] = [];
  /** Whether the kernel takes what is written at once. */
  takes = true;
  pendingBytes = 0;
  paused = false;
  ended = false;
  destroyed = false;
  retained = 0;
  listener: TransportListener | undefined;

  write(chunk: Buffer): boolean {
    const taken = this.takes && this.pendingBytes === 0;
    this.writes.push(chunk);
    this.#copies.push(taken ? Buffer.from(chunk) : undefined);
    if (!taken) this.pendingBytes += chunk.length;
    return taken;
  }

  /** The bytes that have been written since the last call; what is pending is read only now. */
  takeWritten(): Buffer {
    const written = Buffer.concat(this.writes.map((chunk, index) => this.#copies[index] ?? chunk));
    this.writes.length = 0;
    this.#copies.length = 0;
    this.pendingBytes = 0;
    return written;
  }

  end(last?: Buffer): void {
    if (last !== undefined) this.write(last);
    this.ended = true;
  }

  destroy(): void {
    this.destroyed = true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  retainChunk(): void {
    this.retained++;
  }

  get asTransport(): Transport {
    return this as unknown as Transport;
  }
}

/** An owner that writes down what it hears. */
export class RecordingOwner implements ServerOwner {
  readonly replies: Buffer[] = [];
  lost: Error | undefined;
  readonly heard: string[] = [];
  /** What `onReplies` answers. */
  takes = true;

  onReplies(bytes: Buffer): boolean {
    this.replies.push(Buffer.from(bytes));
    return this.takes;
  }

  onSettled(): void {
    this.heard.push("settled");
  }

  onParameter(name: string, value: string): void {
    this.heard.push(`${name}=${value}`);
  }

  onDropped(): void {
    this.heard.push("statements dropped");
  }

  onServerDrain(): void {
    this.heard.push("drain");
  }

  onServerLost(error: Error, relayed: boolean): void {
    this.lost = error;
    this.heard.push(`lost: ${error.message}${relayed ? " (relayed)" : ""}`);
  }

  takeReplies(): Buffer {
    const replies = Buffer.concat(this.replies);
    this.replies.length = 0;
    return replies;
  }
}

export function fakeServer(
  options: { preparedMax?: number; parameters?: [string, string][]; tellsFate?: boolean } = {},
): {
  server: Server;
  transport: FakeTransport;
  owner: RecordingOwner;
  closed: string[];
} {
  const transport = new FakeTransport();
  const closed: string[] = [];
  const connection: OpenConnection = {
    transport: transport.asTransport,
    parameters: new Map(options.parameters ?? []),
    backendPid: 4711,
    cancelKey: undefined,
    protocolVersion: 196608,
    endpoint: { host: "127.0.0.1", port: 5432 },
    tls: false,
    scramKeys: undefined,
    rest: Buffer.alloc(0),
  } as unknown as OpenConnection;
  const server = new Server(connection, {
    nowMs: 0,
    preparedMax: options.preparedMax ?? 100,
    packetBytesMax: Number.POSITIVE_INFINITY,
    statistics: new Statistics(),
    tellsFate: options.tellsFate ?? false,
    onClosed: (_server, error) => closed.push(error.message),
  });
  const owner = new RecordingOwner();
  server.owner = owner;
  return { server, transport, owner, closed };
}

export const accept = (queue: ReplyQueue, message: Buffer): Verdict =>
  queue.accept(message[0] as number, message, 0, message.length);

// Replies, independent of our encoders.
export const parseComplete: Buffer = typed("1");
export const bindComplete: Buffer = typed("2");
export const closeComplete: Buffer = typed("3");
export const noData: Buffer = typed("n");
export const emptyQuery: Buffer = typed("I");
export const suspended: Buffer = typed("s");
export const rowDescription: Buffer = typed("T", 0, 0);
export const parameterDescription: Buffer = typed("t", 0, 0);
export const copyIn: Buffer = typed("G", 0, 0, 0);
export const copyOut: Buffer = typed("H", 0, 0, 0);
export const copyBoth: Buffer = typed("W", 0, 0, 0);
export const copyDone: Buffer = typed("c");
export const functionResult: Buffer = typed("V", 0xff, 0xff, 0xff, 0xff);
export const ready = (status = "I"): Buffer => typed("Z", status);
export const complete = (tag: string): Buffer => typed("C", text(tag));
export const row = (content: string): Buffer => typed("D", 0, 1, 0, 0, 0, content.length, content);
export const copyData = (content: string): Buffer => typed("d", content);
export const parameter = (name: string, value: string): Buffer => typed("S", text(name), text(value));
export const notice = (message: string): Buffer =>
  typed("N", text("SNOTICE"), text("C00000"), text(`M${message}`), 0);
export const notification: Buffer = typed("A", 0, 0, 0, 1, text("channel"), text("payload"));
export const failure = (sqlstate: string, message = "no", severity = "ERROR"): Buffer =>
  typed("E", text(`S${severity}`), text(`V${severity}`), text(`C${sqlstate}`), text(`M${message}`), 0);
