/**
 * PQconnectPoll as a machine: from a list of hosts to a session that is ready for its first query, or to a
 * cancel request that has been taken. It opens no socket, reads no clock and resolves no name: it says what
 * it needs next (a demand) and is told what came of it (an event, or bytes).
 *
 *     for (;;) switch (machine.poll().kind) …          the same demand until it is answered
 *
 *     NEEDED ─ resolve, connect ─▶ STARTED ─▶ MADE ──────────────────────────▶ AWAITING_RESPONSE
 *       ▲                                      │ ▲                               │ login
 *       │ next host, address or encryption     ▼ │ TLS, or `N`                   ▼
 *       └────────────── disconnect ◀──────── SSL_STARTUP                      AUTH_OK ─ until Z ─▶ OK
 *
 * Which failure leads where is libpq's (fe-connect.c, PostgreSQL 18): an address that cannot be reached or
 * runs out of time gives way to the next address; a host that says 57P03 (starting up, shutting down) to the
 * next host; an error before the login ends, to the next kind of encryption that sslmode allows on the same
 * address. Everything else, a wrong password above all, ends the whole attempt.
 */
import { assert, unreachable } from "../../base/assert.ts";
import { Failure } from "../../base/errors.ts";
import { Backend, protocolVersion32, reportedParametersMax } from "../../wire/constants.ts";
import { decodeBackend } from "../../wire/decode-backend.ts";
import type { ErrorFields } from "../../wire/fields.ts";
import { Frame, Framer } from "../../wire/framer.ts";
import type { BackendMessage } from "../../wire/messages.ts";
import { encodeCancelRequest, encodeStartup, sslRequest } from "../../wire/startup.ts";
import { type ConnectOptions, checkConnectOptions, startupParameters } from "../conninfo/options.ts";
import type { ConnectErrorCode } from "../errors.ts";
import { AttemptLog, isLocal } from "./attempt-log.ts";
import { Authentication, type AuthenticationMessage } from "./authentication.ts";
import type { CancelRequest, Demand, HandshakeEvent } from "./demands.ts";
import { loginRules, readyRules, tooManyParameters } from "./login-rules.ts";
import { negotiatedVersion } from "./negotiation.ts";
import type { ConnectionStatus } from "./status.ts";
import { type Encryption, Targets } from "./targets.ts";

/** Where failures lead. */
type Next = "encryption" | "address" | "host" | "nothing";

/** More notices than this before the first query are dropped. */
const noticesMax = 100;
/** Bytes that may come while PBKDF2 runs; a server that waits for a proof has nothing to say. */
const heldBytesMax = 64 * 1024;
/** cannot_connect_now: the server is starting up, shutting down or recovering (errcodes.txt). */
const cannotConnectNow = "57P03";
const nothing = Buffer.alloc(0);
const byteS = 0x53;
const byteN = 0x4e;

export class Handshake {
  readonly #options: ConnectOptions;
  readonly #random: (bytes: number) => Buffer;
  readonly #cancel: CancelRequest | undefined;
  readonly #targets: Targets;
  readonly #log: AttemptLog;
  #status: ConnectionStatus;
  #demand: Demand;
  #begun = false;
  /** A socket is open, or being opened. */
  #open = false;
  #encrypted = false;
  #endPoint: Buffer | undefined;
  #authentication: Authentication | undefined;
  #framer = new Framer(loginRules);
  /** What came while a demand other than `read` was open. */
  #held: Buffer = nothing;
  #negotiated = false;
  #protocolVersion: number;
  #backendPid = 0;
  #cancelKey: Buffer | undefined;
  #parameters = new Map<string, string>();
  #notices: ErrorFields[] = [];

  /** Throws OperationError `client.bad_option` (22023) for options that cannot be. */
  constructor(
    options: ConnectOptions,
    environment: { readonly random: (bytes: number) => Buffer; readonly cancel?: CancelRequest | undefined },
  ) {
    checkConnectOptions(options);
    this.#options = options;
    this.#random = environment.random;
    this.#cancel = environment.cancel;
    this.#status = this.#cancel === undefined ? "NEEDED" : "ALLOCATED";
    this.#targets = new Targets(options, cancelEncryption(this.#cancel));
    this.#log = new AttemptLog(this.#targets);
    this.#protocolVersion = options.maxProtocolVersion;
    this.#demand = { kind: "disconnect" };
  }

  /** How far the connection has come, by libpq's names. */
  get status(): ConnectionStatus {
    return this.#status;
  }

  /** Whether the outcome is known. */
  get finished(): boolean {
    return this.#status === "OK" || this.#status === "BAD";
  }

  /** Whether a demand to start TLS may come. */
  get mayEncrypt(): boolean {
    return this.#targets.mayEncrypt;
  }

