/**
 * The servers of one (node, database, user, startup options), and the clients that wait for one.
 *
 * A server that is given back goes straight to the client that has waited longest, in the same turn; else to the
 * idle ones. Only a server that owes nothing, is outside a transaction and is not the target of a cancel request
 * that is still under way is ever handed on. Which states there are, and the one door between them: server-set.ts.
 */
import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import type { BudgetMember, ServerBudget } from "./budget.ts";
import { CancelRequests } from "./cancel-requests.ts";
import { PoolDefaults } from "./defaults.ts";
import { poolerShutdown, serverShuttingDown, uncleanLogin } from "./failures.ts";
import { ListeningServers } from "./listening.ts";
import { LooseHolders } from "./loose-holders.ts";
import { Offers } from "./offers.ts";
import { type Newcomer, type Opened, Opening, serverOn } from "./opening.ts";
import { OwnQueries } from "./own-queries.ts";
import { VectorCache, Welcomes } from "./parameters.ts";
import { Places } from "./places.ts";
import { PoolLog } from "./pool-log.ts";
import { StatementRegistry } from "./prepared.ts";
import { pauseMode, Retirement, reasonToClose } from "./retirement.ts";
import type { Server } from "./server.ts";
import { ServerSet } from "./server-set.ts";
import type { PoolOptions, PoolSettings } from "./settings.ts";
import { Statistics } from "./statistics.ts";
import { type Waiter, WaitQueue, type WaitView } from "./waiters.ts";

export class Pool implements BudgetMember {
  readonly name: string;
  readonly group: ServerBudget;
  readonly cancels: CancelRequests;
  readonly statistics: Statistics;
  readonly statements: StatementRegistry;
  /** Beside the servers. */
  readonly listening: ListeningServers;
  readonly welcomes: Welcomes = new Welcomes();
  readonly vectors: VectorCache = new VectorCache();
  readonly defaults: PoolDefaults;
  readonly looseHolders: LooseHolders = new LooseHolders(this);
  /** What the newest server reported when it was new: the welcome of clients that need no server. */
  welcome: ReadonlyMap<string, string> | undefined;
  /** Clients that use this pool; and those that log in and will. */
  clients = 0;
  logins = 0;
  /** Units that share servers and are not sent (multiplexer.ts). */
  unsent: { sendAway(failure: Failure): void } | undefined;
  /** A change of them takes effect for servers that are handed out or opened from then on. */
  settings: PoolSettings;

  readonly #places: Places;
  readonly #clock: Clock;
  readonly #log: PoolLog;
  readonly #servers: ServerSet;
  readonly #ownQueries: OwnQueries;
  readonly #waiting = new WaitQueue();
  readonly #opening: Opening;
  readonly #offers: Offers = new Offers((server) => this.#handOn(server));
  #closed = false;
  #paused = false;
  /** There is no primary. */
  #held = false;
  #draining = false;
  readonly #retirement: Retirement;
  readonly #options: PoolOptions;

