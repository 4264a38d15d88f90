/** What the console needs of the pooler around it. Composed by server/console. */
import type { Clock } from "../base/clock.ts";
import type { Failure } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { NodeCommand, TopologySnapshot } from "../cluster/index.ts";
import type { Config } from "../config/schema.ts";
import type { Multiplexer } from "../pool/multiplexer.ts";
import type { PeerView } from "../pool/peers.ts";
import type { Pool } from "../pool/pool.ts";
import type { PoolMode } from "../pool/settings.ts";
import type { Statistics } from "../pool/statistics.ts";
import type { ReservationCount } from "../session/auto/database.ts";
import type { Listeners } from "../session/auto/listening/listeners.ts";
import type { PassingName } from "../session/auto/passing.ts";
import type { ReservationName } from "../session/auto/reservations.ts";
import type { SessionIdentity } from "../session/context.ts";
import type { LoginLatency } from "../session/login-latency.ts";
import type { Session } from "../session/session.ts";
import type { ClassifierStatistics } from "../sql/index.ts";
import type { Answer } from "./command.ts";

/** A pool and what it is for. */
export interface PoolView {
  readonly pool: Pool;
  /** As clients call it. */
  readonly database: string;
  /** Whose servers they are: the database's own user, or the client's. */
  readonly user: string;
  readonly mode: PoolMode;
  /** Where its servers are, as [nodes.NAME] calls it; empty if a reload has taken the database away. */
  readonly node: string;
  readonly replication: "none" | "physical" | "logical";
}

/** A database that is configured, or that clients have used. */
export interface DatabaseView {
  readonly name: string;
  /** Null: it is wherever the primary is, and there is none. */
  readonly host: string | null;
  readonly port: number | null;
  /** Its name on the server. */
  readonly dbname: string;
  readonly forceUser: string | undefined;
  readonly poolSize: number;
  readonly minPoolSize: number;
  readonly reservePoolSize: number;
  readonly serverLifetimeSeconds: number;
  /** Servers of all its pools together; 0: no limit. */
  readonly connectionsMax: number;
  /** Clients; 0: no limit. */
  readonly clientsMax: number;
  /** Its own; undefined: it goes by the general setting. */
  readonly poolMode: PoolMode | undefined;
  /** Of a database with several hosts; null: it has one. */
  readonly loadBalanceHosts: "round-robin" | "disable" | null;
  readonly paused: boolean;
  readonly disabled: boolean;
}

/** What was counted for one database: until now, and on average in the last whole period. */
export interface DatabaseStatistics {
  readonly database: string;
  readonly totals: Statistics;
  /** Counts and bytes per second; times in milliseconds per query, transaction or server assignment. */
  readonly averages: Statistics;
}

/** For what clients of one pool keep their servers. */
export interface ReservationCounts {
  /** Beyond the transaction. */
  readonly lasting: ReadonlyMap<ReservationName, ReservationCount>;
  /** How often there was one of those that need no count of who has one. */
  readonly passed: Readonly<Record<PassingName, number>>;
}

/** Where the list of the nodes comes from, and how that goes. */
export interface DiscoveryView {
  readonly source: "static" | "patroni" | "dns";
  /** The address that answered last, or is asked first; the name that is looked up; empty if the nodes stand in the file. */
  readonly place: string;
  /** `asking`: there was no answer yet, and no failure either. */
  readonly state: "static" | "asking" | "answering" | "failing";
  /** The nodes in force, with where they are. */
  readonly members: readonly string[];
  /** Whom the last answer calls the leader. */
  readonly leader: string | undefined;
  readonly answerAgeMs: number | undefined;
  /** Of the last question without an answer. */
  readonly error: string | undefined;
  readonly errorAgeMs: number | undefined;
}

/** Somebody at the console. */
export interface ConsoleClient {
  readonly identity: SessionIdentity;
  readonly administrator: boolean;
  readonly requestAtMs: number;
  readonly applicationName: string;
  readonly address: SocketAddress;
}

/** Both ends of a connection as the system names them; undefined on a Unix socket. */
export interface SocketAddress {
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
}

export type ShutdownWait = "none" | "servers" | "clients";

