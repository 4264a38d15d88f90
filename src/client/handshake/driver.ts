/**
 * Runs the handshake machine on Node: its demands become sockets, TLS, name look-ups, PBKDF2 in the thread
 * pool and one timer, and what comes of them goes back as events. Pooled connections, health checks and
 * cancel requests all pass here. Whatever the outcome, exactly one thing is left: the transport that is
 * handed to the caller, or nothing.
 */
import { randomBytes } from "node:crypto";
import { saltedPassword } from "../../auth/pbkdf2.ts";
import { assert, unreachable } from "../../base/assert.ts";
import { Transport, type TransportListener } from "../../base/transport.ts";
import type { ConnectOptions } from "../conninfo/options.ts";
import { ConnectError } from "../errors.ts";
import type { CancelRequest, Demand, HandshakeEvent, HandshakeResult } from "./demands.ts";
import { Handshake } from "./handshake.ts";
import { type Resolve, resolveBySystem } from "./resolve.ts";
import type { ConnectionStatus } from "./status.ts";
import { type ConnectedEndpoint, isUnix } from "./targets.ts";
import { describeTls, loadTlsMaterial, type TlsMaterial, tlsOptions } from "./tls.ts";

/** A session that is ready for its first query. */
export interface OpenConnection extends HandshakeResult {
  /**
   * The caller sets its listener before anything else is awaited. Until then what comes is lost to nobody:
   * it is not read, because no input is handled between the end of the login and that moment.
   */
  readonly transport: Transport;
}

export interface OpenOptions {
  /** Ends the attempt; it rejects with ConnectError `client.connect_aborted` and the signal's reason as cause. */
  readonly signal?: AbortSignal | undefined;
  /** Size of the buffer that the transport reads into; 16 KiB if not given. */
  readonly readBufferBytes?: number | undefined;
  /** How host names become addresses; the system's resolver if not given. */
  readonly resolve?: Resolve | undefined;
  /** Hears of every change of status. */
  readonly onStatus?: ((status: ConnectionStatus) => void) | undefined;
}

/** The session that a cancel request is for: an OpenConnection has all of it. */
export interface CancelTarget {
  readonly endpoint: ConnectedEndpoint;
  readonly tls: boolean;
  readonly backendPid: number;
  readonly cancelKey: Buffer | undefined;
}

const readBufferBytesDefault = 16 * 1024;

/**
 * Connects and logs in. `options.connectTimeoutMs` is for each address, `signal` for the whole.
 *
 * Rejects with {@link ConnectError} (SQLSTATE of the server if it sent an error, else 08001, 08006 or 08P01),
 * or with OperationError `client.bad_option` (22023). No socket and no timer is left behind then.
 */
export async function openConnection(
  options: ConnectOptions,
  open: OpenOptions = {},
): Promise<OpenConnection> {
  const machine = new Handshake(options, { random: randomBytes });
  const outcome = await drive(machine, options, open);
  assert(outcome.kind === "session", "a login ends with a session");
  return { ...outcome.result, transport: outcome.transport };
}

/**
 * Asks the server to cancel what a session runs: on a connection of its own to the same address, encrypted
 * if the session is. Resolves when the server has closed that connection, so that the request has been taken
 * and can no longer hit a later query. Says nothing of its effect: a request that comes too late does nothing.
 *
 * Rejects with {@link ConnectError} if the request cannot be delivered within `timeoutMs` milliseconds, or if
 * the session has no cancel key (libpq's "connection has no cancel key").
 */
export async function cancelBackend(
  options: ConnectOptions,
  session: CancelTarget,
  limits: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const { host, address, port } = session.endpoint;
  if (session.cancelKey === undefined)
    throw new ConnectError("client.connect_failed", [], "the server gave no cancel key");
  const cancel: CancelRequest = { pid: session.backendPid, key: session.cancelKey, tls: session.tls };
  const single: ConnectOptions = {
    ...options,
    hosts: [{ host, port, address }],
    connectTimeoutMs: limits.timeoutMs,
  };
  const machine = new Handshake(single, { random: randomBytes, cancel });
  await drive(machine, single, { signal: limits.signal, readBufferBytes: 1024 });
}

/** How a machine ended well: the session and its transport, or nothing but a cancel request that was taken. */
type Outcome =
  | { readonly kind: "session"; readonly result: HandshakeResult; readonly transport: Transport }
  | { readonly kind: "cancelled" };

async function drive(machine: Handshake, options: ConnectOptions, open: OpenOptions): Promise<Outcome> {
  const material = machine.mayEncrypt ? await loadTlsMaterial(options) : undefined;
  return new Promise<Outcome>((resolve, reject) => {
    new Driver(machine, options, material, open, resolve, reject).start();
  });
}

/** Hears nothing any more: the connection was given up. */
const deaf: TransportListener = { onData() {}, onDrain() {}, onClose() {} };

