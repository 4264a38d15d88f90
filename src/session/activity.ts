/**
 * When one client did what: for its time limits, for the statistics of its database, and for SHOW CLIENTS.
 *
 * Statistics follow PgBouncer's rules (see pool/statistics.ts). The clock is read when a query begins and when
 * all is answered, never in between; limits are kept to the tick.
 */
import type { Clock } from "../base/clock.ts";
import type { OperationError } from "../base/errors.ts";
import type { Server } from "../pool/server.ts";
import type { Statistics } from "../pool/statistics.ts";
import { TransactionStatus } from "../wire/constants.ts";
import type { ClientLimits } from "./context.ts";
import { closedFast, exceededLimit } from "./limits.ts";

export class Activity {
  /** Times are milliseconds on the clock's scale; 0: not now. */
  queryStartMs = 0;
  /** Since when the client waits for a server. */
  waitStartMs = 0;
  /** When the last query began. */
  requestAtMs: number;
  /** When all was answered that the client had asked. */
  settledAtMs: number;
  readonly #statistics: Statistics;
  #xactStartMs = 0;
  /** When the client last sent something, and when its unit was first seen running; to the tick. */
  #heardAtMs: number;
  #runningSinceMs: number | undefined;

  constructor(statistics: Statistics, nowMs: number) {
    this.#statistics = statistics;
    this.#heardAtMs = nowMs;
    this.requestAtMs = nowMs;
    this.settledAtMs = nowMs;
  }

  /** Of a client that owes and is owed nothing: since when; a Sync that had nothing to end counts to the tick. */
  get idleSinceMs(): number {
    return Math.max(this.settledAtMs, this.#heardAtMs);
  }

  /** When the transaction began, or a statement outside one; 0: there is none. */
  get xactStartMs(): number {
    return this.#xactStartMs;
  }

  /** Something has come; `tickMs` is the time of the last tick. */
  hear(tickMs: number): void {
    this.#heardAtMs = tickMs;
  }

  /** Bytes of the client are handed on, or answered. */
  countBytes(bytes: number): void {
    this.#statistics.receivedBytes += bytes;
  }

  /** A query begins; to be called while `queryStartMs` is 0. */
  begin(clock: Clock): void {
    const nowMs = clock.now();
    const statistics = this.#statistics;
    this.queryStartMs = nowMs;
    this.requestAtMs = nowMs;
    statistics.queryCount++;
    if (this.#xactStartMs !== 0) return;
    this.#xactStartMs = nowMs;
    statistics.xactCount++;
  }

  /** The client has got a server, at once or after a wait. */
  assigned(clock: Clock, server: Server): void {
    server.assignments++;
    this.#statistics.serverAssignmentCount++;
    if (this.waitStartMs === 0) return;
    this.#statistics.waitMs += clock.now() - this.waitStartMs;
    this.waitStartMs = 0;
  }

  /** Everything is answered; `status` is that of the ReadyForQuery. */
  settled(nowMs: number, status: number): void {
    this.#runningSinceMs = undefined;
    this.settledAtMs = nowMs;
    if (this.queryStartMs === 0) return;
    this.#statistics.queryMs += nowMs - this.queryStartMs;
    this.queryStartMs = 0;
    if (status !== TransactionStatus.idle) return;
    this.#statistics.xactMs += nowMs - this.#xactStartMs;
    this.#xactStartMs = 0;
  }

  /** The client has no server any more and owes nothing: what was begun has ended without an answer. */
  dropped(): void {
    this.#runningSinceMs = undefined;
    this.queryStartMs = 0;
    this.waitStartMs = 0;
    this.#xactStartMs = 0;
  }

  /** The limit that the client has exceeded at this tick; undefined if none. `begun`: its BEGIN is held back here. */
  exceeded(
    limits: ClientLimits,
    server: Server | undefined,
    waiting: boolean,
    nowMs: number,
    begun: boolean,
  ): OperationError | undefined {
    const replies = server?.replies;
    if (replies === undefined || replies.settled) this.#runningSinceMs = undefined;
    else this.#runningSinceMs ??= nowMs;
    // In the words of PgBouncer; only who keeps a server without need of it is concerned.
    if (limits.fastClose && server?.closeReason !== undefined && server.clean) return closedFast();
    return exceededLimit(limits, {
      waiting,
      silentMs: nowMs - this.#heardAtMs,
      runningMs: this.#runningSinceMs === undefined ? undefined : nowMs - this.#runningSinceMs,
      transactionMs: this.#xactStartMs === 0 ? undefined : nowMs - this.#xactStartMs,
      inTransaction: begun || (replies !== undefined && replies.status !== TransactionStatus.idle),
    });
  }
}