  /** What is needed next. Asking again without an answer in between gives the same demand. */
  poll(): Demand {
    if (!this.#begun) {
      this.#begun = true;
      this.#need();
    }
    return this.#demand;
  }

  /** Answers the demand. After the end, and for what may come at any time, late events are ignored. */
  handle(event: HandshakeEvent): void {
    if (this.finished) return;
    switch (event.kind) {
      case "ended":
        return this.#ended(event.error);
      case "timedOut":
        return this.#fail("address", "client.connect_timeout", "timeout expired");
      case "aborted":
        return this.#abort(event.reason);
      default:
        return this.#answer(event);
    }
  }

  /** Bytes of the server. They may be overwritten afterwards. */
  receive(bytes: Buffer): void {
    if (this.finished || bytes.length === 0) return;
    if (this.#demand.kind !== "read") {
      // Of a socket that is being given up, nothing counts.
      if (this.#open) this.#hold(bytes);
      return;
    }
    if (this.#status === "SSL_STARTUP") this.#receiveTlsAnswer(bytes);
    else if (this.#cancel === undefined) this.#receiveMessages(bytes);
    else this.#fail("nothing", "client.protocol_violation", "unexpected response from server");
  }

  #answer(event: Exclude<HandshakeEvent, { kind: "ended" | "timedOut" | "aborted" }>): void {
    assert(answers[event.kind] === this.#demand.kind, `${event.kind} answers ${this.#demand.kind}`);
    switch (event.kind) {
      case "resolved":
        this.#targets.resolved(event.addresses);
        return this.#need();
      case "resolveFailed":
        return this.#fail(
          "host",
          "client.connect_failed",
          resolveText(this.#targets, event.error),
          event.error,
        );
      case "connected":
        this.#status = "MADE";
        return this.#made();
      case "connectFailed":
        this.#open = false;
        return this.#fail("address", "client.connect_failed", event.error.message, event.error);
      case "written":
        return this.#written();
      case "tlsStarted":
        return this.#tlsStarted(event.endPoint, event.alpn);
      case "tlsFailed":
        return this.#fail(
          "encryption",
          "client.tls_failed",
          `SSL error: ${event.error.message}`,
          event.error,
        );
      case "derived":
        return this.#derived(event.saltedPassword);
      case "disconnected":
        return this.#need();
      default:
        return unreachable(event, "event");
    }
  }

  /** Status NEEDED: the address of the current target is looked for, then connected to. */
  #need(): void {
    this.#status = "NEEDED";
    const fault = this.#targets.fault;
    if (fault !== undefined) return this.#fail("host", "client.connect_failed", fault);
    if (!this.#targets.addressKnown) {
      this.#demand = { kind: "resolve", host: this.#targets.host.host };
      return;
    }
    this.#forgetConnection();
    this.#status = "STARTED";
    this.#open = true;
    this.#demand = { kind: "connect", endpoint: this.#targets.endpoint, fresh: this.#targets.fresh };
    this.#targets.begun();
  }

  #forgetConnection(): void {
    this.#encrypted = false;
    this.#endPoint = undefined;
    this.#authentication = undefined;
    this.#framer = new Framer(loginRules);
    this.#held = nothing;
    this.#negotiated = false;
    this.#protocolVersion = this.#options.maxProtocolVersion;
    this.#backendPid = 0;
    this.#cancelKey = undefined;
    this.#parameters = new Map();
    this.#notices = [];
  }

  /** Status MADE: connected. TLS comes first, then what the connection is for. */
  #made(): void {
    const { host } = this.#targets.host;
    if (this.#targets.encryption === "tls" && !this.#encrypted) {
      if (this.#options.sslnegotiation === "direct") {
        this.#status = "SSL_STARTUP";
        this.#demand = { kind: "startTls", host, direct: true };
      } else {
        this.#demand = { kind: "write", data: sslRequest };
      }
      return;
    }
    const data =
      this.#cancel === undefined
        ? encodeStartup(this.#options.maxProtocolVersion, startupParameters(this.#options))
        : encodeCancelRequest(this.#cancel.pid, this.#cancel.key);
    this.#demand = { kind: "write", data };
  }

  #written(): void {
    if (this.#status === "MADE") {
      const asksForTls = this.#targets.encryption === "tls" && !this.#encrypted;
      this.#status = asksForTls ? "SSL_STARTUP" : "AWAITING_RESPONSE";
    }
    this.#readOn();
  }

  /** Waits for bytes, or goes on with those that came early. */
  #readOn(): void {
    this.#demand = { kind: "read" };
    if (this.#held.length === 0) return;
    const held = this.#held;
    this.#held = nothing;
    this.receive(held);
  }