class Driver implements TransportListener {
  readonly #machine: Handshake;
  readonly #options: ConnectOptions;
  readonly #material: TlsMaterial | undefined;
  readonly #open: OpenOptions;
  readonly #resolve: (outcome: Outcome) => void;
  readonly #reject: (error: unknown) => void;
  #transport: Transport | undefined;
  #timer: NodeJS.Timeout | undefined;
  #status: ConnectionStatus | undefined;
  /** The demand that is being seen to; its answer counts only while the machine still asks for it. */
  #current: Demand | undefined;
  #settled = false;
  readonly #onAbort = (): void => this.#event({ kind: "aborted", reason: this.#open.signal?.reason });

  constructor(
    machine: Handshake,
    options: ConnectOptions,
    material: TlsMaterial | undefined,
    open: OpenOptions,
    resolve: (outcome: Outcome) => void,
    reject: (error: unknown) => void,
  ) {
    this.#machine = machine;
    this.#options = options;
    this.#material = material;
    this.#open = open;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(): void {
    const { signal } = this.#open;
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#guarded(() => {
      this.#machine.poll();
      if (signal?.aborted === true) this.#machine.handle({ kind: "aborted", reason: signal.reason });
    });
  }

  onData(chunk: Buffer): void {
    this.#guarded(() => this.#machine.receive(chunk));
  }

  onDrain(): void {}

  onClose(error: Error | undefined): void {
    this.#transport = undefined;
    if (this.#machine.poll().kind === "connect") {
      this.#event({ kind: "connectFailed", error: error ?? new Error("connection closed") });
    } else {
      this.#event({ kind: "ended", error });
    }
  }

  #event(event: HandshakeEvent): void {
    this.#guarded(() => this.#machine.handle(event));
  }

  /** Answers a demand if it is still the one that the machine waits for. */
  #answer(demand: Demand, event: HandshakeEvent): void {
    if (this.#current === demand && this.#machine.poll() === demand) this.#event(event);
  }

  /** Every way into the machine: one of our own mistakes ends the attempt instead of the process. */
  #guarded(step: () => void): void {
    if (this.#settled) return;
    try {
      step();
      this.#advance();
    } catch (error) {
      this.#settle();
      this.#dropTransport();
      this.#reject(error);
    }
  }

  /** Sees to demands until one has to wait. */
  #advance(): void {
    while (!this.#settled) {
      const demand = this.#machine.poll();
      if (this.#status !== this.#machine.status) {
        this.#status = this.#machine.status;
        this.#open.onStatus?.(this.#status);
      }
      if (demand === this.#current) return;
      this.#current = demand;
      this.#see(demand);
    }
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
        this.#settle();
        return this.#resolve({ kind: "cancelled" });
      case "failed":
        this.#settle();
        this.#dropTransport();
        return this.#reject(demand.error);
      default:
        return unreachable(demand, "demand");
    }
  }

  #resolveHost(demand: Extract<Demand, { kind: "resolve" }>): void {
    const resolve = this.#open.resolve ?? resolveBySystem;
    resolve(demand.host).then(
      (addresses) => {
        if (addresses.length > 0) this.#answer(demand, { kind: "resolved", addresses });
        else this.#answer(demand, { kind: "resolveFailed", error: new Error("no address") });
      },
      (error: unknown) => this.#answer(demand, { kind: "resolveFailed", error: asError(error) }),
    );
  }

  #connect(demand: Extract<Demand, { kind: "connect" }>): void {
    const { address, port } = demand.endpoint;
    const bytes = this.#open.readBufferBytes ?? readBufferBytesDefault;
    const transport = Transport.connect({ host: address, port }, bytes, () => {
      const { keepAlive } = this.#options;
      if (!isUnix(address)) transport.setKeepAlive(keepAlive ?? { enabled: true, idleSeconds: 0 });
      this.#answer(demand, { kind: "connected" });
    });
    this.#transport = transport;
    transport.listener = this;
  }

  #startTls(demand: Extract<Demand, { kind: "startTls" }>): void {
    assert(this.#material !== undefined, "TLS is begun only where sslmode allows it");
    this.#transport?.startTls(tlsOptions(this.#options, this.#material, demand.host), (socket) => {
      this.#answer(demand, { kind: "tlsStarted", ...describeTls(this.#options, socket) });
    });
  }

  #derive(demand: Extract<Demand, { kind: "derive" }>): void {
    saltedPassword(demand.password, demand.salt, demand.iterations).then(
      (salted) => this.#answer(demand, { kind: "derived", saltedPassword: salted }),
      (error: unknown) => this.#event({ kind: "ended", error: asError(error) }),
    );
  }

  #handOver(result: HandshakeResult): void {
    const transport = this.#transport;
    assert(transport !== undefined, "a session has a transport");
    this.#settle();
    transport.listener = deaf;
    this.#resolve({ kind: "session", result, transport });
  }

  #armTimer(): void {
    const { connectTimeoutMs } = this.#options;
    if (connectTimeoutMs === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#event({ kind: "timedOut" }), connectTimeoutMs);
  }

  #dropTransport(): void {
    const transport = this.#transport;
    this.#transport = undefined;
    if (transport === undefined) return;
    transport.listener = deaf;
    transport.destroy();
  }

  #settle(): void {
    this.#settled = true;
    clearTimeout(this.#timer);
    this.#open.signal?.removeEventListener("abort", this.#onAbort);
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
