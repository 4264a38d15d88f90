/**
 * One attempt to connect, on Node: the demands of the handshake machine become sockets, TLS, name look-ups,
 * PBKDF2 in the thread pool and timers, and what comes of them goes back as events.
 *
 * Everything that happens arrives in one inbox, in order, and one guarded loop takes it out: at once if the
 * attempt runs by itself (`run`), at the next `poll` if its owner steps it. So both ways are one code path,
 * and nothing that a callback does can interrupt a step. Stepped, an attempt stops where PQconnectPoll does:
 * what came is processed, a socket that has just become usable is written to by the next poll only, and bytes
 * that wait in the inbox are bounded: beyond the bound the socket is not read.
 *
 * What an attempt holds (transport, timers, listener of a signal) is let go exactly once, when it ends or is
 * destroyed; a stepped one keeps a failed connection's socket until it is destroyed, as libpq does.
 */
import type { TLSSocket } from "node:tls";
import { saltedPassword } from "../../auth/pbkdf2.ts";
import { assert, unreachable } from "../../base/assert.ts";
import { Transport, type TransportListener } from "../../base/transport.ts";
import { encodeTerminate } from "../../wire/encode-frontend.ts";
import { badOption, type ConnectOptions, timerMsMax } from "../conninfo/options.ts";
import { ConnectError, type ConnectErrorCode } from "../errors.ts";
import type { AttemptEnd, AttemptOptions, PollingStatus } from "./attempt-options.ts";
import type { Demand, HandshakeEvent, HandshakeResult } from "./demands.ts";
import { SocketView } from "./descriptor.ts";
import type { Handshake } from "./handshake.ts";
import { resolveBySystem } from "./resolve.ts";
import type { ConnectionStatus } from "./status.ts";
import { type ConnectedEndpoint, isUnix } from "./targets.ts";
import { describeTls, loadTlsMaterial, logTlsSecrets, type TlsMaterial, tlsOptions } from "./tls.ts";
import { sessionKey } from "./tls-sessions.ts";

const readBufferBytesDefault = 16 * 1024;
/** More than a login brings; of one that brings more, the rest waits in the kernel for the next poll. */
const inboxBytesMax = 64 * 1024;

/** Hears nothing any more: the connection was given up, or waits for its new owner. */
const deaf: TransportListener = { onData() {}, onDrain() {}, onClose() {} };

export class Attempt {
  readonly #machine: Handshake;
  readonly #options: ConnectOptions;
  readonly #open: AttemptOptions;
  readonly #inbox: (() => void)[] = [];
  #inboxBytes = 0;
  readonly #watchers = new Set<() => void>();
  #begun = false;
  #running = false;
  /** Certificates are read before the first connection. */
  #prepared = false;
  #material: TlsMaterial | undefined;
  #transport: Transport | undefined;
  /** The socket of the transport, for its descriptor; known if it is kept. */
  readonly #socket = new SocketView();
  #secured: TLSSocket | undefined;
  #endpoint: ConnectedEndpoint | undefined;
  #addressTimer: NodeJS.Timeout | undefined;
  #deadlineTimer: NodeJS.Timeout | undefined;
  #deadlineOver = false;
  #destroyed = false;
  #reported: ConnectionStatus | undefined;
  /** The demand that is being seen to; its answer counts only while the machine still asks for it. */
  #current: Demand | undefined;
  /** The demand that the last poll left to the next one. */
  #withheld: Demand | undefined;
  #end: AttemptEnd | undefined;
  readonly #onAbort = (): void => this.#arrive(() => this.#giveUp(this.#open.signal?.reason));

  constructor(machine: Handshake, options: ConnectOptions, open: AttemptOptions) {
    this.#machine = machine;
    this.#options = options;
    this.#open = open;
  }

