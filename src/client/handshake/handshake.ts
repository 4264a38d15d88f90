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
 *       └────────────── goodbye, disconnect ◀───────── session-check.ts ◀────────┘ target_session_attrs
 *
 * Which failure leads where is libpq's (fe-connect.c, PostgreSQL 18): an address that cannot be reached or
 * runs out of time gives way to the next address; a host that says 57P03 (starting up, shutting down), or
 * whose session is not of the kind asked for, to the next host; an error before the login ends, to the next
 * kind of encryption that sslmode allows on the same address. Everything else, a wrong password above all,
 * ends the whole attempt.
 */
import { assert, unreachable } from "../../base/assert.ts";
import { Failure } from "../../base/errors.ts";
import { encodeTerminate } from "../../wire/encode-frontend.ts";
import type { ErrorFields } from "../../wire/fields.ts";
import { encodeCancelRequest, encodeStartup, sslRequest } from "../../wire/startup.ts";
import {
  type ConnectOptions,
  checkConnectOptions,
  namesApplication,
  startupParameters,
} from "../conninfo/options.ts";
import type { ConnectErrorCode } from "../errors.ts";
import { AttemptLog, isLocal, sqlstateOf } from "./attempt-log.ts";
import { answeredDemand, type CancelRequest, type Demand, type HandshakeEvent } from "./demands.ts";
import { protocolFault, readTlsAnswer, unencryptedData } from "./encryption.ts";
import { type Conversation, Login, type Step } from "./login.ts";
import { SessionCheck } from "./session-check.ts";
import type { ConnectionStatus } from "./status.ts";
import { Targets } from "./targets.ts";

/** Where failures lead. `same`: to the same place, with another startup packet. */
type Next = "same" | "encryption" | "address" | "host" | "nothing";

/** What a handshake needs from outside. */
export interface HandshakeEnvironment {
  readonly random: (bytes: number) => Buffer;
  /** Given: not a session is wanted, but a cancel request delivered. */
  readonly cancel?: CancelRequest | undefined;
  /** The `hostOrder` of an earlier handshake with the same hosts: a reset does not shuffle them again. */
  readonly hostOrder?: readonly number[] | undefined;
}

