/** The console's view of the pooler, and its hands: everything that its commands see and do, and who is there. */
import { readFileSync } from "node:fs";
import { type ConsoleHost, ConsoleSession } from "../admin/console.ts";
import type {
  AdminContext,
  DatabaseStatistics,
  DatabaseView,
  DiscoveryView,
  Fleet,
  PoolView,
  ReservationCounts,
  ShutdownWait,
  WorkerView,
} from "../admin/context.ts";
import type { Clock } from "../base/clock.ts";
import { OperationError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Roster } from "../base/roster.ts";
import type { Transport } from "../base/transport.ts";
import type { NodeCommand, TopologySnapshot } from "../cluster/index.ts";
import { withSetting } from "../config/changes.ts";
import { consoleDatabase } from "../config/reserved.ts";
import type { Config } from "../config/schema.ts";
import type { CancelRegistry } from "../pool/cancel-registry.ts";
import type { Multiplexer } from "../pool/multiplexer.ts";
import type { Peers } from "../pool/peers.ts";
import type { Pool } from "../pool/pool.ts";
import type { Listeners } from "../session/auto/listening/listeners.ts";
import type { SessionIdentity } from "../session/context.ts";
import type { LoginLatency } from "../session/login-latency.ts";
import { adminForcedDisconnect, administratorShutdown } from "../session/replies.ts";
import type { Session } from "../session/session.ts";
import type { ClassifierStatistics } from "../sql/index.ts";
import { encodeParameterStatus } from "../wire/encode-backend.ts";
import type { AutoDatabases } from "./auto-databases.ts";
import type { ClientLog } from "./client-log.ts";
import type { PoolerCounts } from "./counts.ts";
import type { Listener } from "./listener.ts";
import type { Nodes } from "./nodes.ts";
import type { Pools } from "./pools.ts";
import { promoteNode } from "./switchover.ts";
import type { PoolerState } from "./workers/protocol.ts";
import type { Seat } from "./workers/seat.ts";

/** The pooler, as far as the console goes. */
export interface ConsoleOwner {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly clientLog: ClientLog;
  readonly cancels: CancelRegistry;
  readonly peers: Peers;
  readonly config: Config;
  /** The configuration without the nodes that were found. */
  readonly discovery: { readonly given: Config; readonly view: DiscoveryView };
  readonly pools: Pools;
  readonly nodes: Nodes;
  readonly autoDatabases: AutoDatabases;
  readonly loginLatency: LoginLatency;
  readonly sessions: Roster<Session>;
  readonly loginCount: number;
  readonly userNames: readonly string[];
  readonly shuttingDown: boolean;
  /** Undefined: there is one process. */
  readonly seat: Seat | undefined;
  readonly counts: PoolerCounts;
  readonly listener: Listener;
  asPgbouncer(): boolean;
  /** Reads the configuration again, wherever it came from. */
  reloadFromSource(): Promise<void>;
  reload(config: Config): Promise<void>;
  beginShutdown(wait: ShutdownWait): void;
}

/** How long PROMOTE waits for clients, if those who wait for it do so for ever. */
const drainMsMax = 30_000;

interface Waiting {
  readonly condition: () => boolean;
  readonly resolve: () => void;
}

export class Consoles implements ConsoleHost {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly version: string = packageVersion();
  /** What the welcome tells, in PgBouncer's order. */
  readonly parameters: Buffer = Buffer.concat([
    encodeParameterStatus("server_version", `${this.version}/bouncer`),
    encodeParameterStatus("client_encoding", "UTF8"),
    encodeParameterStatus("server_encoding", "UTF8"),
    encodeParameterStatus("DateStyle", "ISO"),
    encodeParameterStatus("TimeZone", "GMT"),
    encodeParameterStatus("standard_conforming_strings", "on"),
    encodeParameterStatus("is_superuser", "on"),
  ]);
  readonly #owner: ConsoleOwner;
  readonly #consoles = new Set<ConsoleSession>();
  readonly #disabled = new Set<string>();
  readonly #waiting = new Set<Waiting>();

  constructor(owner: ConsoleOwner) {
    this.#owner = owner;
    this.logger = owner.logger;
    this.clock = owner.clock;
    owner.pools.onServerGone = () => this.lookAgain();
  }

