/**
 * One connection from accept until it is a session: startup packets, TLS, authentication, welcome.
 *
 *     startup --(SSLRequest, GSSENCRequest)--> startup
 *             --(CancelRequest)--> carried out, then closed without a byte
 *             --(startup)--> preparing --> authenticating --> welcome --> Session
 *
 * The order is PostgreSQL's: cancel requests before everything, then encryption, then the state of the
 * system, then who the client is, and only then whether its database exists and a place is free; so nobody
 * learns anything about databases or users without having logged in. A connection that is a *dead end* (see
 * admission.ts) goes the same way up to its startup packet.
 */
import type { LoginAction, LoginMachine } from "../auth/login.ts";
import { saltedPassword } from "../auth/pbkdf2.ts";
import { Failure, PeerError } from "../base/errors.ts";
import type { Transport, TransportListener } from "../base/transport.ts";
import { ParameterVector, type Welcome } from "../pool/parameters.ts";
import type { Pool } from "../pool/pool.ts";
import type { Server } from "../pool/server.ts";
import { Frontend, headerBytes } from "../wire/constants.ts";
import { encodeAuthenticationOk } from "../wire/encode-backend.ts";
import { Frame, Framer, frontendLoginRules } from "../wire/framer.ts";
import { encodeV2Error, StartupFramer, type StartupRequest } from "../wire/startup.ts";
import { admissionFailure } from "./admission.ts";
import type { ConsoleStart, LoginContext, SessionIdentity } from "./context.ts";
import { ClientEncryption } from "./encryption.ts";
import { greeting, minorMax, negotiation, unsupportedVersion } from "./greeting.ts";
import { internalFailure, loginTimeout, noSuchDatabase } from "./login-failures.ts";
import { type Proof, proofFor } from "./proof.ts";
import { encryptionRequired, errorReply, longWaitNotice } from "./replies.ts";
import { Session } from "./session.ts";
import { readStartup, type Startup } from "./startup.ts";
import { type WelcomeListener, WelcomeRequest } from "./welcome.ts";

/** The same for every login. */
const loginRules = frontendLoginRules();

type LoginState =
  | "startup"
  | "securing"
  | "preparing"
  | "authenticating"
  | "deriving"
  | "asking"
  | "welcoming"
  | "ended";

export class Login implements TransportListener, WelcomeListener {
  readonly id: number;
  readonly #context: LoginContext;
  readonly #transport: Transport;
  readonly #peer: string;
  /** Of a TCP client, while it was surely there: a socket that is gone has none, and must not pass for a local one. */
  readonly #address: string | undefined;
  /** False: a dead end. */
  readonly #counted: boolean;
  readonly #startedAtMs: number;
  #state: LoginState = "startup";
  #startupFramer = new StartupFramer();
  #loginFramer: Framer | undefined;
  readonly #encryption: ClientEncryption;
  #startup: Startup | undefined;
  #proof: Proof | undefined;
  #welcome: WelcomeRequest | undefined;
  #pool: Pool | undefined;
  #authenticationOkSent = false;
  /** Bytes that came while nothing could be read: behind the last message of the login. */
  #rest: Buffer[] = [];

  constructor(context: LoginContext, transport: Transport, peer: string) {
    this.#context = context;
    this.#transport = transport;
    this.#peer = peer;
    this.#address = transport.remoteAddress;
    this.id = context.nextClientId();
    const client = { client: this.id, peer };
    this.#encryption = new ClientEncryption(context, transport, this.#address !== undefined, client);
    this.#startedAtMs = context.clock.now();
    this.#counted = context.admission.beginLogin(this);
    transport.listener = this;
  }

  /** Connections that were let in only to be told that there is no place. */
  get deadEnd(): boolean {
    return !this.#counted;
  }

  /** It needs nothing more of its client: only a cancel request may still be under way. */
  get ended(): boolean {
    return this.#state === "ended";
  }

  get startedAtMs(): number {
    return this.#startedAtMs;
  }

  onData(chunk: Buffer): void {
    try {
      switch (this.#state) {
        case "startup":
          this.#readStartup(chunk);
          break;
        case "authenticating":
          this.#readLogin(chunk);
          break;
        case "preparing":
        case "deriving":
        case "asking":
        case "welcoming":
          // Read from until it sends on without waiting: one that leaves meanwhile must be noticed.
          this.#keep(chunk);
          this.#transport.pause();
          break;
        case "securing":
        case "ended":
          break;
      }
    } catch (error) {
      this.#failBy(error);
    }
  }

