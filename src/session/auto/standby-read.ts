/**
 * One client's unit while it reads from a standby, on a server that it has for itself. The client holds no server
 * meanwhile, and nothing more of it is handled: whatever it sends next may have to go to the primary. The unit is kept
 * until it is answered, because it may have to run again, unseen: elsewhere, if the standby is lost before it has told
 * anything or has no server to give; on the primary, if it refuses with an error that may be its own (a conflict with
 * recovery, a table that has not arrived yet).
 *
 * The unit may begin a read-only transaction: then that is standby-transaction.ts's from the answer on, and begins again
 * with the unit, where that has to run again.
 *
 *     wait in the standby's pool ─▶ sent ─▶ replies, held while an error may follow ─▶ answered ─▶ given back
 *          │ none to be had           │ lost      │ refused          │ lost: an ERROR, and the session goes on
 *          ▼                          ▼           ▼
 *       elsewhere                 elsewhere    the primary
 */
import { assert } from "../../base/assert.ts";
import type { Failure } from "../../base/errors.ts";
import type { Pool } from "../../pool/pool.ts";
import { repliesPendingBytesMax, type Server, type ServerOwner } from "../../pool/server.ts";
import type { Waiter } from "../../pool/waiters.ts";
import { Backend, headerBytes, TransactionStatus } from "../../wire/constants.ts";
import { sqlstateOf } from "../../wire/fields.ts";
import type { ReadLoad } from "../context.ts";
import { leaveServer, rollBack } from "../handover.ts";
import type { SharingParts } from "./shared-unit.ts";

/**
 * Classes of errors that a primary may not have: cancelled for recovery (40001), refused during recovery (25006, 0A000),
 * names that replication has not brought yet (42, 3F), no resources, a broken node.
 */
const standbysOwn = /^(?:40|25|0A|42|3F|53|58|XX)/;

/** What may come before it is known whether a statement fails, with types of messages that are small. */
const undecided: ReadonlySet<number> = new Set([
  Backend.parseComplete,
  Backend.bindComplete,
  Backend.parameterDescription,
  Backend.noData,
  Backend.rowDescription,
]);

/** What the session does when its read has an end. */
export interface ReadingClient {
  onReadDone(): void;
  /** The unit runs again: not on `pool`, which is of no use now. */
  readElsewhere(pool: Pool): void;
  /** The unit runs again, and not on a standby. */
  readOnPrimary(): void;
  /** The server is gone after a part of the reply; `torn`: in the middle of a message. */
  onReadLost(failure: Failure, torn: boolean, rest: "nothing"): void;
  /** The unit is answered, and has begun a transaction that goes on there. */
  onTransactionBegun(pool: Pool, server: Server): void;
  /** The same, but the server is gone. */
  onTransactionLost(failure: Failure): void;
  onLongWait(): void;
  /** Does what is the client's own business, and no fault of who calls. */
  guarded(act: () => void): void;
}