  /** A client of the console. Throws OperationError `login.not_allowed` for users who are neither its administrators nor its watchers. */
  open(identity: SessionIdentity, applicationName: string, transport: Transport): ConsoleSession {
    const { admin_users: administrators, stats_users: watchers } = this.config().pgsluice;
    const administrator = administrators.includes(identity.user);
    if (!administrator && !watchers.includes(identity.user)) {
      throw new OperationError("not allowed", {
        code: "login.not_allowed",
        sqlstate: "42501",
        source: "client",
      });
    }
    const statistics = this.#owner.pools.statistics.of(consoleDatabase);
    statistics.clientLoginCount++;
    const console = new ConsoleSession(this, transport, {
      identity,
      administrator,
      applicationName,
      statistics,
    });
    this.#consoles.add(console);
    return console;
  }

  onConsoleEnd(console: ConsoleSession, reason: string): void {
    this.#consoles.delete(console);
    if (console.cancelKey !== undefined) this.#owner.cancels.unregister(console.cancelKey);
    this.#owner.clientLog.closed(console.identity, reason, this.clock.now());
  }

  /** Throws OperationError `login.database_disabled` for a database that DISABLE has closed to new clients. */
  checkEnabled(database: string): void {
    if (!this.isDisabled(database)) return;
    throw new OperationError(`database "${database}" is disabled`, {
      code: "login.database_disabled",
      sqlstate: "55000",
      source: "internal",
    });
  }

  isDisabled(database: string): boolean {
    return this.#disabled.has(database);
  }