/** Bytes that may come while PBKDF2 runs; a server that waits for a proof has nothing to say. */
const heldBytesMax = 64 * 1024;
/** cannot_connect_now: the server is starting up, shutting down or recovering (errcodes.txt). */
const cannotConnectNow = "57P03";
/** undefined_object: before 9.0, application_name (fe-connect.c ERRCODE_APPNAME_UNKNOWN). */
const applicationNameUnknown = "42704";
const invalidPassword = "28P01";
const nothing = Buffer.alloc(0);

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
  /** Nothing is left to try once the last socket is closed. */
  #exhausted = false;
  /** The server is being told goodbye, since its session is not the right one. */
  #leaving = false;
  /** The server at this address has not refused application_name yet. */
  #namesApplication = true;
  /** What came while a demand other than `read` was open. */
  #held: Buffer = nothing;
  // Of the current connection:
  #encrypted = false;
  #endPoint: Buffer | undefined;
  #certificateRequested = false;
  #login: Login | undefined;
  #check: SessionCheck | undefined;
  /** Whichever of the two hears what the server says. */
  #conversation: Conversation | undefined;

  /** Throws OperationError `client.bad_option` (22023) for options that cannot be. */
  constructor(options: ConnectOptions, environment: HandshakeEnvironment) {
    checkConnectOptions(options);
    const { random, cancel, hostOrder: order } = environment;
    this.#options = options;
    this.#random = random;
    this.#cancel = cancel;
    this.#status = cancel === undefined ? "NEEDED" : "ALLOCATED";
    this.#targets = new Targets(options, { cancel, order, random });
    this.#log = new AttemptLog(this.#targets);
    this.#demand = { kind: "disconnect" };
  }

  /** Indexes into the list of hosts, in the order in which they are tried. */
  get hostOrder(): readonly number[] {
    return this.#targets.order;
  }

  /** Whether the server that was reached last has asked for a password (PQconnectionUsedPassword). */
  get passwordNeeded(): boolean {
    return this.#login?.passwordNeeded === true;
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
        // The time of an address that is being left counts no more.
        if (this.#leaving || this.#demand.kind === "disconnect") return;
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
    else if (this.#cancel !== undefined) {
      this.#fail("nothing", "client.protocol_violation", "unexpected response from server");
    } else this.#converse(bytes);
  }

  #answer(event: Exclude<HandshakeEvent, { kind: "ended" | "timedOut" | "aborted" }>): void {
    assert(answeredDemand[event.kind] === this.#demand.kind, `${event.kind} answers ${this.#demand.kind}`);
    switch (event.kind) {
      case "resolved":
        this.#targets.resolved(event.addresses);
        return this.#need();
      case "resolveFailed":
        return this.#unresolved(event.error);
      case "connected":
        this.#status = "MADE";
        return this.#made();
      case "connectFailed":
        this.#open = false;
        return this.#fail("address", "client.connect_failed", event.error.message, event.error);
      case "written":
        return this.#written();
      case "tlsStarted":
        return this.#tlsStarted(event);
      case "tlsFailed":
        return this.#tlsFailed(event.error.message, event.error);
      case "derived":
        assert(this.#login !== undefined, "a salted password belongs to a login");
        this.#demand = { kind: "write", data: this.#login.derived(event.saltedPassword) };
        return;
      case "disconnected":
        return this.#exhausted ? this.#giveUp() : this.#need();
      default:
        return unreachable(event, "event");
    }
  }

  #unresolved(error: Error): void {
    const text = `could not translate host name "${this.#targets.host.host}" to address: ${error.message}`;
    this.#fail("host", "client.connect_failed", text, error);
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
    if (this.#targets.fresh) this.#namesApplication = true;
    this.#encrypted = false;
    this.#endPoint = undefined;
    this.#certificateRequested = false;
    this.#login = undefined;
    this.#check = undefined;
    this.#conversation = undefined;
    this.#held = nothing;
    this.#status = "STARTED";
    this.#open = true;
    this.#demand = { kind: "connect", endpoint: this.#targets.endpoint, fresh: this.#targets.fresh };
    this.#targets.begun();
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
    const cancel = this.#cancel;
    const data = cancel === undefined ? this.#startup() : encodeCancelRequest(cancel.pid, cancel.key);
    this.#demand = { kind: "write", data };
  }

  #startup(): Buffer {
    const channel = {
      tls: this.#encrypted,
      endPoint: this.#endPoint,
      local: isLocal(this.#targets.endpoint),
      host: this.#targets.host,
      certificateRequested: this.#certificateRequested,
    };
    this.#login = new Login(this.#options, channel, this.#random);
    this.#conversation = this.#login;
    const parameters = startupParameters(this.#options, this.#namesApplication);
    return encodeStartup(this.#options.maxProtocolVersion, parameters);
  }

  #written(): void {
    if (this.#leaving) return this.#goOn("host");
    if (this.#status === "MADE") {
      const asksForTls = this.#targets.encryption === "tls" && !this.#encrypted;
      this.#status = asksForTls ? "SSL_STARTUP" : "AWAITING_RESPONSE";
    } else if (this.#status === "CHECK_TARGET") {
      assert(this.#check !== undefined, "a session is asked by its check");
      this.#status = this.#check.probeStatus;
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
    if (this.#demand.kind === "startTls") {
      return this.#fail("nothing", unencryptedData.code, unencryptedData.text);
    }
    if (this.#held.length + bytes.length > heldBytesMax) {
      return this.#fail("nothing", "client.protocol_violation", "server sent more than a login needs");
    }
    this.#held = Buffer.concat([this.#held, bytes]);
  }

  #receiveTlsAnswer(bytes: Buffer): void {
    const answer = readTlsAnswer(bytes);
    if (answer.kind === "yes") {
      this.#demand = { kind: "startTls", host: this.#targets.host.host, direct: false };
    } else if (answer.kind === "failed") {
      this.#fail(answer.recoverable ? "encryption" : "nothing", answer.code, answer.text);
    } else if (this.#targets.nextEncryption()) {
      this.#status = "MADE";
      this.#made();
    } else {
      this.#fail("nothing", "client.tls_failed", "server does not support SSL, but SSL was required");
    }
  }

  #tlsStarted(event: Extract<HandshakeEvent, { kind: "tlsStarted" }>): void {
    assert(this.#status === "SSL_STARTUP", "TLS starts in SSL_STARTUP");
    const fault = protocolFault(event.alpn, this.#options.sslnegotiation === "direct");
    if (fault !== undefined) return this.#fail("encryption", "client.tls_failed", fault);
    assert(this.#held.length === 0, "nothing was read in the clear once TLS had begun");
    this.#encrypted = true;
    this.#endPoint = event.endPoint;
    this.#certificateRequested = event.certificateRequested === true;
    this.#status = "MADE";
    this.#made();
  }

  #tlsFailed(text: string, error: Error | undefined): void {
    this.#fail("encryption", "client.tls_failed", `SSL error: ${text}`, error);
  }

  #converse(bytes: Buffer): void {
    const conversation = this.#conversation;
    assert(conversation !== undefined, "a server is heard once it has the startup packet");
    try {
      conversation.feed(bytes);
      // While the demand stays `read`, every step is taken as it comes.
      while (this.#demand.kind === "read") {
        const step = conversation.next();
        if (step === undefined) return;
        this.#take(step);
      }
      // A demand of another kind came up in the middle: the rest waits for its answer.
      if (!this.finished && this.#open) this.#held = Buffer.from(conversation.takeRest());
    } catch (error) {
      this.#peerFailed(error);
    }
  }

  #take(step: Step): void {
    switch (step.kind) {
      case "send":
        this.#demand = { kind: "write", data: step.data };
        return;
      case "derive":
        this.#demand = step;
        return;
      case "accepted":
        this.#status = "AUTH_OK";
        return;
      case "refused":
        return this.#refused(step.fields);
      case "refusedInText":
        return this.#fail("encryption", "client.server_refused", step.text);
      case "ready":
        return this.#judge();
      case "answered":
        this.#status = "CONSUME";
        return;
      case "unanswered":
        return this.#leave(step.text, step.fields);
      default:
        return unreachable(step, "step");
    }
  }

  /** Status CHECK_TARGET: logged in. Is it the session that was asked for? */
  #judge(): void {
    const { sessionAttrs } = this.#targets;
    if (sessionAttrs === "any") return this.#finish();
    assert(this.#login !== undefined, "a session has logged in");
    this.#status = "CHECK_TARGET";
    this.#check ??= new SessionCheck(sessionAttrs, this.#login);
    const verdict = this.#check.judge();
    switch (verdict.kind) {
      case "met":
        return this.#finish();
      case "unmet":
        return this.#leave(verdict.text);
      case "probe":
        this.#conversation = this.#check;
        this.#demand = { kind: "write", data: verdict.data };
        return;
      default:
        return unreachable(verdict, "verdict");
    }
  }

  /** Leaves a session that is not the right one, politely; then the next host's turn has come. */
  #leave(text: string, serverError?: ErrorFields): void {
    const code = serverError === undefined ? "client.session_unsuitable" : "client.server_refused";
    const sqlstate = serverError?.code ?? "08001";
    this.#log.add({ phase: this.#status, tls: this.#encrypted, code, sqlstate }, text, { serverError });
    this.#leaving = true;
    this.#demand = { kind: "write", data: encodeTerminate() };
  }

  #finish(): void {
    const login = this.#login;
    const rest = this.#conversation?.takeRest();
    assert(login !== undefined && rest !== undefined, "a session has logged in");
    this.#status = "OK";
    this.#demand = {
      kind: "done",
      result: {
        endpoint: this.#targets.endpoint,
        tls: this.#encrypted,
        protocolVersion: login.protocolVersion,
        backendPid: login.backendPid,
        cancelKey: login.cancelKey,
        parameters: login.parameters,
        notices: login.notices,
        scramKeys: login.scramKeys,
        rest: Buffer.from(rest),
      },
    };
  }

  #refused(fields: ErrorFields): void {
    const file = fields.code === invalidPassword ? this.#login?.passwordFile : undefined;
    const hint = file === undefined ? "" : `\npassword retrieved from file "${file}"`;
    this.#log.add(
      { phase: this.#status, tls: this.#encrypted, code: "client.server_refused", sqlstate: fields.code },
      `${fields.severity}:  ${fields.message}${hint}`,
      { serverError: fields },
    );
    this.#goOn(this.#afterRefusal(fields.code));
  }

  #afterRefusal(sqlstate: string): Next {
    if (this.#status !== "AUTH_OK") return sqlstate === cannotConnectNow ? "host" : "encryption";
    const named = this.#namesApplication && namesApplication(this.#options);
    if (sqlstate !== applicationNameUnknown || !named) return "nothing";
    this.#namesApplication = false;
    return "same";
  }

  #ended(error: Error | undefined): void {
    if (this.#demand.kind === "disconnect") return;
    this.#open = false;
    if (this.#leaving) return this.#goOn("host");
    if (this.#demand.kind === "startTls") {
      const text = error?.message ?? "server closed the connection during the TLS handshake";
      return this.#tlsFailed(text, error);
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
    this.#leaving = false;
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
    const sqlstate = sqlstateOf(code, cause);
    this.#log.add({ phase: this.#status, tls: this.#encrypted, code, sqlstate }, text, { cause });
    this.#goOn(next);
  }

  #goOn(next: Next, reason?: unknown): void {
    const another =
      next === "same" ||
      (next === "encryption" && this.#targets.nextEncryption()) ||
      (next === "address" && this.#targets.nextAddress()) ||
      (next === "host" && this.#targets.nextHost());
    const closes = this.#open && (another || this.#leaving);
    this.#leaving = false;
    this.#exhausted = !another;
    if (closes) {
      this.#open = false;
      this.#demand = { kind: "disconnect" };
    } else if (another) {
      this.#need();
    } else {
      this.#giveUp(reason);
    }
  }

  #giveUp(reason?: unknown): void {
    this.#status = "BAD";
    this.#demand = { kind: "failed", error: this.#log.error(reason) };
  }
}
