/**
 * A client that speaks the protocol message by message, for tests of what drivers never do: bytes in any
 * order and in pieces, messages that are wrong, and every answer seen as it comes.
 */
import { randomBytes } from "node:crypto";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { tlsServerEndPoint } from "../../src/auth/channel-binding.ts";
import { md5Response } from "../../src/auth/md5.ts";
import { saltedPassword } from "../../src/auth/pbkdf2.ts";
import { ScramClient } from "../../src/auth/scram-client.ts";
import { decodeBackend } from "../../src/wire/decode-backend.ts";
import {
  encodeFrontend,
  encodePassword,
  encodeQuery,
  encodeSaslInitialResponse,
  encodeSaslResponse,
} from "../../src/wire/encode-frontend.ts";
import type { BackendMessage, FrontendMessage } from "../../src/wire/messages.ts";
import { encodeCancelRequest, encodeStartup, sslRequest } from "../../src/wire/startup.ts";
import { ByteStream, type Place } from "./byte-stream.ts";
import { waitMs } from "./wait.ts";

export type BackendKind = BackendMessage["kind"];
export type BackendOf<Kind extends BackendKind> = Extract<BackendMessage, { kind: Kind }>;

export interface RawStartup {
  readonly user?: string;
  readonly database?: string;
  /** For any method that the server asks for. */
  readonly password?: string;
  /** 196608 (3.0) by default; 196610 is 3.2. */
  readonly version?: number;
  /** Further keys of the startup packet, in this order. */
  readonly parameters?: readonly (readonly [string, string])[];
  /** How long the server may take for each of its messages. */
  readonly patienceMs?: number | undefined;
}

/** What a login brought. */
export interface RawSession {
  readonly parameters: ReadonlyMap<string, string>;
  readonly pid: number;
  readonly key: Buffer;
  /** Everything the server sent, ReadyForQuery included. */
  readonly messages: readonly BackendMessage[];
}

/** Connects, and sends nothing yet. */
export async function rawClient(place: Place): Promise<RawClient> {
  return new RawClient(await ByteStream.connect(place));
}

/** Sends a cancel request over a connection of its own, and resolves when the server has closed it. */
export async function rawCancel(place: Place, session: { pid: number; key: Buffer }): Promise<void> {
  const stream = await ByteStream.connect(place);
  stream.write(encodeCancelRequest(session.pid, session.key));
  await stream.readToEnd();
}

export class RawClient {
  readonly stream: ByteStream;

  constructor(stream: ByteStream) {
    this.stream = stream;
  }

  /** Resolves when the server has closed the connection. */
  get closed(): Promise<void> {
    return this.stream.closed;
  }

  get isClosed(): boolean {
    return this.stream.isClosed;
  }

  /** Sends bytes and messages in one write. */
  send(...items: readonly (Buffer | FrontendMessage)[]): void {
    const encoded = items.map((item) => (Buffer.isBuffer(item) ? item : encodeFrontend(item)));
    this.stream.write(Buffer.concat(encoded));
  }

  /** The next message, whatever it is. */
  async next(what = "the next message", timeoutMs: number = waitMs): Promise<BackendMessage> {
    const header = await this.stream.peek(5, what, timeoutMs);
    const total = 1 + header.readUInt32BE(1);
    const bytes = await this.stream.read(total, what, timeoutMs);
    return decodeBackend(bytes, 0, total);
  }

  /** The next message, which must be of this kind. Messages that may come at any time are passed over. */
  async expect<Kind extends BackendKind>(kind: Kind, timeoutMs: number = waitMs): Promise<BackendOf<Kind>> {
    for (;;) {
      const message = await this.next(kind, timeoutMs);
      if (message.kind === kind) return message as BackendOf<Kind>;
      if (message.kind === "ParameterStatus" || message.kind === "NoticeResponse") continue;
      throw new Error(`expected ${kind}, got ${describe(message)}`);
    }
  }

  /** All messages up to one of this kind, which is the last of them. */
  async until(kind: BackendKind, timeoutMs: number = waitMs): Promise<BackendMessage[]> {
    const messages: BackendMessage[] = [];
    for (;;) {
      const message = await this.next(`${kind} after [${messages.map(describe).join(", ")}]`, timeoutMs);
      messages.push(message);
      if (message.kind === kind) return messages;
    }
  }

  /** All messages until the server closes. */
  async rest(timeoutMs: number = waitMs): Promise<BackendMessage[]> {
    const bytes = await this.stream.readToEnd(timeoutMs);
    const messages: BackendMessage[] = [];
    for (let start = 0; start < bytes.length; ) {
      const end = start + 1 + bytes.readUInt32BE(start + 1);
      messages.push(decodeBackend(bytes, start, end));
      start = end;
    }
    return messages;
  }

