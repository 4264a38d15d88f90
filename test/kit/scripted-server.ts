/**
 * A server that does what a test tells it, step by step: expect this, send that. For the client's tests of
 * servers that PostgreSQL never is: old, odd, slow, broken or hostile ones.
 *
 *     await using server = await ScriptedServer.start(async (peer) => {
 *       await peer.expectStartup("startup");
 *       peer.welcome();
 *       await peer.expect("Terminate");
 *     });
 *     … connect to server.port …
 *     await server.finished; // rejects if a script did
 */
import { once } from "node:events";
import net from "node:net";
import type { SecureContextOptions, TLSSocket, TLSSocketOptions } from "node:tls";
import { TransactionStatus } from "../../src/wire/constants.ts";
import { decodeFrontend } from "../../src/wire/decode-frontend.ts";
import { encodeBackend } from "../../src/wire/encode-backend.ts";
import type { BackendMessage, FrontendMessage } from "../../src/wire/messages.ts";
import { StartupFramer, type StartupRequest } from "../../src/wire/startup.ts";
import { ByteStream } from "./byte-stream.ts";
import { waitMs, within } from "./wait.ts";

export type Script = (peer: ScriptedPeer) => Promise<void>;
export type FrontendKind = FrontendMessage["kind"];
export type FrontendOf<Kind extends FrontendKind> = Extract<FrontendMessage, { kind: Kind }>;
export type StartupOf<Kind extends StartupRequest["kind"]> = Extract<StartupRequest, { kind: Kind }>;

export interface ScriptedServerOptions {
  /** A port of 127.0.0.1; a free one by default. Or the folder of a Unix socket, with the port in its name. */
  readonly host?: string;
  readonly port?: number;
}

export class ScriptedServer {
  readonly #server: net.Server;
  readonly #scripts: readonly Script[];
  readonly peers: ScriptedPeer[] = [];
  readonly #running: Promise<void>[] = [];
  #port = 0;

  private constructor(scripts: readonly Script[]) {
    this.#scripts = scripts;
    this.#server = net.createServer({ noDelay: true }, (socket) => this.#accept(socket));
  }

