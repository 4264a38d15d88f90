/**
 * How a client's gathered unit gets a server: for itself (pool/pool.ts), at once or after a wait, or in auto mode
 * between units of others (auto/shared-unit.ts), or, in either way, on a standby if it only reads (auto/standby-read.ts), perhaps with the
 * transaction that it begins (auto/standby-transaction.ts). Until that is settled nothing more of the client is handled.
 */
import { assert } from "../base/assert.ts";
import type { Failure } from "../base/errors.ts";
import type { Transport } from "../base/transport.ts";
import { isNoPrimary } from "../pool/failures.ts";
import type { Pool } from "../pool/pool.ts";
import type { Server } from "../pool/server.ts";
import type { Waiter } from "../pool/waiters.ts";
import type { AutoSession } from "./auto/auto.ts";
import { entryFailed } from "./auto/listening/failures.ts";
import { SharedUnit, type SharingClient, type SharingParts } from "./auto/shared-unit.ts";
import { type ReadingClient, StandbyRead } from "./auto/standby-read.ts";
import { StandbyTransaction, type TransactionClient } from "./auto/standby-transaction.ts";
import type { Reading, SessionContext, WaitingRead } from "./context.ts";
import type { Rest } from "./gathering.ts";
import { LostUnits } from "./lost-units.ts";
import { errorReply, longWaitNotice } from "./replies.ts";

/** A read that found no answer on so many standbys runs on the primary. */
const readsMax = 2;
/** How many servers are asked to listen for a client before it is given up. */
const entriesMax = 3;

/** The parts of the session that send and account for its unit: one object for all who need them. */
export type LeasingParts = Omit<SharingParts, "auto"> & { readonly auto: AutoSession | undefined };

/** What the session does when it is settled. */
export interface LeasingClient {
  readonly transport: Transport;
  /** The server is the client's: the unit goes to it. */
  attach(server: Server): void;
  /** Goes on with what the client has sent. */
  advance(): void;
  /** The same, but not before what is being done now. */
  advanceSoon(): void;
  /** Ends the session. */
  fail(failure: Failure): void;
  /** Answers the unit with an error: nothing of it was sent. The session goes on. */
  refuse(failure: Failure): void;
  /** As `fail`, for whatever was thrown. */
  failBy(error: unknown): void;
  /** The unit is answered: goes on with what has come behind it. */
  goOn(): void;
  onServerLost(failure: Failure, relayed: boolean): void;
  onServerDrain(): void;
}

export class Leasing implements Waiter, SharingClient, ReadingClient, TransactionClient, WaitingRead {
  readonly #client: LeasingClient;
  readonly #pool: Pool;
  readonly #parts: LeasingParts;
  /** In auto mode. */
  readonly #sharing: SharedUnit | undefined;
  readonly #auto: AutoSession | undefined;
  /** In auto mode. */
  readonly #lost: LostUnits | undefined;
  /** The two, where a unit was sent to a server of the client's and it matters to them what becomes of it. */
  #timed: SharedUnit | undefined;
  #watched: LostUnits | undefined;
  readonly #context: SessionContext;
  /** Once a unit has gone to a standby. */
  #standby: StandbyRead | undefined;
  /** Once one has begun there. */
  #transaction: StandbyTransaction | undefined;
  /** On how many standbys the unit was tried. */
  #reads = 0;
  #waiting = false;
  /** The unit waits for a standby that has what it has to show: how to wait no more. */
  #leaveStandbys: (() => void) | undefined;
  /** Counts units that had to wait for notifications. */
  #turn = 0;
  /** Servers that would not listen for the client, of one unit. */
  #entriesFailed = 0;

  constructor(client: LeasingClient, pool: Pool, context: SessionContext, parts: LeasingParts) {
    this.#client = client;
    this.#pool = pool;
    this.#context = context;
    this.#parts = parts;
    this.#auto = parts.auto;
    if (!inAuto(parts)) return;
    this.#lost = new LostUnits(parts);
    this.#sharing = new SharedUnit(this, parts, context.autoDatabase(pool).multiplexer);
  }