  #hold(bytes: Buffer): void {
    if (this.#demand.kind === "startTls") return this.#unencrypted();
    if (this.#held.length + bytes.length > heldBytesMax) {
      return this.#fail("nothing", "client.protocol_violation", "server sent more than a login needs");
    }
    this.#held = Buffer.concat([this.#held, bytes]);
  }

  #unencrypted(): void {
    const text = "received unencrypted data after SSL response (possible man-in-the-middle attack)";
    this.#fail("nothing", "client.protocol_violation", text);
  }

  /** One byte answers SSLRequest. More of them are unencrypted and would be taken for encrypted (CVE-2021-23222). */
  #receiveTlsAnswer(bytes: Buffer): void {
    const answer = bytes.readUInt8(0);
    if ((answer === byteS || answer === byteN) && bytes.length > 1) return this.#unencrypted();
    if (answer === byteS) {
      this.#demand = { kind: "startTls", host: this.#targets.host.host, direct: false };
    } else if (answer === byteN) {
      if (this.#targets.nextEncryption()) {
        this.#status = "MADE";
        return this.#made();
      }
      this.#fail("nothing", "client.tls_failed", "server does not support SSL, but SSL was required");
    } else if (answer === Backend.errorResponse) {
      // Its text is not read: nothing says yet who sent it.
      this.#fail("encryption", "client.tls_failed", "server sent an error response during SSL exchange");
    } else {
      const text = `received invalid response to SSL negotiation: byte ${answer}`;
      this.#fail("nothing", "client.protocol_violation", text);
    }
  }

  #tlsStarted(endPoint: Buffer | undefined, alpn: string | undefined): void {
    assert(this.#status === "SSL_STARTUP", "TLS starts in SSL_STARTUP");
    if (alpn === undefined && this.#options.sslnegotiation === "direct") {
      const text = "direct SSL connection was established without ALPN protocol negotiation extension";
      return this.#fail("encryption", "client.tls_failed", text);
    }
    if (alpn !== undefined && alpn !== "postgresql") {
      const text = "SSL connection was established with unexpected ALPN protocol";
      return this.#fail("encryption", "client.tls_failed", text);
    }
    assert(this.#held.length === 0, "nothing was read in the clear once TLS had begun");
    this.#encrypted = true;
    this.#endPoint = endPoint;
    this.#status = "MADE";
    this.#made();
  }

  #receiveMessages(bytes: Buffer): void {
    try {
      this.#framer.feed(bytes);
      // While the demand stays `read`, every message is handled as it comes.
      while (this.#demand.kind === "read" && this.#framer.next() === Frame.whole) {
        const { buffer, start, end } = this.#framer;
        this.#receiveMessage(decodeBackend(buffer, start, end));
      }
      if (this.finished || this.#demand.kind === "read" || this.#demand.kind === "disconnect") return;
      // A demand of another kind came up in the middle: the rest waits for its answer.
      this.#held = Buffer.from(this.#framer.takeRest());
    } catch (error) {
      this.#peerFailed(error);
    }
  }

  #receiveMessage(message: BackendMessage): void {
    switch (message.kind) {
      case "ErrorResponse":
        return this.#refused(message.fields);
      case "NegotiateProtocolVersion":
        return this.#negotiate(message.version, message.unsupported);
      case "NoticeResponse":
        if (this.#notices.length < noticesMax) this.#notices.push(message.fields);
        return;
      case "ParameterStatus":
        this.#parameters.set(message.name, message.value);
        if (this.#parameters.size > reportedParametersMax) throw tooManyParameters();
        return;
      case "BackendKeyData":
        return this.#keepKey(message.pid, message.key);
      case "ReadyForQuery":
        return this.#ready();
      default:
        assert(message.kind.startsWith("Authentication"), "only messages of a login pass the framer");
        return this.#authenticate(message as AuthenticationMessage);
    }
  }

  #authenticate(message: AuthenticationMessage): void {
    const local = isLocal(this.#targets.endpoint);
    this.#authentication ??= new Authentication(
      this.#options,
      { tls: this.#encrypted, endPoint: this.#endPoint, local },
      this.#random,
    );
    const action = this.#authentication.receive(message);
    switch (action.kind) {
      case "send":
        this.#demand = { kind: "write", data: action.data };
        return;
      case "derive":
        this.#demand = action;
        return;
      case "wait":
        return;
      case "accepted": {
        this.#status = "AUTH_OK";
        const rest = this.#framer.takeRest();
        this.#framer = new Framer(readyRules);
        this.#framer.feed(rest);
        return;
      }
      default:
        return unreachable(action, "action");
    }
  }

  #derived(saltedPassword: Buffer): void {
    assert(this.#authentication !== undefined, "a salted password belongs to a login");
    this.#demand = { kind: "write", data: this.#authentication.derived(saltedPassword) };
  }

  #negotiate(version: number, unsupported: readonly string[]): void {
    if (this.#negotiated || this.#authentication !== undefined) {
      const text = "received duplicate protocol negotiation message";
      return this.#fail("nothing", "client.protocol_violation", text);
    }
    this.#negotiated = true;
    this.#protocolVersion = negotiatedVersion(this.#options, version, unsupported);
  }

  #keepKey(pid: number, key: Buffer): void {
    if (key.length !== 4 && this.#protocolVersion < protocolVersion32) {
      const text = `received invalid BackendKeyData message: cancel key of ${key.length} bytes in protocol 3.0`;
      return this.#fail("nothing", "client.protocol_violation", text);
    }
    this.#backendPid = pid;
    this.#cancelKey = Buffer.from(key);
  }

  #ready(): void {
    this.#status = "OK";
    this.#demand = {
      kind: "done",
      result: {
        endpoint: this.#targets.endpoint,
        tls: this.#encrypted,
        protocolVersion: this.#protocolVersion,
        backendPid: this.#backendPid,
        cancelKey: this.#cancelKey,
        parameters: this.#parameters,
        notices: this.#notices,
        scramKeys: this.#authentication?.scramKeys,
        rest: Buffer.from(this.#framer.takeRest()),
      },
    };
  }

  #refused(fields: ErrorFields): void {
    const next: Next =
      this.#status === "AUTH_OK" ? "nothing" : fields.code === cannotConnectNow ? "host" : "encryption";
    this.#log.add(
      { phase: this.#status, tls: this.#encrypted, code: "client.server_refused", sqlstate: fields.code },
      `${fields.severity}:  ${fields.message}`,
      { serverError: fields },
    );
    this.#goOn(next);
  }

  #ended(error: Error | undefined): void {
    this.#open = false;
    if (this.#demand.kind === "startTls") {
      const text = error?.message ?? "server closed the connection during the TLS handshake";
      return this.#fail("encryption", "client.tls_failed", `SSL error: ${text}`, error);
    }
    const taken = this.#cancel !== undefined && this.#status === "AWAITING_RESPONSE" && error === undefined;
    if (taken) {
      this.#status = "OK";
      this.#demand = { kind: "cancelled" };
      return;
    }
    const why = error === undefined ? "" : `: ${error.message}`;
    this.#fail("nothing", "client.connection_lost", `server closed the connection unexpectedly${why}`, error);
  }

  #abort(reason: unknown): void {
    this.#log.add(
      { phase: this.#status, tls: this.#encrypted, code: "client.connect_aborted", sqlstate: "08001" },
      "the attempt was aborted",
      { cause: reason },
    );
    this.#goOn("nothing", reason);
  }

  /** A rule of the protocol or of the login was broken; our own mistakes are passed on. */
  #peerFailed(error: unknown): void {
    if (!(error instanceof Failure)) throw error;
    const refused = error.code === "client.login_failed" || error.code.startsWith("peer.scram_server");
    const login = refused || error.code === "peer.channel_binding_required";
    this.#fail("nothing", login ? "client.login_failed" : "client.protocol_violation", error.message, error);
  }

  #fail(next: Next, code: ConnectErrorCode, text: string, cause?: unknown): void {
    const sqlstate =
      cause instanceof Failure ? cause.sqlstate : (sqlstates[code as keyof typeof sqlstates] ?? "08001");
    this.#log.add({ phase: this.#status, tls: this.#encrypted, code, sqlstate }, text, { cause });
    this.#goOn(next);
  }

  #goOn(next: Next, reason?: unknown): void {
    const another =
      (next === "encryption" && this.#targets.nextEncryption()) ||
      (next === "address" && this.#targets.nextAddress()) ||
      (next === "host" && this.#targets.nextHost());
    if (!another) {
      this.#status = "BAD";
      this.#demand = { kind: "failed", error: this.#log.error(reason) };
    } else if (this.#open) {
      this.#open = false;
      this.#demand = { kind: "disconnect" };
    } else {
      this.#need();
    }
  }
}

const sqlstates = { "client.connection_lost": "08006", "client.protocol_violation": "08P01" } as const;

/** Which demand an event answers. */
const answers: Readonly<
  Record<Exclude<HandshakeEvent["kind"], "ended" | "timedOut" | "aborted">, Demand["kind"]>
> = {
  resolved: "resolve",
  resolveFailed: "resolve",
  connected: "connect",
  connectFailed: "connect",
  written: "write",
  tlsStarted: "startTls",
  tlsFailed: "startTls",
  derived: "derive",
  disconnected: "disconnect",
};

function cancelEncryption(cancel: CancelRequest | undefined): Encryption | undefined {
  if (cancel?.tls === undefined) return undefined;
  return cancel.tls ? "tls" : "plain";
}

function resolveText(targets: Targets, error: Error): string {
  return `could not translate host name "${targets.host.host}" to address: ${error.message}`;
}