  onDrain(): void {
    // What is sent during a login always fits.
  }

  onClose(error: Error | undefined): void {
    if (this.#state === "securing" && error !== undefined) {
      const client = { client: this.id, peer: this.#peer, reason: error.message };
      this.#context.logger.info(client, "TLS handshake failed");
    }
    this.#end();
  }

  /** The time for logging in is over: silence before the startup packet, a FATAL message after it. */
  expire(): void {
    if (this.#state === "ended") return;
    if (this.#startup === undefined) {
      this.#context.logger.info({ client: this.id, peer: this.#peer }, "client_login_timeout");
      this.#transport.destroy();
      this.#end();
      return;
    }
    this.fail(loginTimeout());
  }

  /** Tells the client why (FATAL) and closes. */
  fail(failure: Failure): void {
    if (this.#state === "ended") return;
    const { user, database } = this.#startup ?? {};
    const client = { client: this.id, peer: this.#peer, user, database };
    const ageSeconds = Math.round((this.#context.clock.now() - this.#startedAtMs) / 1000);
    const { sqlstate, message: reason } = failure;
    this.#context.logger.warn({ ...client, sqlstate, reason, ageSeconds }, "login failed");
    this.#transport.end(errorReply("FATAL", failure, this.#context.asPgbouncer()));
    this.#end();
  }

  /** Ends the login without a word. */
  destroy(): void {
    this.#transport.destroy();
    this.#end();
  }

  // ---- startup packets ----

  #readStartup(chunk: Buffer): void {
    const framer = this.#startupFramer;
    framer.feed(chunk);
    if (framer.firstByteIsTls && this.#encryption.mayBeginDirectly) {
      if (this.#encryption.beginDirectly(framer.takeRest(), this.#onSecure)) this.#awaitSecure();
      else this.destroy();
      return;
    }
    while (this.#state === "startup") {
      let request: StartupRequest | undefined;
      try {
        request = framer.next();
      } catch (error) {
        // PostgreSQL does not answer what is not even a startup packet of the right length.
        if (error instanceof PeerError && error.code === "peer.startup_length") {
          const client = { client: this.id, peer: this.#peer, reason: error.message };
          this.#context.logger.info(client, "invalid startup packet");
          this.destroy();
          return;
        }
        throw error;
      }
      if (request === undefined) return;
      this.#handleRequest(request);
    }
  }

  #handleRequest(request: StartupRequest): void {
    switch (request.kind) {
      case "ssl":
        if (this.#encryption.answerSslRequest(() => this.#startupFramer.takeRest(), this.#onSecure)) {
          this.#awaitSecure();
        }
        return;
      case "gssenc":
        this.#encryption.answerGssRequest();
        return;
      case "cancel":
        this.#handleCancel(request.pid, request.key);
        return;
      case "v2":
        this.#refuseOldProtocol("2.0");
        return;
      case "unsupported":
        if (request.major < 3) this.#refuseOldProtocol(`${request.major}.${request.minor}`);
        else throw unsupportedVersion(request.major, request.minor);
        return;
      case "startup":
        this.#handleStartup(request);
    }
  }

  #awaitSecure(): void {
    this.#state = "securing";
    this.#startupFramer = new StartupFramer();
  }

  readonly #onSecure = (good: boolean): void => {
    if (good) this.#state = "startup";
    else this.destroy();
  };

  #handleCancel(pid: number, key: Buffer): void {
    const target = this.#context.cancelTarget(pid, key);
    if (target === undefined) {
      this.#context.logger.info({ client: this.id, peer: this.#peer }, "failed cancel request");
      this.#transport.end();
      this.#end();
      return;
    }
    // It takes no place from here on, but a shutdown has to know of it until it is done.
    this.#state = "ended";
    this.#context.admission.endLogin(this);
    // The client waits for the close to know that its cancel has been passed on.
    void target.cancel().finally(() => {
      this.#transport.end();
      this.#context.onLoginEnd(this);
    });
  }

  #refuseOldProtocol(version: string): void {
    const message = `unsupported frontend protocol ${version}: server supports 3.0 to 3.${minorMax}`;
    const client = { client: this.id, peer: this.#peer, version };
    this.#context.logger.info(client, "unsupported frontend protocol");
    this.#transport.end(encodeV2Error(message));
    this.#end();
  }

  // ---- authentication ----

  #handleStartup(request: Extract<StartupRequest, { kind: "startup" }>): void {
    const address = this.#context.addsHostToName() ? this.#peer : undefined;
    const isIgnored = (name: string): boolean => this.#context.ignoresParameter(name);
    const startup = readStartup(request.minor, request.parameters, isIgnored, address);
    this.#startup = startup;
    this.#context.loginLatency.startup.note(this.#context.clock.now() - this.#startedAtMs);
    const { user, database } = startup;
    this.#context.logger.debug({ client: this.id, version: `3.${startup.minor}`, user, database }, "startup");
    const isConsole = this.#context.isConsole(database);
    const state = this.#context.admission.check(this.#counted || isConsole);
    // Whoever waits for a shutdown may look at it.
    if (state !== "ok" && !(isConsole && state === "shutting_down")) throw admissionFailure(state);
    if (this.#encryption.isMissing) throw encryptionRequired();
    const negotiated = negotiation(startup.minor, startup.unknownOptions);
    if (negotiated !== undefined) this.#transport.write(negotiated);
    // A client may send on without waiting: what lies behind the packet is the login's, or the session's.
    this.#keep(this.#startupFramer.takeRest());
    this.#loginFramer = new Framer(loginRules);
    this.#state = "preparing";
    const proof = proofFor(this.#context, startup, {
      id: this.id,
      address: this.#address,
      socket: this.#encryption.socket,
      tls: this.#encryption.tls,
    });
    if (proof instanceof Promise) {
      proof.then(
        (ready) => this.#prepared(ready),
        (error: unknown) => this.#failBy(error),
      );
    } else {
      this.#prepared(proof);
    }
  }

  /** What was looked up is there; the client may be gone by now. */
  #prepared(proof: Proof): void {
    if (this.#state !== "preparing") return;
    this.#proof = proof;
    this.#goOn((machine) => machine.start());
  }

  #readLogin(chunk: Buffer): void {
    this.#keep(chunk);
    this.#readKept();
  }

  /** Reads one message after the other, as long as they are the login's. */
  #readKept(): void {
    const framer = this.#loginFramer as Framer; // made with the state
    while (this.#state === "authenticating") {
      const chunk = this.#rest.shift();
      if (chunk === undefined) return;
      framer.feed(chunk);
      if (framer.next() === Frame.need) continue;
      if (framer.type === Frontend.terminate) {
        this.#transport.end();
        this.#end();
        return;
      }
      const body = Buffer.from(framer.buffer.subarray(framer.start + headerBytes, framer.end));
      // It may be the last message of the login: the session takes what lies behind it from here.
      const behind = framer.takeRest();
      if (behind.length > 0) this.#rest.unshift(behind);
      this.#act((this.#proof as Proof).machine.receive(body));
    }
  }

