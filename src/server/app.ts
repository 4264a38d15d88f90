/**
 * The whole pooler, put together: constructs everything, hands it to those who need it, and owns what has to
 * be ended, in the way that shutdown.ts says. No decisions about clients or servers are made here.
 */
import type { ShutdownWait } from "../admin/context.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { currentDescriptors } from "../base/descriptors.ts";
import type { Failure } from "../base/errors.ts";
import { type Logger, silentLogger } from "../base/log.ts";
import { Roster } from "../base/roster.ts";
import type { Transport } from "../base/transport.ts";
import type { ConnectOptions } from "../client/conninfo/options.ts";
import type { ManagerWord } from "../cluster/index.ts";
import { consoleDatabase, isConsoleDatabase } from "../config/reserved.ts";
import type { Config } from "../config/schema.ts";
import { useEpoll } from "../epoll/descriptors.ts";
import { CancelRegistry, type CancelTarget } from "../pool/cancel-registry.ts";
import { nextConnectionId, shareConnectionIds } from "../pool/connection-ids.ts";
import { Peers } from "../pool/peers.ts";
import type { Pool } from "../pool/pool.ts";
import { Admission } from "../session/admission.ts";
import type { AutoDatabase } from "../session/auto/database.ts";
import type {
  ClientLimits,
  ClientTls,
  ConsoleStart,
  LoginContext,
  LoginRequest,
  SessionIdentity,
} from "../session/context.ts";
import { pqexecDisallowed } from "../session/limits.ts";
import type { Login } from "../session/login.ts";
import { LoginLatency } from "../session/login-latency.ts";
import { loginNotice } from "../session/replies.ts";
import type { Session } from "../session/session.ts";
import { Authentication, type AuthenticationOwner } from "./authentication.ts";
import { AutoDatabases, usesAuto } from "./auto-databases.ts";
import { ClientLog } from "./client-log.ts";
import { type ConsoleOwner, Consoles } from "./consoles.ts";
import { countPools, type ProcessCounts } from "./counts.ts";
import { Credentials } from "./credentials.ts";
import { Discovery, type DiscoveryOwner } from "./discovery/discovery.ts";
import { Listener } from "./listener.ts";
import { Logins } from "./logins.ts";
import { Nodes } from "./nodes.ts";
import type { PoolerOptions } from "./pooler-options.ts";
import { Pools } from "./pools.ts";
import { ReadRouting } from "./read-routing.ts";
import { admissionLimitsOf, type Files, LimitTable, peersOf, readFiles } from "./resolved.ts";
import { SessionTickets } from "./session-tickets.ts";
import { Shutdown, type ShutdownMode } from "./shutdown.ts";
import { Sockets } from "./sockets.ts";
import { statisticsFields } from "./statistics.ts";
import { warnOfUseless } from "./useless-settings.ts";
import { requireOneProcess } from "./workers/count.ts";
import type { Seat } from "./workers/seat.ts";

export type { ShutdownWait } from "../admin/context.ts";
export type { PoolerOptions } from "./pooler-options.ts";
export type { ShutdownMode } from "./shutdown.ts";

/** All time limits are checked this often: they are right to a tick. */
const tickIntervalMs = 250;

/** Parts that its surroundings reach. */
export interface PoolerParts {
  readonly cancels: CancelRegistry;
  readonly consoles: Consoles;
  readonly listener: Listener;
  readonly autoDatabases: AutoDatabases;
  /** Reads everything that a configuration names; what is returned puts it in force. */
  prepare(config: Config): Promise<() => void>;
}

export class Pooler {
  readonly #core: PoolerCore;

  private constructor(core: PoolerCore) {
    this.#core = core;
  }

  /** Starts to listen. Throws OperationError `server.workers` for several workers, F0000 for what the configuration names and cannot be read, or the system's error for an address. */
  static async start(config: Config, options: PoolerOptions = {}): Promise<Pooler> {
    if (options.seat === undefined) requireOneProcess(config.pgsluice);
    const files = await readFiles(config);
    options.beforeListening?.();
    useEpoll(config.pgsluice.epoll);
    const core = new PoolerCore(config, files, options);
    await core.open();
    return new Pooler(core);
  }

  /** Where clients connect to. */
  get address(): { readonly host: string; readonly port: number } {
    return this.#core.address;
  }

  /** Numbers for tests and people. */
  get counts(): ProcessCounts {
    return this.#core.counts;
  }

