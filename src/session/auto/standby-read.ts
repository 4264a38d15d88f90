/**
 * One client's unit while it reads from a standby: between units of others if it may (shared-unit.ts), else on a server that it
 * has for itself. The client holds no server meanwhile, and nothing more of it is handled: whatever it sends next may have to go to the primary. The unit is kept
 * until it is answered, because it may have to run again, unseen: elsewhere, if the standby is lost before it has told
 * anything or has no server to give; on the primary, if it refuses with an error that may be its own (a conflict with
 * recovery, a table that has not arrived yet).
 *
 * The unit may begin a read-only transaction: then that is standby-transaction.ts's from the answer on, and begins again
 * with the unit, where that has to run again.
 *
 *     (share, or) wait in the standby's pool ─▶ sent ─▶ replies, held while an error may follow ─▶ answered ─▶ given back
 *          │ none to be had           │ lost      │ refused          │ lost: an ERROR, and the session goes on
 *          ▼                          ▼           ▼
 *       elsewhere                 elsewhere    the primary
 */
import { assert } from "../../base/assert.ts";
import type { Failure } from "../../base/errors.ts";
import type { Multiplexer } from "../../pool/multiplexer.ts";
import type { Pool } from "../../pool/pool.ts";
import { measureRoundTrip } from "../../pool/round-trip.ts";
import { repliesPendingBytesMax, type Server, type ServerOwner } from "../../pool/server.ts";
import type { Returned } from "../../pool/shared-server.ts";
import { isStandbysOwnError, onlyAnnounces } from "../../pool/standby-replies.ts";
import type { Waiter } from "../../pool/waiters.ts";
import { TransactionStatus } from "../../wire/constants.ts";
import type { ReadLoad } from "../context.ts";
import { leaveServer, rollBack } from "../handover.ts";
import { SharedUnit, type SharingClient, type SharingParts } from "./shared-unit.ts";

/** What the session does when its read has an end. */
export interface ReadingClient {
  onReadDone(): void;
  /** The unit runs again, wherever it may now; not on `besides`, which is of no use. */
  readElsewhere(besides: Pool | undefined): void;
  /** The unit runs again, and not on a standby. */
  readOnPrimary(): void;
  /** The server is gone after a part of the reply; `torn`: in the middle of a message. */
  onReadLost(failure: Failure, torn: boolean, rest: "nothing"): void;
  /** The unit is answered, and has begun a transaction that goes on there. */
  onTransactionBegun(pool: Pool, server: Server): void;
  /** The same, but the server is gone. */
  onTransactionLost(failure: Failure): void;
  onLongWait(): void;
  /** The unit cannot be sent. */
  onMistake(error: unknown): void;
  /** Does what is the client's own business, and no fault of who calls. */
  guarded(act: () => void): void;
}

/** Where a unit reads. */
export interface ReadPlace {
  readonly pool: Pool;
  readonly load: ReadLoad;
  readonly multiplexer: Multiplexer;
}

export class StandbyRead implements Waiter, ServerOwner, SharingClient {
  readonly #client: ReadingClient;
  readonly #parts: SharingParts;
  #pool: Pool | undefined;
  #server: Server | undefined;
  #load: ReadLoad | undefined;
  #multiplexer: Multiplexer | undefined;
  /** Once a unit might share. */
  #sharing: SharedUnit | undefined;
  /** The server that answers this unit is then asked how far it is away. */
  #measures = false;
  #startedMs = 0;
  /** The client has got a part of the reply. */
  #relayed = false;
  #settingsPending = false;
  /** The unit begins a transaction. */
  #begins = false;
  /** It does so without reading anything; as a message that may be sent again. */
  #opens = false;
  #repeats: Buffer | undefined;
  /** The client has asked for an end: errors are its own. */
  #canceled = false;
  /** The standby has refused: what it still says is dropped, then the unit runs on the primary. */
  #refused = false;
  /** The end of the unit has been relayed. */
  #answered = false;
  /** Replies that are not relayed yet, because an error may follow. */
  #held: Buffer[] = [];