  get queryWaitTimeoutMs(): number | undefined {
    return this.#parts.queryWaitTimeoutMs;
  }

  /** The unit waits for a server, or for the end of its replies between others. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** The server that the unit runs on without being the client's: shared, or a standby's. */
  get sharedServer(): Server | undefined {
    return this.#standby?.server ?? this.#sharing?.server ?? this.transactionServer;
  }

  /** The standby's server on which the client's transaction runs. */
  get transactionServer(): Server | undefined {
    return this.#transaction?.server;
  }

  /** Gets the gathered unit a server: `attach` is called now, or later. */
  begin(): void {
    this.#waiting = true;
    this.#entriesFailed = 0;
    if (this.#transaction !== undefined && this.#continue(this.#transaction)) return;
    const auto = this.#auto;
    if (auto?.special !== true || !auto.listening.shared || !this.#gated(auto)) this.#start();
  }

  /** Whether the unit belongs to a transaction on a standby, and is sent there or refused. */
  #continue(transaction: StandbyTransaction): boolean {
    const { unit } = this.#parts.gathering;
    assert(unit !== undefined, "a unit was gathered");
    if (transaction.server === undefined) {
      const loss = this.#auto?.heldBegin.takeLoss();
      if (loss !== undefined) this.#refuse(loss);
      return loss !== undefined;
    }
    switch (transaction.judge()) {
      case "here":
        // What goes on in the batch is sent as it comes.
        this.guarded(() => (this.#waiting = transaction.send(unit)));
        return true;
      case "elsewhere":
        transaction.giveUp();
        return false;
      default:
        this.#refuse(transaction.refuse());
        return true;
    }
  }

  #refuse(failure: Failure): void {
    this.#waiting = false;
    this.#client.refuse(failure);
  }

  /** Whether the unit has to wait for notifications that come before it. */
  #gated(auto: AutoSession): boolean {
    const { unit } = this.#parts.gathering;
    const turn = ++this.#turn;
    return auto.listening.gate(unit !== undefined && auto.reads(unit), () => {
      if (this.#waiting && turn === this.#turn) this.guarded(() => this.#start());
    });
  }

  #start(): void {
    this.#reads = 0;
    const auto = this.#auto;
    if (auto === undefined || !this.#goesElsewhere(auto)) this.#startHere();
  }

  /** Whether the unit goes to a standby, now or when one has what it has to show. */
  #goesElsewhere(auto: AutoSession): boolean {
    const reading = this.#readingOf(auto);
    return reading !== undefined && (this.#readBy(auto, reading) || this.#awaitsStandby(auto, reading));
  }

  #startHere(): void {
    const sharing = this.#pool.settings.multiplex ? this.#sharing : undefined;
    if (sharing?.start() !== true) this.#lease();
  }

  /** Who finds a standby for the unit; undefined: it does more than read, or reads are not spread. */
  #readingOf(auto: AutoSession): Reading | undefined {
    const reading = this.#context.reading(this.#pool);
    const { unit } = this.#parts.gathering;
    return reading !== undefined && unit !== undefined && auto.readsAnywhere(unit) ? reading : undefined;
  }

