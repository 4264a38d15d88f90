/** What a pool is told about itself: resolved from the configuration, in the units that the code uses. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { ConnectOptions } from "../client/conninfo/options.ts";
import type { ServerBudget } from "./budget.ts";
import type { PoolPermits } from "./permits.ts";
import type { StatementIds } from "./prepared.ts";
import type { Statistics } from "./statistics.ts";

export type PoolMode = "auto" | "session" | "transaction" | "statement";

export interface PoolSettings {
  readonly mode: PoolMode;
  readonly sizeMin: number;
  /** Whether `sizeMin` servers are kept also while there are no clients. */
  readonly minWithoutClients: boolean;
  /** How many clients may wait that no server is coming for; 0: any number. */
  readonly waitingMax: number;
  /** The server that has been idle longest is used next, not the one used last. */
  readonly roundRobin: boolean;
  /** 0: never. */
  readonly poolIdleTimeoutMs: number;
  /** Empty: none. */
  readonly connectQuery: string;
  /** 0: a server is closed after it was used once. */
  readonly serverLifetimeMs: number;
  /** 0: never. */
  readonly serverIdleTimeoutMs: number;
  readonly serverConnectTimeoutMs: number;
  readonly serverLoginRetryMs: number;
  /** 0: for ever. */
  readonly queryWaitTimeoutMs: number;
  /**
   * How long clients wait while there is no primary or it cannot be reached; 0: for ever. Undefined: the pool stays on
   * its node, and clients hear at once that it cannot be reached.
   */
  readonly failoverTimeoutMs?: number | undefined;
  /** 0: never. */
  readonly queryWaitNotifyMs: number;
  readonly cancelWaitTimeoutMs: number;
  readonly resetQuery: string;
  readonly resetQueryAlways: boolean;
  readonly resetTimeoutMs: number;
  /** Empty: no check. */
  readonly checkQuery: string;
  readonly checkDelayMs: number;
  /** 0: prepared statements are not shared but passed on as they are. */
  readonly preparedMax: number;
  /** Longest body of a message from a server (`max_packet_size`). */
  readonly packetBytesMax: number;
  /** In auto mode: brief reads of several clients share a server. */
  readonly multiplex: boolean;
  /** Statements that need less are brief. */
  readonly multiplexLatencyMs: number;
  /** Those that are the same and still wait run once. */
  readonly multiplexCoalesce: boolean;
  /** In auto mode: reads may go to standbys, if nodes are watched. */
  readonly readsOnStandbys: boolean;
  /** Close a server after each client instead of reusing it: replication, template databases. */
  readonly reuse: boolean;
}

/** Asked at each connect, because credentials and certificates may have changed since. */
export type ConnectOptionsSource = () => ConnectOptions;

/** What a pool is made of. */
export interface PoolOptions {
  readonly name: string;
  readonly settings: PoolSettings;
  readonly connectOptions: ConnectOptionsSource;
  /** The limits on its servers, the one of its size first. */
  readonly budgets: readonly ServerBudget[];
  /** Undefined: the budgets say it all. */
  readonly permits?: PoolPermits | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What is counted of this pool; by default nobody else's. */
  readonly statistics?: Statistics;
  /** Of the names of its clients' statements on servers, its own or those of other pools. */
  readonly statementIds?: StatementIds;
  /** A server was closed, or will not be opened. */
  readonly onServerGone?: () => void;
  /** A server was lost, or the node could not be reached: something may be wrong with it. */
  readonly onTrouble?: () => void;
}