  constructor(client: ReadingClient, parts: SharingParts) {
    this.#client = client;
    this.#parts = parts;
  }

  /** The unit waits for a server here, or runs on one. */
  get active(): boolean {
    return this.#pool !== undefined;
  }

  get server(): Server | undefined {
    return this.#server ?? this.#sharing?.server;
  }

  get queryWaitTimeoutMs(): number | undefined {
    return this.#parts.queryWaitTimeoutMs;
  }

  /** Runs the gathered unit in the pool of a standby, now or later. */
  start({ pool, load, multiplexer }: ReadPlace): void {
    assert(this.#pool === undefined, "a client reads one unit at a time");
    this.#pool = pool;
    this.#load = load;
    this.#multiplexer = multiplexer;
    load.outstanding++;
    this.#startedMs = this.#parts.clock.now();
    const { roundTrip } = multiplexer;
    this.#measures = multiplexer.enabled && roundTrip.claim(this.#startedMs);
    // How long statements take cannot be told before it is known how far the standby is away.
    if (!this.#measures && roundTrip.measured && this.#shares(multiplexer)) return;
    this.#lease(pool);
  }

  #shares(multiplexer: Multiplexer): boolean {
    this.#sharing ??= new SharedUnit(this, this.#parts, multiplexer);
    return this.#sharing.start(multiplexer);
  }

  #lease(pool: Pool): void {
    const server = pool.lease(this);
    if (server !== undefined) this.#take(server);
    else if (this.active) this.#parts.activity.waitStartMs = this.#parts.clock.now();
  }