  constructor(options: PoolOptions) {
    this.name = options.name;
    this.settings = options.settings;
    this.statistics = options.statistics ?? new Statistics();
    this.statements = new StatementRegistry(this.statistics, options.statementIds);
    this.#opening = new Opening(options.connectOptions, options.clock, options.permits?.servers);
    this.#places = new Places(options.budgets, this, options.permits?.servers);
    this.group = this.#places.group;
    this.#options = options;
    this.#servers = new ServerSet(() => this.#onGone());
    this.#ownQueries = new OwnQueries(this.#servers, options.clock);
    this.#clock = options.clock;
    this.defaults = new PoolDefaults(this, options.clock);
    this.#retirement = new Retirement(options.clock.now());
    this.#log = new PoolLog(options.logger, options.name);
    this.cancels = new CancelRequests(options.name, options.logger);
    this.listening = new ListeningServers(options, this, this.#places, this.#log);
  }

  /** Servers open or being opened. */
  get size(): number {
    return this.#servers.size + this.#opening.size;
  }

  get servers(): Iterable<Server> {
    return this.#servers;
  }

  /** Why no server can be had, while that is not tried again. */
  get recentFailure(): Failure | undefined {
    return this.#opening.recentFailure;
  }

  get queue(): WaitView {
    return this.#waiting;
  }

  /** Counts only if a place would help: enough servers are not coming already, and one may be opened now. */
  get waitingSinceMs(): number | undefined {
    if (this.#stopped() || !this.#opening.mayTry(this.#clock.now())) return undefined;
    return this.#waiting.length > this.coming ? this.#waiting.firstSinceMs : undefined;
  }

  mayReplace(other: BudgetMember): boolean {
    return this.#places.mayReplace(other, this.#clock.now());
  }

  get coming(): number {
    const { returning } = this.looseHolders;
    return this.#opening.begun + this.#servers.ownQueryCount + this.#offers.size + returning;
  }

  get idleSinceMs(): number | undefined {
    return this.#servers.idle[0]?.lastUsedAtMs;
  }

  get empty(): boolean {
    const servers = this.size + this.listening.size + this.sizeMin;
    const nobody = servers + this.#waiting.length + this.clients + this.logins === 0;
    // A failed login is remembered for as long as it must not be tried again.
    return nobody && this.cancels.size === 0 && this.#opening.mayTry(this.#clock.now());
  }

  /**
   * A server for `waiter`, now (returned) or later (`onLeased`, or `onLeaseFailed`, perhaps at once); `preferred`, if that is
   * idle, or, if the waiter is `bound` to it, will be soon.
   */
  lease(waiter: Waiter, preferred?: Server, bound = false): Server | undefined {
    if (this.#closed || this.#draining) {
      waiter.onLeaseFailed(this.#closed ? poolerShutdown() : serverShuttingDown());
      return undefined;
    }
    if (this.#stopped()) {
      this.#waiting.push(waiter, this.#clock.now(), this.settings.waitingMax, this.coming);
      return undefined;
    }
    if (bound && preferred !== undefined && preferred.state !== "idle" && !preferred.closed) {
      this.#waiting.bind(waiter, preferred, this.#clock.now());
      this.looseHolders.askAll();
      return undefined;
    }
    const server = this.#takeIdle(preferred);
    if (server !== undefined) return server;
    const failure = this.#servers.size > 0 ? undefined : this.#opening.recentFailure;
    if (failure !== undefined) {
      waiter.onLeaseFailed(failure);
      return undefined;
    }
    const coming = this.coming - this.#opening.placeless;
    if (this.#waiting.push(waiter, this.#clock.now(), this.settings.waitingMax, coming)) {
      this.openServers();
      this.looseHolders.askWhileWanted();
    }
    return undefined;
  }

  /** Somebody waits for whom no server is coming, or all are to be closed. */
  get inNeed(): boolean {
    return this.#paused || this.#waiting.length > this.coming - this.#opening.withoutLeave;
  }

  /** Servers are given to whoever asks. */
  get handsOut(): boolean {
    return !this.#closed && !this.#draining && !this.#stopped();
  }

  #stopped(): boolean {
    return this.#paused || this.#held;
  }

  /** Somebody waits for this server and no other. */
  isAwaited(server: Server): boolean {
    return this.#waiting.isAwaited(server);
  }

  /** Takes this server and no other, to be released as any. Returns whether it was idle. */
  take(server: Server): boolean {
    const idle = server.state === "idle" && server.fit && this.handsOut;
    if (idle) this.#servers.move(server, "active");
    return idle;
  }

  /** The server that {@link lease} would give now. */
  get nextIdle(): Server | undefined {
    return this.#servers.idle.at(-1);
  }

  cancelWait(waiter: Waiter): void {
    this.#waiting.remove(waiter);
  }

  /**
   * A client gives its server back. `resets`: what it left on the server has to go, because it had the server
   * for its whole session. A server that is not clean is closed, never handed on.
   */
  release(server: Server, resets: boolean, nowMs: number = this.#clock.now()): void {
    assert(server.state === "active", "only an active server is released");
    server.owner = undefined;
    server.lastUsedAtMs = nowMs;
    const { resetQuery, resetQueryAlways } = this.settings;
    const willReset = (resets || resetQueryAlways) && server.used && resetQuery !== "";
    const reason = this.#reasonToClose(server, willReset, nowMs);
    if (reason !== undefined) return this.discard(server, reason);
    if (server.cancelsInFlight > 0) {
      server.resetsAfterCancel = willReset;
      this.#servers.move(server, "being_canceled");
      return;
    }
    if (!willReset && server.partingQuery === undefined) this.#offers.add(server);
    else this.#ownQueries.reset(server, this.settings, willReset, this.#afterOwnQuery);
  }

  /** Closes a server that must not be used again. */
  discard(server: Server, reason: string): void {
    if (server.closed) return;
    this.#close(server, reason);
    this.#onPlaceFree();
  }

  #close(server: Server, reason: string): void {
    this.#log.closing(server, reason);
    server.owner = undefined;
    this.#servers.move(server, "closed");
    server.terminate();
  }

  closeOldestIdle(reason: string): void {
    const [server] = this.#servers.idle;
    assert(server !== undefined, "asked only where a server is idle");
    // Its place is taken by the pool that asks.
    this.#close(server, reason);
  }

  /** The pool is forgotten: nothing is open and nobody uses it. */
  dispose(): void {
    assert(this.empty, "only an empty pool is forgotten");
    this.#closed = true;
    this.#places.leave();
  }

  /**
   * Asks the node to cancel what `server` runs for its client. Resolves when the node has closed the cancel
   * connection; until then the server is given to nobody else, so that the cancel cannot hit a stranger.
   */
  async cancel(server: Server): Promise<void> {
    await this.cancels.send(server, this.settings.cancelWaitTimeoutMs);
    this.signalled(server);
  }

  /** A cancel, or another signal, has come to its server or never will. */
  signalled(server: Server): void {
    if (server.state !== "being_canceled" || server.cancelsInFlight > 0) return;
    this.#servers.move(server, "active");
    this.release(server, server.resetsAfterCancel);
  }

  /** Closes idle servers now, and the others when they are given back; the next one is opened without a wait. */
  retireServers(reason: string, except?: Server): void {
    this.#opening.restart();
    this.listening.retire(reason);
    for (const server of [...this.#servers]) {
      const unused = server.state === "idle" || (server.state === "checking" && server !== except);
      if (unused) this.discard(server, reason);
      else if (server !== except) server.closeReason ??= reason;
    }
  }

  /** Hands out and opens no server until {@link resume}: idle ones are closed now, others when they are given back. */
  pause(): void {
    this.#paused = true;
    this.#opening.restart();
    this.closeIdle(pauseMode);
    this.looseHolders.askAll();
  }

  resume(): void {
    if (!this.#paused || this.#draining) return;
    this.#paused = false;
    this.openServers();
  }

  /**
   * Whether there is a primary to open servers on. If not, all is as in {@link pause}, but who waits does so for
   * `failover_timeout`. `lost`: the servers that are left must not be written to any more.
   */
  follow(primary: boolean, lost: Failure | undefined): void {
    this.#held = !primary;
    this.#opening.restart();
    if (lost !== undefined) {
      this.#servers.destroyAll(lost);
      this.listening.kill(lost);
    }
    if (primary) this.#waiting.restart(this.#clock.now());
    else this.closeIdle("no primary");
    this.openServers();
  }

  /** Its node is not to be read from: who waits goes elsewhere; if `cuts`, so does who has a server. */
  sendAway(failure: Failure, cuts: boolean): void {
    this.unsent?.sendAway(failure);
    this.#waiting.failAll(failure);
    if (cuts) this.follow(true, failure);
  }

  /** The pooler shuts down as soon as its servers are free: whoever needs another one is sent away. */
  drain(): void {
    this.pause();
    this.#draining = true;
    this.#waiting.failAll(serverShuttingDown());
  }

  /** Sends away who waits, and closes every server, whatever it does. */
  kill(failure: Failure): void {
    this.#opening.restart();
    this.#waiting.failAll(failure);
    for (const server of [...this.#servers]) this.discard(server, failure.message);
    this.listening.kill(failure);
  }

  closeIdle(reason: string = "closing idle connections"): void {
    for (const server of [...this.#servers.idle]) this.discard(server, reason);
  }

  /** Refuses everybody from now on and closes every server. */
  close(): void {
    this.#closed = true;
    this.#opening.abort();
    this.#waiting.failAll(poolerShutdown());
    for (const server of [...this.#servers]) this.discard(server, "pooler is shutting down");
    this.listening.close(poolerShutdown());
  }

  /** Everything that time asks for, a few times a second. */
  tick(): void {
    const nowMs = this.#clock.now();
    this.#waiting.tick(nowMs, this.settings, this.#held || this.#opening.failing);
    this.#waiting.unbind(nowMs, (waiter) => this.lease(waiter));
    this.#retirement.tick(nowMs, this, this.#servers, this.#places.exceeded);
    for (const server of this.#servers.late(nowMs)) this.discard(server, "server_reset_timeout");
    this.openServers(true);
    this.looseHolders.askAll();
  }

  /** How many servers are kept, needed or not. */
  get sizeMin(): number {
    return this.clients > 0 || this.settings.minWithoutClients ? this.settings.sizeMin : 0;
  }

  #reasonToClose(server: Server, willReset: boolean, nowMs: number): string | undefined {
    const reason = reasonToClose(server, this.settings, this.#places.exceeded, willReset, nowMs);
    return reason ?? (this.#stopped() ? pauseMode : undefined);
  }

  /** Gives a clean server to whoever waits longest, or puts it on the idle stack. */
  #handOn(server: Server): void {
    const ownSinceMs = this.#waiting.firstSinceMs ?? Number.POSITIVE_INFINITY;
    const limit = this.#places.starved(ownSinceMs, this.#clock.now());
    if (limit !== undefined) return this.discard(server, `evicted for ${limit}`);
    const next = this.#waiting.shift(server);
    if (next === undefined) return this.#servers.move(server, "idle");
    if (server.state !== "active") this.#servers.move(server, "active");
    try {
      next.onLeased(server);
    } catch (error) {
      // Whoever gave the server back must not suffer for a mistake in the code of whoever got it.
      this.#log.mistake(server, error);
      if (server.owner === undefined && server.state === "active") this.discard(server, "internal error");
    }
  }

  /** The idle server whose turn it is; if it has to be checked first, that is begun. */
  #takeIdle(preferred: Server | undefined): Server | undefined {
    const { idle } = this.#servers;
    const turn = this.settings.roundRobin ? 0 : -1;
    let server = preferred?.state === "idle" ? preferred : idle.at(turn);
    // What a server said while it was idle, its last words perhaps, was heard by nobody.
    for (; server !== undefined && !server.fit; server = idle.at(turn)) {
      this.discard(server, server.closeReason ?? "unclean server");
    }
    if (server === undefined) return undefined;
    const { checkQuery, checkDelayMs } = this.settings;
    if (checkQuery !== "" && this.#clock.now() - server.lastUsedAtMs >= checkDelayMs) {
      // One for each that asks: a check counts as use, and the others are to be closed when nobody needs them.
      this.#ownQueries.check(server, this.settings, this.#afterOwnQuery);
      return undefined;
    }
    this.#servers.move(server, "active");
    return server;
  }

  readonly #afterOwnQuery = (server: Server, problem: string | undefined): void => {
    const reason = problem ?? this.#reasonToClose(server, false, server.lastUsedAtMs);
    if (reason !== undefined) return this.discard(server, reason);
    server.used = false;
    this.#offers.add(server);
  };

  /**
   * Opens as many servers as there are clients that no idle or coming server will serve. The minimum is filled
   * by the clock alone: servers that are lost as soon as they are there must not be opened without a pause.
   */
  openServers(andMinimum = false): void {
    if (this.#closed || this.#stopped()) return;
    const forClients = this.#waiting.length - this.coming;
    const forMinimum = andMinimum ? this.sizeMin - this.size : 0;
    const nowMs = this.#clock.now();
    if ((forClients <= 0 && forMinimum <= 0) || !this.#opening.mayTry(nowMs)) return;
    const wanted = Math.min(Math.max(forClients, forMinimum), this.#opening.room);
    for (let i = 0; i < wanted; i++) {
      if (!this.#places.hasRoom(nowMs) && (i >= forClients || !this.#places.makeRoom(nowMs))) return;
      if (this.group.full) this.#log.takesFromReserve();
      void this.#openServer();
    }
  }

  /** Opens a server that nobody needs yet, if there is room; `newcomer` hears of the next new one. Returns how to give that up. */
  openSpare(newcomer: Newcomer): (() => void) | undefined {
    const opens = !this.#opening.hasSpare(this.#waiting.length);
    if (!this.handsOut || !this.#opening.easy || (opens && !this.#places.vacant)) return undefined;
    if (opens) void this.#openServer();
    return this.#opening.hope(newcomer);
  }

  async #openServer(): Promise<void> {
    this.#places.take();
    const opened = await this.#opening.open();
    if (opened.kind === "open") return this.#admit(opened);
    this.#onGone();
    if (opened.kind === "failed") this.#noteConnectFailure(opened.failure);
    this.#places.onPlaceFree();
    if (opened.kind === "stale") this.openServers();
  }

  #admit({ connection, options }: Extract<Opened, { kind: "open" }>): void {
    this.cancels.remember(connection, options);
    const server = serverOn(connection, this, this.#clock.now(), this.#onServerClosed);
    this.#servers.add(server);
    this.#opening.noteSuccess();
    this.#log.opened(server);
    if (this.#closed) this.discard(server, "pooler is shutting down");
    else this.#ownQueries.begin(server, this.settings, this.defaults, this.#begin);
    this.openServers();
  }

  /** A new server is ready for its first client. `error`: why its `connect_query` failed, which is no reason to close it. */
  readonly #begin = (server: Server, error?: string): void => {
    if (error !== undefined) this.#log.connectQueryFailed(server, error);
    if (server.fit) {
      server.parameters.takeIdentity();
      this.defaults.begin(server);
      this.welcome = new Map(server.parameters.entries());
      const hopeful = this.#opening.takeHopeful();
      this.#offers.add(server);
      hopeful?.();
      return;
    }
    this.#close(server, "unclean server");
    this.#noteConnectFailure(uncleanLogin(server.lastWords));
    this.#places.onPlaceFree();
  };

  #noteConnectFailure(failure: Failure): void {
    if (this.#closed) return;
    const transient = this.#opening.noteFailure(failure, this.settings);
    if (transient) this.#options.onTrouble?.();
    this.#log.loginFailed(failure);
    // While servers of ours will come free, or may still come, "too many connections" is no news to clients.
    if (!transient && this.size === 0) this.#waiting.failAll(failure);
  }

  readonly #onServerClosed = (server: Server, error: Failure): void => {
    this.#log.lost(server, error);
    this.#opening.onLost(server, error, this.settings);
    if (!server.closed) {
      this.#servers.move(server, "closed");
      this.#options.onTrouble?.();
    }
    this.#onPlaceFree();
    if (this.size === 0) this.#opening.failIfHopeless(this.#waiting);
  };

  #onGone(): void {
    this.#places.give();
    this.#options.onServerGone?.();
  }

  #onPlaceFree(): void {
    this.#places.onPlaceFree();
    this.openServers();
  }
}