export class StandbyRead implements Waiter, ServerOwner {
  readonly #client: ReadingClient;
  readonly #parts: SharingParts;
  #pool: Pool | undefined;
  #server: Server | undefined;
  #load: ReadLoad | undefined;
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
    return this.#server;
  }

  get queryWaitTimeoutMs(): number | undefined {
    return this.#parts.queryWaitTimeoutMs;
  }

  /** Runs the gathered unit on a server of `pool`, now or later. */
  start(pool: Pool, load: ReadLoad): void {
    assert(this.#pool === undefined, "a client reads one unit at a time");
    this.#pool = pool;
    this.#load = load;
    load.outstanding++;
    this.#startedMs = this.#parts.clock.now();
    this.#relayed = false;
    this.#canceled = false;
    this.#refused = false;
    this.#answered = false;
    this.#held = [];
    const server = pool.lease(this);
    if (server !== undefined) this.#take(server);
    else if (this.active) this.#parts.activity.waitStartMs = this.#parts.clock.now();
  }

  async cancel(): Promise<void> {
    const server = this.#server;
    this.#canceled = true;
    if (server !== undefined && !server.replies.settled) await this.#pool?.cancel(server);
  }

  /** Takes the unit out of the queue. False: it is not there. */
  withdraw(): boolean {
    if (this.#pool === undefined || this.#server !== undefined) return false;
    this.#pool.cancelWait(this);
    this.#leavePool();
    return true;
  }

  /** The client is gone. `stops`: what runs is cancelled. */
  leave(stops: boolean): void {
    if (this.withdraw()) return;
    const [pool, server] = this.#end();
    if (server.closed) return;
    leaveServer(pool, server, { reason: "client is gone", resets: false, unfinished: false, stops });
  }

  /** The client's socket takes bytes again. */
  onDrain(): void {
    if (this.#server?.transport.paused === true) this.#server.transport.resume();
  }

  // ---- from the pool ----

  onLeased(server: Server): void {
    this.#client.guarded(() => this.#take(server));
  }

  #take(server: Server): void {
    assert(server.owner === undefined, "a server has one owner at a time");
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

  /** The standby has no server to give: others may. */
  onLeaseFailed(): void {
    const pool = this.#pool;
    assert(pool !== undefined, "only who waits is told that it waits in vain");
    this.#leavePool();
    this.#client.readElsewhere(pool);
  }

  onLongWait(): void {
    this.#client.onLongWait();
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
    if (this.#refused || this.#answered || (!this.#relayed && this.#holds(bytes))) return true;
    return this.#relay(bytes, server);
  }

  /** Whether it is not known yet if the standby's answer will do, or it will not. */
  #holds(bytes: Buffer): boolean {
    let at = 0;
    for (; at + headerBytes <= bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
      const type = bytes[at] as number;
      if (undecided.has(type)) continue;
      this.#refused = type === Backend.errorResponse && !this.#canceled && this.#isOwn(bytes, at);
      return this.#refused;
    }
    // What comes behind the part of a message is no message.
    if (at !== bytes.length) return false;
    this.#held.push(Buffer.from(bytes));
    return true;
  }

  #isOwn(bytes: Buffer, at: number): boolean {
    const end = at + 1 + bytes.readInt32BE(at + 1);
    return end <= bytes.length && standbysOwn.test(sqlstateOf(bytes, at, end));
  }

  #relay(bytes: Buffer, server: Server): boolean {
    const { transport } = this.#parts;
    for (const held of this.#held) transport.write(held);
    this.#held = [];
    this.#relayed = true;
    if (transport.write(bytes)) return true;
    if (transport.pendingBytes > repliesPendingBytesMax) server.transport.pause();
    return false;
  }

  onWords(message: Buffer): Buffer | undefined {
    const server = this.#server;
    if (server === undefined) return message;
    // Its last words are about a connection that the client does not have.
    if (server.dying) return undefined;
    const words = this.#parts.sender.rewordShared(server, message);
    this.#refused ||= words === undefined;
    return words;
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
    const [pool, server] = this.#end();
    const nowMs = this.#parts.clock.now();
    this.#load?.latency.note(nowMs - this.#startedMs, nowMs);
    if (this.#begins && !refused && server.replies.status !== TransactionStatus.idle) {
      this.#keepOpening(server.replies.status === TransactionStatus.inTransaction);
      this.#close(nowMs, server.replies.status as TransactionStatus);
      this.#client.onTransactionBegun(pool, server);
      return;
    }
    if (server.clean) pool.release(server, false, nowMs);
    else if (this.#begins) rollBack(pool, server);
    else pool.discard(server, "a read has left a transaction open");
    if (refused) this.#runOnPrimary();
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

  /** The standby does not take the client's settings. */
  #again(): void {
    const [pool, server] = this.#end();
    pool.discard(server, "a read could not run as it should");
    this.#runOnPrimary();
  }

  #runOnPrimary(): void {
    this.#runsAgain();
    this.#client.readOnPrimary();
  }

  #runsAgain(): void {
    this.#parts.sender.reset();
    if (this.#begins) {
      const { heldBegin, reports } = this.#parts.auto;
      reports.restore();
      heldBegin.restore();
    }
    this.#begins = false;
  }

  /** What was begun is gone with the server. */
  #failTransaction(): void {
    if (!this.#begins) return;
    const { heldBegin, reports } = this.#parts.auto;
    reports.restore();
    heldBegin.restore();
    heldBegin.fail();
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
    if (server.transport.paused) server.transport.resume();
    return [pool, server];
  }
}