  /** What commands wait for may have come about. */
  lookAgain(): void {
    for (const waiting of this.#waiting) if (waiting.condition()) waiting.resolve();
  }

  /** The pooler is gone. `silently`: nobody is told. */
  close(silently: boolean): void {
    for (const console of [...this.#consoles]) {
      if (silently) console.destroy();
      else console.fail(administratorShutdown());
    }
  }

  // ---- for the commands ----

  config(): Config {
    return this.#owner.config;
  }

  asPgbouncer(): boolean {
    return this.#owner.asPgbouncer();
  }

  pools(): readonly PoolView[] {
    return this.#owner.pools.views();
  }

  multiplexerOf(pool: Pool): Multiplexer | undefined {
    return this.#owner.autoDatabases.multiplexerOf(pool);
  }

  listenersOf(pool: Pool): Listeners | undefined {
    return this.#owner.autoDatabases.find(pool)?.listeners;
  }

  reservationsOf(pool: Pool): ReservationCounts | undefined {
    const database = this.#owner.autoDatabases.find(pool);
    return database && { lasting: database.reservations, passed: database.passed };
  }

  classifierStatistics(): ClassifierStatistics | undefined {
    return this.#owner.autoDatabases.classifierStatistics;
  }

  loginLatency(): LoginLatency {
    return this.#owner.loginLatency;
  }

  sessions(): Iterable<Session> {
    return [...this.#owner.sessions].sort((a, b) => a.identity.id - b.identity.id);
  }

  consoles(): Iterable<ConsoleSession> {
    return this.#consoles;
  }

  loginCount(): number {
    return this.#owner.loginCount;
  }

  userNames(): readonly string[] {
    return this.#owner.userNames;
  }

  databases(): readonly DatabaseView[] {
    const { pools } = this.#owner;
    const names = new Set([...pools.databaseNames(), ...this.#disabled]);
    return [...names].sort().flatMap((name) => {
      const view = pools.databaseView(name);
      return view === undefined ? [] : [{ ...view, disabled: this.#disabled.has(name) }];
    });
  }

  knowsDatabase(name: string): boolean {
    return this.#owner.pools.databaseView(name) !== undefined;
  }

  statistics(): readonly DatabaseStatistics[] {
    const { statistics } = this.#owner.pools;
    return statistics.databases.flatMap((database) => {
      const counted = statistics.get(database);
      return counted === undefined ? [] : [{ database, ...counted }];
    });
  }

  totalStatistics(): ReturnType<AdminContext["totalStatistics"]> {
    return this.#owner.pools.statistics.total();
  }

  peers(): ReturnType<AdminContext["peers"]> {
    return this.#owner.peers.views();
  }

  discovery(): DiscoveryView {
    return this.#owner.discovery.view;
  }

  topology(): TopologySnapshot | undefined {
    return this.#owner.nodes.snapshot;
  }

  commandNode(name: string, command: NodeCommand): string | undefined {
    return this.#owner.nodes.command(name, command);
  }

  promote(name: string, signal: AbortSignal): Promise<void> {
    const { nodes, pools, config } = this.#owner;
    return promoteNode(
      {
        nodes,
        limitMs: config.pgsluice.failover_timeout * 500 || drainMsMax,
        serverCount: () => pools.followerCount,
        until: (condition, aborted) => this.until(condition, aborted),
      },
      name,
      signal,
    );
  }

  get paused(): boolean {
    return this.#owner.pools.allPaused;
  }

  get shuttingDown(): boolean {
    return this.#owner.shuttingDown;
  }

  get fleet(): Fleet | undefined {
    return this.#owner.seat;
  }

  async workers(): Promise<readonly WorkerView[]> {
    const { seat, counts, listener } = this.#owner;
    if (seat !== undefined) return seat.workers();
    const alone: WorkerView = {
      worker: 1,
      pid: process.pid,
      state: "active",
      connections: listener.openConnections,
      clients: counts.sessions,
      servers: counts.servers,
      waiting: counts.waiting,
      startedAtEpochMs: Date.now() - process.uptime() * 1000,
      restarts: 0,
    };
    return [alone];
  }

  pause(database: string | undefined): void {
    this.#owner.pools.pause(database);
    this.#tellState();
  }

  resume(database: string | undefined): void {
    this.#owner.pools.resume(database);
    this.#tellState();
  }

  setDisabled(database: string, disabled: boolean): void {
    if (disabled) this.#disabled.add(database);
    else this.#disabled.delete(database);
    this.#tellState();
  }

  /** As another process is: this one was started while that changed. */
  assume({ disabled, ...paused }: PoolerState): void {
    this.#disabled.clear();
    for (const database of disabled) this.#disabled.add(database);
    this.#owner.pools.resume(undefined);
    this.#owner.pools.pauseAs(paused);
  }

  /** A worker that is started later begins with it. */
  #tellState(): void {
    const { seat, pools } = this.#owner;
    seat?.onState({ ...pools.pauseState, disabled: [...this.#disabled] });
  }

  reconnect(database: string | undefined): void {
    for (const pool of this.#owner.pools.poolsOf(database)) {
      // What sessions begin with is for a new server to tell, as at PgBouncer.
      pool.welcome = undefined;
      pool.retireServers("RECONNECT");
    }
  }

  kill(database: string | undefined): void {
    const { pools, sessions } = this.#owner;
    const databases = new Set(
      database === undefined ? pools.views().map((view) => view.database) : [database],
    );
    for (const name of databases) pools.pause(name);
    this.#tellState();
    for (const session of [...sessions]) {
      if (databases.has(session.identity.database)) session.fail(adminForcedDisconnect());
    }
    for (const name of databases) {
      for (const pool of pools.poolsOf(name)) pool.kill(adminForcedDisconnect());
    }
  }

  killClient(id: number): boolean {
    const client = [...this.#owner.sessions, ...this.#consoles].find(({ identity }) => identity.id === id);
    client?.fail(adminForcedDisconnect());
    return client !== undefined;
  }

  serverCount(database: string | undefined, onlyClosing: boolean): number {
    let count = 0;
    for (const pool of this.#owner.pools.poolsOf(database)) {
      count += onlyClosing
        ? [...pool.servers].filter((server) => server.closeReason !== undefined).length
        : pool.size;
    }
    return count;
  }

  async until(condition: () => boolean, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (condition()) return;
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(waiting);
        reject(signal.reason as Error);
      };
      const waiting = {
        condition,
        resolve: (): void => {
          this.#waiting.delete(waiting);
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      this.#waiting.add(waiting);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  reload(): Promise<void> {
    return this.#owner.reloadFromSource();
  }

  async change(name: string, value: string): Promise<void> {
    const { seat } = this.#owner;
    if (seat !== undefined) await seat.change(name, value);
    else await this.#owner.reload(withSetting(this.#owner.discovery.given, name, value));
  }

  shutdown(wait: ShutdownWait): void {
    const { seat } = this.#owner;
    if (seat !== undefined) seat.beginShutdown(wait);
    else this.#owner.beginShutdown(wait);
  }
}

function packageVersion(): string {
  const file = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