  /**
   * Takes over a new configuration, all of it or, if something cannot be read, nothing of it. Several take
   * effect in the order of the calls.
   */
  reload(config: Config): Promise<void> {
    return this.#core.reload(config);
  }

  /** For the worker that this is. */
  get inside(): PoolerParts {
    return this.#core;
  }

  /** PAUSE of the console: no server is given out until {@link resumeServers}. Returns at once. */
  pauseServers(): void {
    this.#core.pools.pause(undefined);
  }

  resumeServers(): void {
    if (!this.#core.shuttingDown) this.#core.pools.resume(undefined);
  }

  /** Resolves when a shutdown is done, whoever asked for it. */
  get ended(): Promise<void> {
    return this.#core.ended;
  }

  /** Why it has ended by itself: it does not. */
  readonly failure: undefined;
  /** Closes server connections that nobody uses. */
  closeIdleServers(): void {
    this.#core.closeIdleServers();
  }

  /** Refuses new sessions with 57P03 until `resume`; those that are there go on. */
  enterRecovery(): void {
    if (this.#core.admission.state === "running") this.#core.admission.state = "recovering";
  }

  resume(): void {
    if (this.#core.admission.state === "recovering") this.#core.admission.state = "running";
  }

  /** Resolves when everything is closed. A more urgent mode may follow a less urgent one. */
  shutdown(mode: ShutdownMode): Promise<void> {
    return this.#core.shutdown(mode);
  }

  /** SHUTDOWN of the console, in PgBouncer's three ways. Returns at once; see {@link ended}. */
  beginShutdown(wait: ShutdownWait): void {
    this.#core.beginShutdown(wait);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown("immediate");
  }
}

class PoolerCore implements PoolerParts, LoginContext, ConsoleOwner, AuthenticationOwner, DiscoveryOwner {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly cancels: CancelRegistry;
  readonly peers: Peers;
  readonly admission: Admission;
  readonly authentication: Authentication;
  readonly seat: Seat | undefined;
  readonly clientLog: ClientLog;

  #config: Config;
  #tls: ClientTls | undefined;
  readonly #tickets: SessionTickets;
  #limits: LimitTable;
  #tickMs: number;
  readonly #credentials = new Credentials();
  readonly pools: Pools;
  readonly nodes: Nodes;
  readonly discovery: Discovery;
  readonly #reads: ReadRouting;
  readonly autoDatabases: AutoDatabases;
  readonly loginLatency = new LoginLatency();
  readonly sessions = new Roster<Session>();
  readonly consoles: Consoles;
  readonly #onReload: (() => Promise<void>) | undefined;
  readonly #onConfigured: ((config: Config) => void) | undefined;
  #reloading: Promise<void> = Promise.resolve();
  readonly listener: Listener;
  readonly #logins = new Logins();
  readonly #ticker: NodeJS.Timeout;
  readonly #shutdown: Shutdown;

  constructor(config: Config, files: Files, options: PoolerOptions) {
    this.logger = options.logger ?? silentLogger;
    this.clock = options.clock ?? systemClock;
    const { seat } = options;
    this.seat = seat;
    if (seat !== undefined) shareConnectionIds(seat.slot, seat.count);
    this.cancels = new CancelRegistry(seat);
    this.discovery = new Discovery(this, config, options.lookUp);
    this.#config = this.discovery.config;
    this.clientLog = new ClientLog(this.logger, () => this.#config.pgsluice);
    this.#tls = files.tls;
    this.#limits = new LimitTable(config);
    this.#tickMs = this.clock.now();
    this.#credentials.replace(files.secrets);
    this.admission = new Admission(admissionLimitsOf(config), seat?.sessions);
    this.pools = new Pools(this.#config, this.#credentials, this.clock, this.logger, seat);
    this.nodes = new Nodes(this, this.#credentials, options.onNodeEvent);
    this.peers = new Peers(this.logger);
    this.#configurePeers();
    this.authentication = new Authentication(this, this.#credentials, files, seat?.mockKey);
    this.#tickets = new SessionTickets(this.authentication.mockKey, this.clock);
    this.autoDatabases = new AutoDatabases(this.clock, this.logger, this.pools, () => this.#config, seat);
    this.#reads = new ReadRouting(this, options.routeRead);
    this.consoles = new Consoles(this);
    if (seat !== undefined) this.consoles.assume(seat.state);
    this.#onReload = options.onReload;
    this.#onConfigured = options.onConfigured;
    this.listener = new Listener(
      () => this.#config.pgsluice,
      this.logger,
      (accepted) => {
        const { id } = this.#logins.begin(this, accepted);
        this.clientLog.connected(id, accepted.peer);
      },
      () => this.#logins.makeRoom(),
      seat?.doors ?? new Sockets(() => this.#config.pgsluice, options.sockets, currentDescriptors()),
    );
    this.#ticker = setInterval(() => this.#tick(), tickIntervalMs);
    this.#shutdown = new Shutdown({
      admission: this.admission,
      listener: this.listener,
      logins: this.#logins.all,
      sessions: this.sessions,
      pools: this.pools,
      peers: this.peers,
      consoles: this.consoles,
      authentication: this.authentication,
      hasPeers: () => this.#config.pgsluice.peer_id !== 0,
      logger: this.logger,
      onBegun: options.onShutdown ?? (() => undefined),
      onClosed: () => {
        clearInterval(this.#ticker);
        this.discovery.close();
        return this.nodes.close();
      },
    });
  }

  get ended(): Promise<void> {
    return this.#shutdown.ended;
  }

  get address(): { readonly host: string; readonly port: number } {
    return this.listener.address;
  }

  get counts(): ProcessCounts {
    return { sessions: this.sessions.size, logins: this.#logins.all.size, ...countPools(this.pools) };
  }

  async open(): Promise<void> {
    try {
      await this.nodes.load();
      if (usesAuto(this.#config)) await this.autoDatabases.load();
      await this.listener.open();
    } catch (error) {
      clearInterval(this.#ticker);
      throw error;
    }
    this.nodes.configure();
    this.discovery.open();
    this.admission.state = "running";
    const { addresses, address } = this.listener;
    if (this.seat === undefined) this.logger.info({ addresses, address }, "listening");
    this.#warnOfUseless();
  }

  get config(): Config {
    return this.#config;
  }

  get loginCount(): number {
    return this.#logins.all.size;
  }

  get userNames(): readonly string[] {
    return this.#credentials.users;
  }

  get shuttingDown(): boolean {
    return this.#shutdown.begun;
  }

  /** One after the other. Rejects, and changes nothing, if something cannot be read. */
  reload(config: Config): Promise<void> {
    const reloaded = this.#reloading.then(async () => (await this.prepare(config))());
    this.#reloading = reloaded.catch(() => undefined);
    return reloaded;
  }

  async prepare(config: Config): Promise<() => void> {
    const files = await readFiles(config);
    return () => this.#apply(config, files);
  }

  reloadFromSource(): Promise<void> {
    if (this.seat !== undefined) return this.seat.reload();
    return this.#onReload === undefined ? this.reload(this.discovery.given) : this.#onReload();
  }

  #apply(config: Config, files: Files): void {
    this.#config = this.discovery.configure(config);
    this.#tls = files.tls;
    this.authentication.reconfigure(files);
    this.#limits = new LimitTable(config);
    this.admission.limits = admissionLimitsOf(config);
    this.pools.reconfigure(this.#config, files.secrets);
    this.nodes.configure();
    this.#configurePeers();
    this.#warnOfUseless();
    this.#onConfigured?.(config);
  }

  get primaryName(): string | undefined {
    return this.nodes.snapshot?.primary?.name;
  }

  onMembers(): void {
    this.#config = this.discovery.config;
    this.pools.reconfigure(this.#config);
    this.nodes.configure(false);
  }

  onWord(word: ManagerWord | undefined): void {
    this.nodes.managed(word);
  }

  closeIdleServers(): void {
    for (const pool of this.pools) pool.closeIdle();
  }

  beginShutdown(wait: ShutdownWait): void {
    void this.#shutdown.asCommanded(wait);
  }

  shutdown(mode: ShutdownMode): Promise<void> {
    return this.#shutdown.begin(mode);
  }

  // ---- for logins and sessions ----

  cancelTarget(pid: number, secret: Buffer): CancelTarget | undefined {
    const otherwise = (): CancelTarget | undefined => this.peers.targetOf(pid, secret);
    return this.cancels.find(pid, secret) ?? this.seat?.cancelTarget(pid, secret, otherwise) ?? otherwise();
  }

  tickMs(): number {
    return this.#tickMs;
  }

  packetBytesMax(): number {
    return this.#config.pgsluice.max_packet_size;
  }

  clientLimits(user: string): ClientLimits {
    return this.#limits.of(user);
  }

  checkSimpleQuery(): void {
    if (this.#config.pgsluice.disable_pqexec) throw pqexecDisallowed();
  }

  loginNotice(): Buffer {
    return loginNotice(this.#config.pgsluice.login_notify_message);
  }

  addsHostToName(): boolean {
    return this.#config.pgsluice.application_name_add_host;
  }

  asPgbouncer(): boolean {
    return this.#config.pgsluice.sqlstate_compat === "pgbouncer";
  }

  cancelsForLostClients(): boolean {
    return this.#config.pgsluice.cancel_on_client_disconnect;
  }

  reading(pool: Pool): ReadRouting | undefined {
    return this.#reads.of(pool);
  }

  autoDatabase(pool: Pool): AutoDatabase {
    return this.autoDatabases.of(pool);
  }

  clientTls(): ClientTls | undefined {
    return this.#tickets.of(this.#tls);
  }

  isAdministrator(user: string): boolean {
    return this.#config.pgsluice.admin_users.includes(user);
  }

  ignoresParameter(name: string): boolean {
    return this.#config.pgsluice.ignore_startup_parameters.includes(name);
  }

  connectOptionsFor(database: string, user: string): ConnectOptions | undefined {
    return this.pools.connectOptionsFor(database, user);
  }

  isDisabled(database: string): boolean {
    return this.consoles.isDisabled(database);
  }

  poolFor(request: LoginRequest): Pool | undefined {
    this.consoles.checkEnabled(request.database);
    this.nodes.checkRequired(request.database);
    return this.pools.poolFor(request);
  }

  isConsole(database: string): boolean {
    return isConsoleDatabase(database);
  }

  openConsole(identity: SessionIdentity, applicationName: string, transport: Transport): ConsoleStart {
    const session = this.consoles.open(identity, applicationName, transport);
    this.clientLog.authenticated(identity);
    return { session, parameters: this.consoles.parameters };
  }

  explained(failure: Failure, login: boolean): Failure {
    return this.nodes.explained(failure, login);
  }

  nextClientId(): number {
    return nextConnectionId();
  }

  onLoginEnd(login: object): void {
    this.#logins.end(login as Login);
  }

  onSessionStart(session: Session): void {
    this.sessions.add(session);
    session.pool.statistics.clientLoginCount++;
    this.loginLatency.login.note(this.clock.now() - session.identity.connectedAtMs);
    this.clientLog.authenticated(session.identity);
  }

  onPoolerError(session: Session, failure: Failure): void {
    this.clientLog.failed(session.identity, failure);
  }

  onSessionEnd(session: Session, reason: string): void {
    this.sessions.delete(session);
    this.admission.endSession(session);
    if (session.cancelKey !== undefined) this.cancels.unregister(session.cancelKey);
    if (this.sessions.size === 0) this.#shutdown.onSessionsGone();
    this.clientLog.closed(session.identity, reason, this.#tickMs);
  }

  // ---- within ----

  #configurePeers(): void {
    const { peer_id: ownId, cancel_wait_timeout: seconds } = this.#config.pgsluice;
    this.cancels.peerId = ownId;
    this.peers.configure(ownId, peersOf(this.#config), seconds * 1000);
  }

  #warnOfUseless(): void {
    // Once is enough.
    if (this.seat !== undefined && this.seat.slot > 0) return;
    warnOfUseless(this.logger, this.authentication.rules, this.#config.pgsluice);
  }

  #tick(): void {
    this.#tickMs = this.clock.now();
    this.#logins.tick(this.#tickMs, this.#config.pgsluice.client_login_timeout * 1000);
    if (this.#limits.any) for (const session of this.sessions) session.tick(this.#tickMs);
    this.pools.tick();
    this.nodes.tick();
    this.authentication.tick();
    this.autoDatabases.tick();
    this.consoles.lookAgain();
    this.#tickStatistics();
  }

  #tickStatistics(): void {
    const { stats_period: period, log_stats: logs } = this.#config.pgsluice;
    const averages = this.pools.statistics.tick(period * 1000);
    if (averages === undefined) return;
    this.pools.forgetStatistics(consoleDatabase);
    if (logs) this.logger.info(statisticsFields(averages), "stats");
  }
}