  #act(action: LoginAction): void {
    switch (action.kind) {
      case "send":
        this.#transport.write(action.data);
        return;
      case "derive":
        this.#state = "deriving";
        this.#transport.pause();
        saltedPassword(action.password, action.salt, action.iterations).then(
          (salted) => this.#derived(salted),
          (error: unknown) => this.#failBy(error),
        );
        return;
      case "ask":
        this.#state = "asking";
        this.#transport.pause();
        void (this.#proof as Proof).ask(action.password).then((proved) => this.#answered(proved));
        return;
      case "fail":
        this.#context.authentication.onFailure(this.#startup as Startup);
        throw action.error;
      case "ok":
        if (action.data !== undefined) this.#transport.write(action.data);
        this.#authenticated(action);
    }
  }

  #derived(salted: Buffer): void {
    if (this.#state === "deriving") this.#goOn((machine) => machine.derived(salted));
  }

  #answered(proved: boolean): void {
    if (this.#state === "asking") this.#goOn((machine) => machine.answered(proved));
  }

  /** What the login was waiting for is there. */
  #goOn(step: (machine: LoginMachine) => LoginAction): void {
    try {
      this.#state = "authenticating";
      this.#transport.resume();
      this.#act(step((this.#proof as Proof).machine));
      this.#readKept();
    } catch (error) {
      this.#failBy(error);
    }
  }

  #authenticated(action: Extract<LoginAction, { kind: "ok" }>): void {
    const { known } = this.#proof as Proof; // made before the login began
    this.#state = "welcoming";
    this.#context.authentication.onSuccess(this.#startup as Startup, known, action);
    let startup = this.#startup as Startup; // read before
    if (startup.user !== known.user) startup = { ...startup, user: known.user };
    this.#startup = startup;
    if (this.#context.isConsole(startup.database)) {
      this.#enterConsole(startup);
      return;
    }
    const pool = this.#poolFor(startup);
    const isAdministrator = this.#context.isAdministrator(startup.user);
    const admitted = this.#context.admission.admit(this, startup, isAdministrator);
    if (admitted === undefined) this.#beginWelcome(startup, pool);
    else
      admitted
        .then(() => this.#beginWelcome(startup, this.#poolFor(startup)))
        .catch((error: unknown) => this.#failBy(error));
  }

  /** Asked again after every wait: a pool that nobody uses is forgotten. */
  #poolFor(startup: Startup): Pool {
    const pool = this.#context.poolFor(startup);
    if (pool === undefined) throw noSuchDatabase(startup.database);
    return pool;
  }

  /** It has a place; or, if that took its time, the client may be gone. */
  #beginWelcome(startup: Startup, pool: Pool): void {
    if (this.#state !== "welcoming") return;
    this.#pool = pool;
    const { queryWaitMs } = this.#context.clientLimits(startup.user);
    const client = { id: this.id, queryWaitTimeoutMs: queryWaitMs };
    const homes = pool.settings.mode === "auto" ? this.#context.autoDatabase(pool).homes : undefined;
    this.#welcome = new WelcomeRequest(client, pool, homes, startup.tracked, this);
    this.#welcome.start();
  }

  #enterConsole(startup: Startup): void {
    const name = startup.tracked.get("application_name") ?? "";
    const { session, parameters } = this.#context.openConsole(this.#identity(startup), name, this.#transport);
    this.#become(session, startup, [parameters]);
  }

  // ---- welcome ----

  onWelcome(welcome: Welcome, home: Server | undefined): void {
    this.#welcome = undefined;
    const startup = this.#startup as Startup; // read before
    const context = this.#context;
    const session = new Session(
      context,
      this.#transport,
      this.#pool as Pool,
      this.#identity(startup),
      ParameterVector.copyOf(welcome.vector),
    );
    context.admission.handOver(this, session, session.identity);
    context.onSessionStart(session);
    this.#become(session, startup, [welcome.messages, context.loginNotice()], home?.backendPid);
  }

  #identity(startup: Startup): SessionIdentity {
    return {
      id: this.id,
      user: startup.user,
      database: startup.database,
      peer: this.#peer,
      connectedAtMs: this.#startedAtMs,
      tls: this.#encryption.description,
    };
  }

  /** The login is over: whatever has come behind it is the session's. */
  #become(session: ConsoleStart["session"], startup: Startup, told: readonly Buffer[], pid?: number): void {
    const key = this.#context.cancels.register(session, startup.minor >= minorMax, pid);
    session.cancelKey = key;
    this.#transport.write(greeting(key, told, this.#authenticationOkSent));
    const rest = this.#takeKept();
    this.#state = "ended";
    this.#context.admission.endLogin(this);
    this.#context.onLoginEnd(this);
    this.#transport.resume();
    for (const chunk of rest) session.onData(chunk);
  }

  onWelcomeFailed(failure: Failure): void {
    this.#welcome = undefined;
    this.fail(this.#context.explained(failure, true));
  }

  /** Before AuthenticationOk libpq takes no notice, so that one goes first. */
  onLongWait(): void {
    if (!this.#authenticationOkSent) this.#transport.write(encodeAuthenticationOk());
    this.#authenticationOkSent = true;
    this.#transport.write(longWaitNotice);
  }

  #keep(chunk: Buffer): void {
    if (chunk.length > 0) this.#rest.push(chunk);
  }

  #takeKept(): Buffer[] {
    const kept = this.#rest;
    this.#rest = [];
    return kept;
  }

  #failBy(error: unknown): void {
    if (error instanceof Failure) {
      this.fail(error);
      return;
    }
    this.#context.logger.error({ client: this.id, peer: this.#peer, err: error }, "internal error");
    this.fail(internalFailure());
  }

  #end(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#welcome?.abort();
    this.#welcome = undefined;
    this.#rest = [];
    this.#context.admission.endLogin(this);
    this.#context.admission.endSession(this);
    this.#context.onLoginEnd(this);
  }
}