  /**
   * Listens. Each connection runs the script of its number, the last one again for all that follow; it is
   * closed when its script ends.
   */
  static async start(
    scripts: Script | readonly Script[],
    options: ScriptedServerOptions = {},
  ): Promise<ScriptedServer> {
    const server = new ScriptedServer(typeof scripts === "function" ? [scripts] : scripts);
    const { host = "127.0.0.1", port = 0 } = options;
    if (host.startsWith("/")) server.#server.listen({ path: `${host}/.s.PGSQL.${port}` });
    else server.#server.listen({ host, port });
    await once(server.#server, "listening");
    const address = server.#server.address();
    server.#port = typeof address === "object" && address !== null ? address.port : port;
    return server;
  }

  get port(): number {
    return this.#port;
  }

  /** Connections accepted so far. */
  get accepted(): number {
    return this.peers.length;
  }

  /** Resolves when every script that has begun has ended well; rejects with the first failure. */
  get finished(): Promise<void> {
    return within(
      Promise.all(this.#running).then(() => undefined),
      "the scripts end",
    );
  }

  /** Refuses further connections; those that there are go on. */
  stopListening(): void {
    this.#server.close();
  }

  async stop(): Promise<void> {
    for (const { stream } of this.peers) stream.destroy();
    this.#server.close();
    await Promise.allSettled(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #accept(socket: net.Socket): void {
    const script = this.#scripts[Math.min(this.peers.length, this.#scripts.length - 1)];
    const peer = new ScriptedPeer(new ByteStream(socket));
    this.peers.push(peer);
    const running = (script?.(peer) ?? Promise.resolve()).finally(() => peer.stream.end());
    // Whoever asks for `finished` hears of a failure; until then it must not end the process.
    running.catch(() => undefined);
    this.#running.push(running);
  }
}

/** One connection as its script sees it. */
export class ScriptedPeer {
  readonly stream: ByteStream;

  constructor(stream: ByteStream) {
    this.stream = stream;
  }

  /** Resolves when the client has closed. */
  get closed(): Promise<void> {
    return this.stream.closed;
  }

  /** Sends bytes and messages in one write. */
  send(...items: readonly (Buffer | BackendMessage)[]): void {
    const encoded = items.map((item) => (Buffer.isBuffer(item) ? item : encodeBackend(item)));
    this.stream.write(Buffer.concat(encoded));
  }

  /** Sends bytes one by one, each in a write and a turn of its own. */
  async sendSlowly(...items: readonly (Buffer | BackendMessage)[]): Promise<void> {
    for (const item of items) {
      for (const byte of Buffer.isBuffer(item) ? item : encodeBackend(item)) {
        this.stream.write(Buffer.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  /** The next message after the login's first packets. */
  async next(what = "a message", timeoutMs: number = waitMs): Promise<FrontendMessage> {
    const header = await this.stream.peek(5, what, timeoutMs);
    const total = 1 + header.readUInt32BE(1);
    return decodeFrontend(await this.stream.read(total, what, timeoutMs), 0, total);
  }

  /** The next message, which must be of this kind. */
  async expect<Kind extends FrontendKind>(kind: Kind, timeoutMs: number = waitMs): Promise<FrontendOf<Kind>> {
    const message = await this.next(kind, timeoutMs);
    if (message.kind !== kind) throw new Error(`expected ${kind}, got ${message.kind}`);
    return message as FrontendOf<Kind>;
  }

  /** The next of the packets that have no type: a startup, a request for encryption, a cancel request. */
  async expectStartup<Kind extends StartupRequest["kind"]>(
    kind: Kind,
    timeoutMs: number = waitMs,
  ): Promise<StartupOf<Kind>> {
    const length = (await this.stream.peek(4, kind, timeoutMs)).readUInt32BE(0);
    const framer = new StartupFramer();
    framer.feed(await this.stream.read(length, kind, timeoutMs));
    const request = framer.next();
    if (request?.kind !== kind) throw new Error(`expected ${kind}, got ${request?.kind}`);
    return request as StartupOf<Kind>;
  }

  /** Takes an SSLRequest, agrees, and becomes TLS's server. */
  async acceptTls(options: SecureContextOptions & TLSSocketOptions): Promise<TLSSocket> {
    await this.expectStartup("ssl");
    this.send(Buffer.from("S"));
    return await this.stream.acceptTls(options);
  }

  /** Becomes TLS's server at once (sslnegotiation=direct). */
  async acceptDirectTls(options: SecureContextOptions & TLSSocketOptions): Promise<TLSSocket> {
    return await this.stream.acceptTls({ ALPNProtocols: ["postgresql"], ...options });
  }

  /** Takes an SSLRequest and says no. */
  async refuseTls(): Promise<void> {
    await this.expectStartup("ssl");
    this.send(Buffer.from("N"));
  }

  /** What PostgreSQL sends after a login that succeeded. */
  welcome(options: { pid?: number; key?: Buffer; parameters?: Readonly<Record<string, string>> } = {}): void {
    const { pid = 4711, key = Buffer.from("1234"), parameters = { server_version: "18.0" } } = options;
    this.send(
      { kind: "AuthenticationOk" },
      ...Object.entries(parameters).map(
        ([name, value]): BackendMessage => ({ kind: "ParameterStatus", name, value }),
      ),
      { kind: "BackendKeyData", pid, key },
      { kind: "ReadyForQuery", status: TransactionStatus.idle },
    );
  }

  /** Refuses or fails with an error. */
  fail(code: string, message: string, severity = "FATAL"): void {
    this.send({ kind: "ErrorResponse", fields: { severity, severityLocalized: severity, code, message } });
  }
}