  async cancel(): Promise<void> {
    if (this.#sharing?.active === true) return await this.#sharing.cancel();
    const server = this.#server;
    this.#canceled = true;
    if (server !== undefined && !server.replies.settled) await this.#pool?.cancel(server);
  }

  /** Takes the unit out of the queue, or from behind others. False: it is not there. */
  withdraw(): boolean {
    if (this.#pool === undefined || this.#server !== undefined) return false;
    if (this.#sharing?.withdraw() !== true) {
      if (this.server !== undefined) return false;
      this.#pool.cancelWait(this);
    }
    this.#leavePool();
    return true;
  }

  /** The client is gone. `stops`: what runs is cancelled. */
  leave(stops: boolean): void {
    if (this.#sharing?.active === true) {
      this.#sharing.leave();
      this.#leavePool();
      return;
    }
    if (this.withdraw()) return;
    const [pool, server] = this.#end();
    if (server.closed) return;
    leaveServer(pool, server, { reason: "client is gone", resets: false, unfinished: false, stops });
  }

  /** The client's socket takes bytes again. */
  onDrain(): void {
    this.#server?.reading.resume();
    this.#sharing?.onDrain();
  }

  // ---- from the pool ----

  onLeased(server: Server): void {
    this.#client.guarded(() => this.#take(server));
  }

  #take(server: Server): void {
    assert(server.owner === undefined, "a server has one owner at a time");
    this.#relayed = false;
    this.#canceled = false;
    this.#refused = false;
    this.#answered = false;
    this.#held = [];
    this.#server = server;
    server.owner = this;
    server.used = true;
    const { activity, auto, clock, output, sender } = this.#parts;
    activity.assigned(clock, server);
    this.#settingsPending = auto.prepare(server, output);
    this.#begins = auto.begins;
    this.#opens = auto.begins && auto.route.opens;
    this.#repeats = undefined;
    if (this.#opens) this.#openTransaction();
    this.#sharing?.beginAlone(clock);
    sender.sendShared(server);
    output.flush(server.transport);
    const { replies } = server;
    // Replies that no server sends, and that nothing is before.
    if (replies.hasSynthesised && !server.midReply) this.onReplies(replies.takeSynthesised());
  }

  #openTransaction(): void {
    const { auto, gathering } = this.#parts;
    assert(gathering.unit !== undefined, "a unit was gathered");
    auto.reports.keep();
    this.#repeats = auto.heldBegin.repeatable(gathering.unit);
  }

  /** The standby has no server to give, or is not to be read from any more: others may. */
  onLeaseFailed(): void {
    const pool = this.#pool;
    assert(pool !== undefined, "only who waits is told that it waits in vain");
    this.#leavePool();
    this.#client.readElsewhere(pool);
  }

  onLongWait(): void {
    this.#client.onLongWait();
  }

  // ---- from the unit, while it shares ----

  onSharedDone(): void {
    this.#noteLatency(this.#parts.clock.now());
    this.#leavePool();
    this.#client.onReadDone();
  }

  leaseAlone(server: Server | undefined): void {
    this.#client.guarded(() => {
      const pool = this.#pool;
      assert(pool !== undefined, "the unit is still to run here");
      if (server === undefined) return this.#lease(pool);
      this.#take(server);
    });
  }

  takesBack(why: Returned): boolean {
    const pool = this.#pool;
    this.#leavePool();
    if (why !== "partly") this.#parts.sender.reset();
    if (why === "refused" || why === "partly") this.#client.readOnPrimary();
    else this.#client.readElsewhere(why === "lost" ? pool : undefined);
    return true;
  }

  onMistake(error: unknown): void {
    this.#leavePool();
    this.#client.onMistake(error);
  }

  onSharedLost(failure: Failure, torn: boolean): void {
    this.#leavePool();
    this.#close(this.#parts.clock.now());
    this.#client.onReadLost(failure, torn, "nothing");
  }

  // ---- from the server ----

  onReplies(bytes: Buffer): boolean {
    const server = this.#server;
    assert(server !== undefined, "replies come from a server that is held");
    if (this.#settingsPending && server.replies.takeSwallowedError() !== undefined) {
      server.closeReason ??= "invalid server parameter";
      this.#again();
      return true;
    }
    this.#sharing?.countAlone(bytes.length);
    if (this.#refused || this.#answered) return true;
    if (this.#relayed || !onlyAnnounces(bytes)) return this.#relay(bytes, server);
    this.#held.push(Buffer.from(bytes));
    return true;
  }

  #relay(bytes: Buffer, server: Server): boolean {
    const { transport } = this.#parts;
    for (const held of this.#held) transport.write(held);
    this.#held = [];
    this.#relayed = true;
    if (transport.write(bytes)) return true;
    if (transport.pendingBytes > repliesPendingBytesMax) server.reading.stop();
    return false;
  }

  onWords(message: Buffer): Buffer | undefined {
    const server = this.#server;
    if (server === undefined) return message;
    // Its last words are about a connection that the client does not have.
    if (server.dying) return undefined;
    const words = this.#parts.sender.rewordShared(server, message);
    const own = !this.#relayed && !this.#canceled && isStandbysOwnError(message);
    this.#refused ||= words === undefined || own;
    return this.#refused ? undefined : words;
  }

  /** Whatever follows in the same bytes is not for the client. */
  onUnit(): void {
    this.#answered = true;
  }

  /** What a standby reports is about itself. */
  readonly reportsDue = (names: readonly string[]): Buffer | undefined =>
    this.#opens && this.#server !== undefined
      ? this.#parts.auto.reports.take(this.#server, names)
      : undefined;
  readonly onNotification = (): undefined => undefined;

  onParameter(name: string, value: string): void {
    // A read sets nothing.
    if (this.#opens) this.#parts.auto.reports.add(name, value);
  }

  onDropped(): void {
    // A read drops nothing.
  }

  onServerDrain(): void {
    // A unit that is gathered is small: it was sent at once.
  }

  onSettled(): void {
    const refused = this.#refused;
    const relayed = this.#relayed;
    const [pool, server] = this.#end();
    const nowMs = this.#parts.clock.now();
    this.#noteLatency(nowMs);
    if (!refused) this.#sharing?.endAlone(nowMs);
    if (this.#begins && !refused && server.replies.status !== TransactionStatus.idle) {
      this.#keepOpening(server.replies.status === TransactionStatus.inTransaction);
      this.#close(nowMs, server.replies.status as TransactionStatus);
      this.#client.onTransactionBegun(pool, server);
      return;
    }
    if (server.clean) this.#release(pool, server, nowMs);
    else if (this.#begins) rollBack(pool, server);
    else pool.discard(server, "a read has left a transaction open");
    if (refused) this.#runOnPrimary(relayed);
    else this.#finish(nowMs);
  }

  onServerLost(failure: Failure): void {
    const { midReply: torn = false } = this.#server ?? {};
    const answered = this.#answered;
    const relayed = this.#relayed;
    const [pool] = this.#end();
    if (answered) {
      this.#keepOpening(true);
      if (this.#begins) this.#client.onTransactionLost(failure);
      this.#finish(this.#parts.clock.now());
    } else if (relayed) {
      this.#failTransaction();
      this.#close(this.#parts.clock.now());
      this.#client.onReadLost(failure, torn, "nothing");
    } else {
      this.#runsAgain();
      this.#client.readElsewhere(pool);
    }
  }

  /** What has opened the transaction is done again where that begins again. */
  #keepOpening(done: boolean): void {
    if (done && this.#repeats !== undefined) this.#parts.auto.heldBegin.repeat(this.#repeats);
    this.#repeats = undefined;
  }

  #release(pool: Pool, server: Server, nowMs: number): void {
    const multiplexer = this.#multiplexer;
    if (!this.#measures || multiplexer === undefined) pool.release(server, false, nowMs);
    else
      measureRoundTrip(server, multiplexer.roundTrip, this.#parts.clock, () => pool.release(server, false));
  }

  #noteLatency(nowMs: number): void {
    this.#load?.latency.note(nowMs - this.#startedMs, nowMs);
  }

  /** The standby does not take the client's settings. */
  #again(): void {
    const [pool, server] = this.#end();
    pool.discard(server, "a read could not run as it should");
    this.#runOnPrimary();
  }

  /** `partly`: what the client has got of the replies is not said again (unit-sender.ts). */
  #runOnPrimary(partly = false): void {
    this.#runsAgain(partly);
    this.#client.readOnPrimary();
  }

  #runsAgain(partly = false): void {
    if (!partly) this.#parts.sender.reset();
    if (this.#begins) this.#restore();
    this.#begins = false;
  }

  /** What was begun is gone with the server. */
  #failTransaction(): void {
    if (!this.#begins) return;
    this.#restore();
    this.#parts.auto.heldBegin.fail();
  }

  /** What the client began is not begun, and what it was told stands. */
  #restore(): void {
    const { heldBegin, reports } = this.#parts.auto;
    reports.restore();
    heldBegin.restore();
  }

  #finish(nowMs: number): void {
    this.#close(nowMs);
    this.#client.onReadDone();
  }

  /** The unit is over. */
  #close(nowMs: number, status: TransactionStatus = this.#parts.auto.status): void {
    const { activity, gathering, sender } = this.#parts;
    activity.settled(nowMs, status);
    sender.end();
    gathering.forget();
  }

  #leavePool(): void {
    this.#pool = undefined;
    if (this.#load !== undefined) this.#load.outstanding--;
  }

  #end(): [Pool, Server] {
    const [pool, server] = [this.#pool, this.#server];
    assert(pool !== undefined && server !== undefined, "it ends on a server");
    this.#leavePool();
    this.#server = undefined;
    this.#settingsPending = false;
    this.#held = [];
    if (server.owner === this) server.owner = undefined;
    server.reading.resume();
    return [pool, server];
  }
}