  /** Whether the unit waits for a standby that has what it has to show. */
  #awaitsStandby(auto: AutoSession, reading: Reading): boolean {
    this.#leaveStandbys = reading.awaitStandby(auto.route, this);
    return this.#leaveStandbys !== undefined;
  }

  retry(): boolean {
    let reads = false;
    this.guarded(() => {
      reads = this.#readOnStandby();
      if (reads) this.#leaveStandbys = undefined;
    });
    return reads;
  }

  giveUp(): void {
    this.#leaveStandbys = undefined;
    this.guarded(() => this.#startHere());
  }

  /** Whether the unit only reads, and has gone to a standby for that; to another one than `besides`. */
  #readOnStandby(besides?: Pool): boolean {
    const auto = this.#auto;
    if (auto === undefined || this.#reads >= readsMax) return false;
    const reading = this.#readingOf(auto);
    return reading !== undefined && this.#readBy(auto, reading, besides);
  }

  #readBy(auto: AutoSession, reading: Reading, besides?: Pool): boolean {
    const pool = reading.poolFor(this.#pool, auto.route, besides);
    if (pool === undefined) return false;
    this.#reads++;
    this.#standby ??= new StandbyRead(this, this.#autoParts());
    this.#standby.start({ pool, load: reading.loadOf(pool), multiplexer: reading.multiplexerOf(pool) });
    return true;
  }

  /** Takes the unit back before a server has it, or while it has others in front of it. False: it runs. */
  withdraw(): boolean {
    const taken = this.#standby?.withdraw() === true || this.#sharing?.withdraw() === true;
    if (!taken && (!this.#waiting || this.sharedServer !== undefined)) return false;
    if (taken || this.#leftStandbys()) this.#waiting = false;
    else this.#leaveQueue();
    this.#parts.sender.reset();
    return true;
  }

  /** Takes the unit from those that wait for a standby. False: it was not there. */
  #leftStandbys(): boolean {
    const leave = this.#leaveStandbys;
    this.#leaveStandbys = undefined;
    leave?.();
    return leave !== undefined;
  }

  /** Cancels the unit that runs on `sharedServer`. */
  async cancelShared(): Promise<void> {
    if (this.#transaction?.server !== undefined) await this.#transaction.cancel();
    else if (this.#standby?.active === true) await this.#standby.cancel();
    else await this.#sharing?.cancel();
  }

  /** The client is gone. */
  end(): void {
    const stops = this.#context.cancelsForLostClients();
    if (this.#transaction?.server !== undefined) this.#transaction.leave(stops);
    else if (this.#standby?.active === true) this.#standby.leave(stops);
    else if (this.#sharing?.active === true) this.#sharing.leave();
    else if (this.#waiting && !this.#leftStandbys()) this.#leaveQueue();
    this.#waiting = false;
  }

  #leaveQueue(): void {
    this.#waiting = false;
    const server = this.#auto?.listening.abandonEntry();
    if (server === undefined) this.#pool.cancelWait(this);
    else this.#pool.discard(server, "it listens for nobody");
  }

  onClientDrain(): void {
    this.#standby?.onDrain();
    this.#transaction?.onDrain();
    this.#sharing?.onDrain();
  }

  // ---- how long units take that have a server for themselves ----

  onSent(server: Server): void {
    const { multiplex, failoverTimeoutMs } = this.#pool.settings;
    this.#timed = multiplex ? this.#sharing : undefined;
    this.#timed?.beginAlone(this.#parts.clock);
    this.#watched = failoverTimeoutMs === undefined ? undefined : this.#lost;
    this.#watched?.begin(server);
  }

  onReplies(bytes: number): void {
    this.#timed?.countAlone(bytes);
    this.#watched?.onReplies();
  }

  onSettled(server: Server, nowMs: number): void {
    this.#timed?.endAlone(nowMs);
    this.#watched?.onSettled(server);
  }

  // ---- the client's own server is lost ----

  /** Whether the session can go on without the server. `owed`: as the server has left it, or leaves it now. */
  outlives(server: Server, owed: number | undefined = server.replies.owed): boolean {
    return this.#watched?.outlives(server, owed) === true;
  }

  /** Goes on without the server that {@link outlives} was asked about. Returns whether the client is told of an error. */
  goOn(server: Server, failure: Failure, owed: number): boolean {
    const lost = this.#lost;
    assert(lost !== undefined, "only clients in auto mode outlive their server");
    this.#parts.output.clear();
    if (lost.runsAgain(server, owed)) {
      this.#waiting = true;
      this.guarded(() => this.#start());
      return false;
    }
    this.#client.transport.write(lost.answer(failure, owed, this.#context.asPgbouncer()));
    this.guarded(() => undefined);
    return true;
  }

  // ---- from the pool and the multiplexer ----

  onLeased(server: Server): void {
    assert(this.#waiting, "only a waiting client is given a server");
    // As `guarded`, without a function for each unit that has waited.
    try {
      this.#take(server);
    } catch (error) {
      this.onMistake(error);
      return;
    }
    if (!this.#waiting) this.#client.advance();
  }

  /** A mistake that is made for the client is not the fault of whoever calls: it must not reach the code that reads from a server. */
  guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#waiting = false;
      this.#client.failBy(error);
      return;
    }
    if (!this.#waiting) this.#client.advance();
  }

  onLeaseFailed(failure: Failure): void {
    this.#waiting = false;
    if (!isNoPrimary(failure)) {
      this.#client.fail(failure);
      return;
    }
    this.#parts.sender.reset();
    this.#client.refuse(this.#context.explained(failure, false));
  }

  onLongWait(): void {
    this.#client.transport.write(longWaitNotice);
  }

  onSharedDone(): void {
    this.#waiting = false;
    if (this.#auto?.special === true) this.#auto.listening.flush();
    this.#client.goOn();
  }

  // ---- from a read on a standby ----

  onReadDone(): void {
    this.onSharedDone();
  }

  readElsewhere(besides: Pool | undefined): void {
    this.guarded(() => {
      if (!this.#readOnStandby(besides)) this.#startHere();
    });
  }

  readOnPrimary(): void {
    this.guarded(() => this.#lease());
  }

  /** The client kept nothing on that server, or nothing but a transaction that only reads: it is told, and goes on. */
  onReadLost(failure: Failure, torn: boolean, rest: Rest): void {
    if (torn) {
      this.onServerLost(failure);
      return;
    }
    const { transport } = this.#client;
    transport.write(errorReply("ERROR", failure, this.#context.asPgbouncer()));
    const ready = this.#parts.gathering.skipRest(rest);
    if (ready !== undefined) transport.write(ready);
    this.onSharedDone();
  }

  onTransactionBegun(pool: Pool, server: Server): void {
    this.#transactionOf().begin(pool, server);
    this.onSharedDone();
  }

  onTransactionLost(failure: Failure): void {
    this.#transactionOf().beginLost(failure);
  }

  #transactionOf(): StandbyTransaction {
    this.#transaction ??= new StandbyTransaction(this, this.#autoParts());
    return this.#transaction;
  }

  #autoParts(): SharingParts {
    const parts = this.#parts;
    assert(inAuto(parts), "reads go to standbys in auto mode");
    return parts;
  }

  onServerDrain(): void {
    this.#client.onServerDrain();
  }

  leaseAlone(server: Server | undefined): void {
    if (server !== undefined) {
      this.onLeased(server);
      return;
    }
    this.guarded(() => this.#lease());
  }

  /** On its own node nothing can be found elsewhere. */
  takesBack(): boolean {
    return false;
  }

  onSharedLost(failure: Failure): void {
    this.onServerLost(failure);
  }

  onMistake(error: unknown): void {
    this.#waiting = false;
    this.#client.failBy(error);
  }

  onServerLost(failure: Failure): void {
    this.#waiting = false;
    this.#client.onServerLost(failure, true);
  }

  #lease(): void {
    const server = this.#pool.lease(this, this.#auto?.preferredServer, this.#auto?.boundToServer);
    if (server === undefined) {
      if (this.#waiting) this.#parts.activity.waitStartMs = this.#parts.clock.now();
      return;
    }
    this.#take(server);
  }

  /** The server is the client's, as soon as it listens to what the client listens to. */
  #take(server: Server): void {
    const listening = this.#auto?.special === true ? this.#auto.listening : undefined;
    if (listening?.mustEnter !== true) {
      this.#waiting = false;
      this.#client.attach(server);
      return;
    }
    if (!listening.mayEnter(server)) {
      this.#pool.release(server, false);
      throw entryFailed();
    }
    listening.enter(server, (entered) => this.guarded(() => this.#onEntered(server, entered)));
  }

  #onEntered(server: Server, entered: boolean): void {
    if (entered) {
      this.#waiting = false;
      this.#client.attach(server);
      return;
    }
    this.#pool.discard(server, "it does not listen for its client");
    if (++this.#entriesFailed >= entriesMax) throw entryFailed();
    this.#lease();
  }
}

function inAuto(parts: LeasingParts): parts is SharingParts {
  return parts.auto !== undefined;
}