/** One statement of the console, as every worker understands it. */
export interface ConsoleStatement {
  readonly part: string;
  /** What errors show. */
  readonly whole: string;
  readonly administrator: boolean;
}

/** What one worker made of a statement. */
export interface WorkerAnswer {
  /** From 1. */
  readonly worker: number;
  readonly answer: Answer | Failure;
}

/** One process that serves clients. */
export interface WorkerView {
  /** From 1. */
  readonly worker: number;
  readonly pid: number;
  /** `silent`: it has not answered for a while. */
  readonly state: "starting" | "active" | "silent";
  readonly connections: number;
  readonly clients: number;
  readonly servers: number;
  /** Clients that wait for a server. */
  readonly waiting: number;
  readonly startedAtEpochMs: number;
  /** How often it was replaced. */
  readonly restarts: number;
}

/** The processes that share a pooler's sockets. */
export interface Fleet {
  /** Has every process carry a statement out; in the order of the workers. One that ends meanwhile has no answer. */
  everywhere(statement: ConsoleStatement, signal: AbortSignal): Promise<readonly WorkerAnswer[]>;
}

export interface AdminContext {
  /** Undefined: there is one process. */
  readonly fleet: Fleet | undefined;
  workers(): Promise<readonly WorkerView[]>;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Of this program, as package.json has it. */
  readonly version: string;
  config(): Config;
  pools(): readonly PoolView[];
  /** Undefined: no client of the pool is in auto mode. */
  multiplexerOf(pool: Pool): Multiplexer | undefined;
  listenersOf(pool: Pool): Listeners | undefined;
  reservationsOf(pool: Pool): ReservationCounts | undefined;
  /** Undefined: nobody has been in auto mode. */
  classifierStatistics(): ClassifierStatistics | undefined;
  loginLatency(): LoginLatency;
  sessions(): Iterable<Session>;
  consoles(): Iterable<ConsoleClient>;
  /** Connections that are logging in. */
  loginCount(): number;
  databases(): readonly DatabaseView[];
  /** Whether clients may ask for this database, also one that nobody has asked for yet. */
  knowsDatabase(name: string): boolean;
  userNames(): readonly string[];
  statistics(): readonly DatabaseStatistics[];
  totalStatistics(): Omit<DatabaseStatistics, "database">;
  /** Processes that cancel requests are handed on to. */
  peers(): readonly PeerView[];
  /** What is known of the nodes; undefined: they are not watched. */
  topology(): TopologySnapshot | undefined;
  discovery(): DiscoveryView;
  /** What a person says of a node. Undefined if done, else why not. */
  commandNode(name: string, command: NodeCommand): string | undefined;
  /** Makes a standby the primary. Rejects with OperationError `console.refused`, and then all is as it was. */
  promote(name: string, signal: AbortSignal): Promise<void>;

  /** PAUSE is in force for every database. */
  readonly paused: boolean;
  readonly shuttingDown: boolean;
  /** Closes servers as they come free and gives out none, for one database or for all. Returns at once. */
  pause(database: string | undefined): void;
  resume(database: string | undefined): void;
  setDisabled(database: string, disabled: boolean): void;
  /** Closes every server when it comes free. */
  reconnect(database: string | undefined): void;
  /** Sends away the clients of a database, or of all, and closes their servers. */
  kill(database: string | undefined): void;
  /** False: no such client. */
  killClient(id: number): boolean;
  /** Servers, open or being opened, of one database or of all; only those that are to be closed, if asked. */
  serverCount(database: string | undefined, onlyClosing: boolean): number;
  /** Resolves when `condition` holds; it is looked at whenever a server is closed. Rejects if `signal` aborts. */
  until(condition: () => boolean, signal: AbortSignal): Promise<void>;
  /** Reads the configuration again. Rejects if it cannot be put in force. */
  reload(): Promise<void>;
  /** Puts one setting in force. Throws Failure if it does not exist, takes a restart or has no such value. */
  change(name: string, value: string): Promise<void>;
  /** Begins to shut down. With `none` it ends this console as well. */
  shutdown(wait: ShutdownWait): void;
}