  /** Sends only the startup packet. */
  sendStartup(options: RawStartup = {}): void {
    const { user = "postgres", database, version = 196_608, parameters = [] } = options;
    const named: [string, string][] = [["user", user]];
    if (database !== undefined) named.push(["database", database]);
    this.send(encodeStartup(version, [...named, ...parameters]));
  }

  /** Logs in, and waits for ReadyForQuery. Rejects if the server refuses, with its SQLSTATE and message. */
  async startup(options: RawStartup = {}): Promise<RawSession> {
    this.sendStartup(options);
    const messages = await this.#authenticate(options);
    const parameters = new Map<string, string>();
    let pid = 0;
    let key: Buffer = Buffer.alloc(0);
    for (;;) {
      const message = await this.next("ReadyForQuery", options.patienceMs);
      messages.push(message);
      if (message.kind === "ParameterStatus") parameters.set(message.name, message.value);
      else if (message.kind === "BackendKeyData") [pid, key] = [message.pid, Buffer.from(message.key)];
      else if (message.kind === "ReadyForQuery") return { parameters, pid, key, messages };
      else if (message.kind === "ErrorResponse") throw new Error(describe(message));
    }
  }

  /** Asks for TLS and becomes its client; the server's certificate is not checked unless asked for. */
  async startTls(options: ConnectionOptions = {}): Promise<TLSSocket> {
    this.send(sslRequest);
    const answer = (await this.stream.read(1, "the answer to SSLRequest")).toString("latin1");
    if (answer !== "S") throw new Error(`the server answered ${answer} to SSLRequest`);
    return await this.stream.startTls(options);
  }

  /** Begins with TLS at once (sslnegotiation=direct). */
  async startDirectTls(options: ConnectionOptions = {}): Promise<TLSSocket> {
    return await this.stream.startTls({ ALPNProtocols: ["postgresql"], ...options });
  }

  /** Runs a simple query and returns everything up to ReadyForQuery. */
  async query(sql: string, timeoutMs: number = waitMs): Promise<BackendMessage[]> {
    this.send(encodeQuery(sql));
    return await this.until("ReadyForQuery", timeoutMs);
  }

  /** Rows of a simple query as text. Rejects if it fails. */
  async rows(sql: string): Promise<(string | null)[][]> {
    const messages = await this.query(sql);
    const failure = messages.find(({ kind }) => kind === "ErrorResponse");
    if (failure !== undefined) throw new Error(describe(failure));
    return messages.flatMap((message) =>
      message.kind === "DataRow" ? [message.values.map((value) => value?.toString() ?? null)] : [],
    );
  }

  /** Says goodbye and waits until the server has closed. */
  async close(): Promise<void> {
    if (!this.isClosed) this.send({ kind: "Terminate" });
    this.stream.end();
    await this.closed;
    this.stream.destroy();
  }

  /** Goes away without a word. */
  destroy(): void {
    this.stream.destroy();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  /** Answers what the server asks for until it says AuthenticationOk. */
  async #authenticate(options: RawStartup): Promise<BackendMessage[]> {
    const { user = "postgres", password = "" } = options;
    const messages: BackendMessage[] = [];
    for (;;) {
      const message = await this.next("AuthenticationOk", options.patienceMs);
      messages.push(message);
      switch (message.kind) {
        case "AuthenticationOk":
          return messages;
        case "AuthenticationCleartextPassword":
          this.send(encodePassword(password));
          break;
        case "AuthenticationMD5Password":
          this.send(encodePassword(md5Response(user, password, message.salt)));
          break;
        case "AuthenticationSASL":
          messages.push(...(await this.#scram(message.mechanisms, password)));
          break;
        case "NegotiateProtocolVersion":
        case "NoticeResponse":
          break;
        default:
          throw new Error(describe(message));
      }
    }
  }

  async #scram(mechanisms: readonly string[], password: string): Promise<BackendMessage[]> {
    const socket = this.stream.tlsSocket;
    const scram = new ScramClient({
      mechanisms,
      channelBinding: "prefer",
      tls: socket !== undefined,
      endPoint: socket === undefined ? undefined : tlsServerEndPoint(socket.getPeerCertificate().raw),
      credential: { password },
      nonce: randomBytes(18).toString("base64"),
    });
    const first = scram.initial();
    this.send(encodeSaslInitialResponse(first.mechanism, first.data));
    const challenge = await this.expect("AuthenticationSASLContinue");
    const action = scram.challenge(challenge.data);
    const answer =
      action.kind === "send"
        ? action.data
        : scram.derived(await saltedPassword(action.password, action.salt, action.iterations));
    this.send(encodeSaslResponse(answer));
    const final = await this.expect("AuthenticationSASLFinal");
    scram.verify(final.data);
    return [challenge, final];
  }
}

/** For the texts of failures. */
function describe(message: BackendMessage): string {
  if (message.kind !== "ErrorResponse" && message.kind !== "NoticeResponse") return message.kind;
  const { severity, code, message: text } = message.fields;
  return `${message.kind} ${severity} ${code}: ${text}`;
}