  /** How far it has come, by libpq's names. */
  get status(): ConnectionStatus {
    if (this.#end?.kind === "failed") return "BAD";
    const { status } = this.#machine;
    return this.#begun && status === "ALLOCATED" ? "NEEDED" : status;
  }

  get end(): AttemptEnd | undefined {
    return this.#end;
  }

  /** Where it connects to now, or did last; undefined until the first address is known. */
  get endpoint(): ConnectedEndpoint | undefined {
    return this.#endpoint;
  }

  /** The transport while it is this attempt's. */
  get transport(): Transport | undefined {
    return this.#transport;
  }

  /** The TLS socket, once its handshake is done. */
  get tlsSocket(): TLSSocket | undefined {
    return this.#secured !== undefined && this.#secured === this.#transport?.tlsSocket
      ? this.#secured
      : undefined;
  }

  /** Descriptor of the socket of a kept attempt, as far as the system has one; -1 if there is none. */
  get descriptor(): number {
    return this.#transport === undefined || this.#transport.closed ? -1 : this.#socket.descriptor;
  }

  /** Goes on by itself until the end, which it resolves with; never rejects. */
  run(): Promise<AttemptEnd> {
    assert(!this.#begun && this.#open.stepped !== true, "an attempt is begun once, in one of two ways");
    const { signal, timeoutMs } = this.#open;
    if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs <= timerMsMax)) {
      const end: AttemptEnd = { kind: "failed", error: badOption(`invalid timeout: ${timeoutMs} ms`) };
      this.#finish(end);
      return Promise.resolve(end);
    }
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (timeoutMs !== undefined) {
      this.#deadlineTimer = setTimeout(() => this.#arrive(() => this.#passDeadline()), timeoutMs);
    }
    return new Promise((resolve) => {
      this.#watchers.add(() => {
        if (this.#end !== undefined) resolve(this.#end);
      });
      if (signal?.aborted === true) this.#giveUp(signal.reason);
      this.#begin();
    });
  }

  /**
   * Processes what has come since the last time, and says what is waited for now. The first call begins:
   * before it, act as if the last one had said `writing`. After the end it is always the same.
   */
  poll(): PollingStatus {
    assert(this.#open.stepped === true, "only a stepped attempt is polled");
    if (!this.#begun) this.#begin();
    else this.#step();
    return this.waitsFor;
  }

  get #kept(): boolean {
    return this.#open.stepped === true || this.#open.kept === true;
  }

  /** What the last poll has said. */
  get waitsFor(): PollingStatus {
    if (this.#end !== undefined) return this.#end.kind === "failed" ? "failed" : "ok";
    if (this.#withheld !== undefined) return "writing";
    switch (this.#current?.kind) {
      case "read":
      case "startTls":
      case "derive":
        return "reading";
      default:
        return "writing";
    }
  }

  /** Whether a poll would find something to do, or nothing is ever to be done again. */
  get ready(): boolean {
    return !this.#begun || this.#end !== undefined || this.#withheld !== undefined || this.#inbox.length > 0;
  }

  /** Calls back whenever `ready` may have become true. Returns what takes the callback off again. */
  watch(callback: () => void): () => void {
    this.#watchers.add(callback);
    return () => this.#watchers.delete(callback);
  }

  /** The transport of a session goes to the caller, who sets its listener at once; it flows from now on. */
  take(): Transport {
    const transport = this.#transport;
    assert(this.#end?.kind === "session" && transport !== undefined, "only a session can be taken, once");
    this.#transport = undefined;
    transport.resume();
    return transport;
  }

  /** Gives up and lets go of everything; once, however often it is called. A session is told goodbye. */
  destroy(): void {
    if (!this.#destroyed) {
      this.#destroyed = true;
      this.#step();
    }
    // Called in the middle of a step, this is how the step ends.
    if (!this.#running) this.#dropTransport(this.#end?.kind === "session" ? encodeTerminate() : undefined);
  }

  #begin(): void {
    this.#begun = true;
    if (this.#prepared || !this.#machine.mayEncrypt) {
      this.#prepared = true;
    } else {
      loadTlsMaterial(this.#options).then(
        (material) => this.#arrive(() => this.#prepare(material)),
        (error: unknown) => this.#arrive(() => this.#finish({ kind: "failed", error })),
      );
    }
    this.#step();
  }

  #prepare(material: TlsMaterial): void {
    this.#material = material;
    this.#prepared = true;
  }

  /** Everything that happens comes through here. */
  #arrive(act: () => void): void {
    if (this.#end !== undefined) return;
    this.#inbox.push(act);
    if (this.#open.stepped === true) this.#wake();
    else this.#step();
  }

  /** The answer to a demand, if the machine still waits for it when its turn has come. */
  #answer(demand: Demand, event: () => HandshakeEvent): void {
    this.#arrive(() => {
      if (this.#current === demand && this.#machine.poll() === demand) this.#machine.handle(event());
    });
  }

  /** The one loop. One of our own mistakes ends the attempt instead of the process. */
  #step(): void {
    if (this.#running || this.#end !== undefined) return;
    this.#running = true;
    try {
      do {
        if (this.#destroyed) this.#giveUp(undefined);
      } while (this.#advance() && (this.#destroyed || this.#takeNext()));
    } catch (error) {
      this.#finish({ kind: "failed", error });
    } finally {
      this.#running = false;
    }
    if (this.#destroyed) this.destroy();
    else if (this.#inbox.length === 0) this.#readOn();
    if (this.#end !== undefined) this.#wake();
  }

  /** Deals with the next arrival. Returns whether there was one. */
  #takeNext(): boolean {
    const act = this.#inbox.shift();
    act?.();
    return act !== undefined;
  }

  /** The inbox is empty: what was held back in the kernel may come. */
  #readOn(): void {
    this.#inboxBytes = 0;
    if (this.#end === undefined) this.#transport?.resume();
  }

  /** Sees to demands until one has to wait. Returns whether the next arrival may be taken. */
  #advance(): boolean {
    while (this.#prepared && this.#end === undefined) {
      const demand = this.#machine.poll();
      this.#report();
      if (demand === this.#current) return true;
      if (this.#open.stepped === true && wantsToWrite(demand, this.#machine) && demand !== this.#withheld) {
        this.#withheld = demand;
        return false;
      }
      this.#withheld = undefined;
      this.#current = demand;
      this.#see(demand);
    }
    return this.#end === undefined;
  }

  #report(): void {
    const { status } = this;
    if (this.#reported === status) return;
    this.#reported = status;
    this.#open.onStatus?.(status);
  }

  #see(demand: Demand): void {
    switch (demand.kind) {
      case "resolve":
        this.#armTimer();
        return this.#resolveHost(demand);
      case "connect":
        if (demand.fresh) this.#armTimer();
        return this.#connect(demand);
      case "write":
        this.#open.witness?.sent(demand.data);
        this.#transport?.write(demand.data);
        return this.#machine.handle({ kind: "written" });
      case "read":
        return;
      case "startTls":
        return this.#startTls(demand);
      case "derive":
        return this.#derive(demand);
      case "disconnect":
        this.#dropTransport();
        return this.#machine.handle({ kind: "disconnected" });
      case "done":
        return this.#handOver(demand.result);
      case "cancelled":
        this.#dropTransport();
        return this.#finish({ kind: "cancelled" });
      case "failed":
        return this.#finish({
          kind: "failed",
          error: this.#deadlineOver ? deadlineError(demand.error) : demand.error,
        });
      default:
        return unreachable(demand, "demand");
    }
  }

  #resolveHost(demand: Extract<Demand, { kind: "resolve" }>): void {
    const resolve = this.#open.resolve ?? resolveBySystem;
    this.#open.witness?.begun();
    const none = new Error("no address");
    resolve(demand.host).then(
      (addresses) =>
        this.#answer(demand, () =>
          addresses.length > 0 ? { kind: "resolved", addresses } : { kind: "resolveFailed", error: none },
        ),
      (error: unknown) => this.#answer(demand, () => ({ kind: "resolveFailed", error: asError(error) })),
    );
  }

  #connect(demand: Extract<Demand, { kind: "connect" }>): void {
    const { address, port } = demand.endpoint;
    this.#endpoint = demand.endpoint;
    this.#open.witness?.begun();
    const create = (): Transport =>
      Transport.connect({ host: address, port }, this.#open.readBufferBytes ?? readBufferBytesDefault, () => {
        const { keepAlive } = this.#options;
        if (!isUnix(address)) transport.setKeepAlive(keepAlive ?? { enabled: true, idleSeconds: 0 });
        this.#answer(demand, () => ({ kind: "connected" }));
      });
    const transport = this.#kept ? this.#socket.watch(create) : create();
    this.#transport = transport;
    transport.listener = this.#listenerOf(transport);
  }

  /** What a transport says counts only while it is the current one. */
  #listenerOf(transport: Transport): TransportListener {
    const arrive = (act: () => void): void =>
      this.#arrive(() => {
        if (this.#transport === transport) act();
      });
    return {
      onData: (chunk) => {
        // Kept beyond this call where it is not dealt with in it.
        const kept = this.#open.stepped === true ? this.#keep(transport, chunk) : chunk;
        arrive(() => {
          this.#open.witness?.received(kept);
          this.#machine.receive(kept);
        });
      },
      onDrain() {},
      onClose: (error) => arrive(() => this.#closed(error)),
    };
  }

  #keep(transport: Transport, chunk: Buffer): Buffer {
    this.#inboxBytes += chunk.length;
    if (this.#inboxBytes >= inboxBytesMax) transport.pause();
    return Buffer.from(chunk);
  }

  #closed(error: Error | undefined): void {
    this.#transport = undefined;
    if (this.#machine.poll().kind === "connect") {
      this.#machine.handle({
        kind: "connectFailed",
        error: error ?? new Error("connection closed"),
      });
    } else {
      this.#machine.handle({ kind: "ended", error });
    }
  }

  #startTls(demand: Extract<Demand, { kind: "startTls" }>): void {
    assert(this.#material !== undefined, "TLS is begun only where sslmode allows it");
    const { tlsSessions: sessions } = this.#options;
    const { host } = demand;
    const key =
      sessions === undefined
        ? undefined
        : sessionKey(this.#options, this.#material, host, this.#endpoint?.port);
    const known = key === undefined ? undefined : sessions?.find(key);
    this.#transport?.startTls(tlsOptions(this.#options, this.#material, host, known), (socket) => {
      this.#secured = socket;
      if (key !== undefined) sessions?.keep(key, socket);
      this.#answer(demand, () => ({ kind: "tlsStarted", ...describeTls(this.#options, socket) }));
    });
    // The handshake itself has secrets to log already.
    const socket = this.#transport?.tlsSocket;
    if (socket !== undefined) logTlsSecrets(this.#options, socket);
  }

  #derive(demand: Extract<Demand, { kind: "derive" }>): void {
    saltedPassword(demand.password, demand.salt, demand.iterations).then(
      (salted) => this.#answer(demand, () => ({ kind: "derived", saltedPassword: salted })),
      (error: unknown) => this.#arrive(() => this.#machine.handle({ kind: "ended", error: asError(error) })),
    );
  }

  #handOver(result: HandshakeResult): void {
    const transport = this.#transport;
    assert(transport !== undefined, "a session has a transport");
    transport.listener = deaf;
    // Its owner may take his time; what the server says meanwhile stays in the kernel.
    if (this.#kept) transport.pause();
    this.#finish({ kind: "session", result, transport });
  }

  #armTimer(): void {
    const { connectTimeoutMs } = this.#options;
    if (connectTimeoutMs === undefined || this.#open.stepped === true) return;
    clearTimeout(this.#addressTimer);
    this.#addressTimer = setTimeout(
      () => this.#arrive(() => this.#machine.handle({ kind: "timedOut" })),
      connectTimeoutMs,
    );
  }

  #passDeadline(): void {
    this.#deadlineOver = true;
    this.#giveUp(undefined);
  }

  /** Ends the machine, whether it has begun or not. */
  #giveUp(reason: unknown): void {
    if (this.#end !== undefined) return;
    this.#machine.poll();
    this.#machine.handle({ kind: "aborted", reason });
    this.#prepared = true;
  }

  #finish(end: AttemptEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#withheld = undefined;
    this.#inbox.length = 0;
    clearTimeout(this.#addressTimer);
    clearTimeout(this.#deadlineTimer);
    this.#open.signal?.removeEventListener("abort", this.#onAbort);
    if (end.kind === "session") return;
    // libpq keeps the socket of a connection that failed until PQfinish.
    if (!this.#kept) this.#dropTransport();
    else if (this.#transport !== undefined) {
      this.#transport.listener = deaf;
      this.#transport.pause();
    }
  }

  #dropTransport(goodbye?: Buffer): void {
    const transport = this.#transport;
    this.#transport = undefined;
    if (transport === undefined) return;
    transport.listener = deaf;
    if (goodbye !== undefined) {
      this.#open.witness?.sent(goodbye);
      transport.write(goodbye);
    }
    // Last words go as far as the kernel takes them now; nobody waits for more (fe-connect.c, sendTerminateConn).
    transport.sendTurn();
    transport.destroy();
  }

  #wake(): void {
    for (const callback of [...this.#watchers]) callback();
  }
}

/** Where PQconnectPoll returns PGRES_POLLING_WRITING: a socket, plain or by now TLS, has just become usable. */
function wantsToWrite(demand: Demand, machine: Handshake): boolean {
  return (
    (demand.kind === "write" && machine.status === "MADE") || (demand.kind === "startTls" && demand.direct)
  );
}

/** To the machine the end of the deadline is an abort; to the caller it is a time-out. */
function deadlineError(error: ConnectError): ConnectError {
  const last = error.attempts.at(-1);
  assert(last?.code === "client.connect_aborted", "the end of the deadline is the last thing that happened");
  const code: ConnectErrorCode = "client.connect_timeout";
  const where = last.message.lastIndexOf(" failed: ");
  const message = `${where < 0 ? "" : `${last.message.slice(0, where)} failed: `}timeout expired`;
  const attempts = [...error.attempts.slice(0, -1), { ...last, code, message }];
  const texts = attempts.map((attempt) => attempt.message).join("\n");
  return new ConnectError(code, attempts, texts);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
