/**
 * One client's unit while it shares a server with units of others (pool/multiplexer.ts). The client itself holds no
 * server meanwhile; its unit is kept until it is answered, because it may have to be run again: here, or on a standby wherever
 * standby-read.ts finds.
 */
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/errors.ts";
import type { Transport } from "../../base/transport.ts";
import { mistake } from "../../pool/failures.ts";
import type { Candidate, Multiplexer } from "../../pool/multiplexer.ts";
import { Pace } from "../../pool/pace.ts";
import { repliesPendingBytesMax, type Server } from "../../pool/server.ts";
import type { Returned, SharedServer } from "../../pool/shared-server.ts";
import { Backend, TransactionStatus } from "../../wire/constants.ts";
import type { Activity } from "../activity.ts";
import type { Gathering } from "../gathering.ts";
import type { Output } from "../output.ts";
import type { Requests } from "../requests.ts";
import type { UnitSender } from "../unit-sender.ts";
import type { AutoSession } from "./auto.ts";
import type { AutoClient } from "./client.ts";

/** The parts of the client's session that send and account for its unit. */
export interface SharingParts {
  readonly auto: AutoSession;
  readonly gathering: Gathering;
  readonly sender: UnitSender;
  readonly requests: Requests;
  readonly output: Output;
  readonly activity: Activity;
  readonly transport: Transport;
  readonly clock: Clock;
  /** The user's own; undefined: the pool's counts. Fixed when the client logs in. */
  readonly queryWaitTimeoutMs: number | undefined;
}

/** What is done when the unit has an end, by the session or by its read on a standby. */
export interface SharingClient {
  /** All is answered. */
  onSharedDone(): void;
  /** The unit cannot share: it needs a server for itself, this one or another. */
  leaseAlone(server: Server | undefined): void;
  /** Whether the client runs the unit elsewhere, which has to run again. */
  takesBack(why: Returned): boolean;
  onLeaseFailed(failure: Failure): void;
  onLongWait(): void;
  /** The unit cannot be sent. */
  onMistake(error: unknown): void;
  /** The server is gone after a part of the reply; `torn`: in the middle of a message. */
  onSharedLost(failure: Failure, torn: boolean): void;
}

/** A unit that was returned so often runs on a server of its own. */
const returnsMax = 2;
/** Longer units are not compared with others. */
const coalescedBytesMax = 2048;
/** Replies up to this are kept for those that follow; beyond it each asks for itself. */
const copiedBytesMax = 64 * 1024;
const none = new Pace();

export class SharedUnit implements Candidate {
  pace: Pace = none;
  readonly #client: SharingClient;
  readonly #parts: SharingParts;
  /** Of the pool that the unit runs in. */
  #multiplexer: Multiplexer;
  #shared: SharedServer | undefined;
  #queued = false;
  #returns = 0;
  /** The unit runs alone, and how long it takes is of interest. */
  #observes = false;
  #aloneSinceMs = 0;
  #aloneBytes = 0;
  /** The unit that is the same and runs for both, and units for which this one runs; none of either: undefined. */
  #leader: SharedUnit | undefined;
  #followers: SharedUnit[] | undefined;
  /** The replies, for those that follow. */
  #copies: Buffer[] | undefined;
  #copiedBytes = 0;

  constructor(client: SharingClient, parts: SharingParts, multiplexer: Multiplexer) {
    this.#client = client;
    this.#parts = parts;
    this.#multiplexer = multiplexer;
  }

  /** The server that has the unit. */
  get server(): Server | undefined {
    return this.#shared?.server;
  }

  /** In the multiplexer's hands. */
  get active(): boolean {
    return this.#queued || this.#shared !== undefined;
  }

  get queryWaitTimeoutMs(): number | undefined {
    return this.#parts.queryWaitTimeoutMs;
  }

  get congested(): boolean {
    return this.#parts.transport.pendingBytes > repliesPendingBytesMax;
  }

  /** Runs the gathered unit, now or later. False: it cannot share, or not now. */
  start(multiplexer: Multiplexer = this.#multiplexer): boolean {
    this.#multiplexer = multiplexer;
    this.#observes = false;
    const shares = multiplexer.enabled && this.#shares(multiplexer);
    if (!shares) multiplexer.counts.alone++;
    return shares;
  }

  #shares(multiplexer: Multiplexer): boolean {
    const { unit } = this.#parts.gathering;
    const pace = unit === undefined ? undefined : this.#parts.auto.shares(unit);
    if (pace === undefined) return false;
    this.pace = pace;
    this.#returns = 0;
    if (pace.isBrief(multiplexer.limitMs) && this.#submit()) return true;
    this.#observes = true;
    return false;
  }

  /** The unit is sent to a server that it has for itself. */
  beginAlone(clock: Clock): void {
    if (!this.#observes) return;
    this.#aloneSinceMs = clock.now();
    this.#aloneBytes = 0;
  }

  countAlone(bytes: number): void {
    if (this.#observes) this.#aloneBytes += bytes;
  }

  /** All is answered. */
  endAlone(nowMs: number): void {
    if (!this.#observes) return;
    this.#observes = false;
    const { roundTrip, limitMs } = this.#multiplexer;
    const ms = nowMs - this.#aloneSinceMs;
    roundTrip.answered(ms);
    const ownMs = roundTrip.without(ms);
    this.pace.observe(ownMs, this.#aloneBytes, limitMs);
    this.pace.observeAnswer(ownMs);
  }

  /** Takes the unit out of the queue, from behind another that runs for it, or from behind others in a pipeline. False: it was not there. */
  withdraw(): boolean {
    if (this.#shared?.withdraw(this) === true) {
      this.#shared = undefined;
      this.#parts.sender.leave();
      this.#dismissFollowers();
      return true;
    }
    if (!this.#queued) return false;
    this.#queued = false;
    if (this.#leader !== undefined) {
      this.#leader.#leave(this);
      this.#leader = undefined;
      return true;
    }
    const withdrawn = this.#multiplexer.withdraw(this);
    this.#dismissFollowers();
    return withdrawn;
  }

  async cancel(): Promise<void> {
    this.#dismissFollowers();
    await this.#shared?.cancel(this);
  }

  /** The client is gone. */
  leave(): void {
    const shared = this.#shared;
    this.#shared = undefined;
    shared?.abandon(this);
    this.withdraw();
    this.#dismissFollowers();
  }

  /** The client's socket takes bytes again. */
  onDrain(): void {
    this.#shared?.onSharerDrain();
  }

  // ---- from the multiplexer ----

  fits(server: Server): boolean {
    return this.#parts.auto.fits(server);
  }

  /** Equal for units that are the same, but for their clients' settings; undefined: it is not compared. */
  get sameKey(): string | undefined {
    const { unit } = this.#parts.gathering;
    // Statements that have names mean something else in each client.
    if (unit === undefined || unit.length !== 1 || unit.bytes > coalescedBytesMax) return undefined;
    return unit.buffer(0).toString("latin1", unit.start(0), unit.end(0));
  }

  /** Waits for the replies to `leader`, the same unit, which is not sent yet. False: it is not the same. */
  follow(leader: Candidate): boolean {
    if (!(leader instanceof SharedUnit)) return false;
    // The multiplexer sees to that; else the answer would be older than the question.
    assert(leader.#queued, "nobody follows a unit that was sent");
    const { auto, queryWaitTimeoutMs } = this.#parts;
    if (!haveSameSettings(auto.client, leader.#parts.auto.client)) return false;
    if (leader.queryWaitTimeoutMs !== queryWaitTimeoutMs) return false;
    this.#leader = leader;
    (leader.#followers ??= []).push(this);
    return true;
  }

  sendUnit(shared: SharedServer): void {
    this.#queued = false;
    this.#shared = shared;
    // There may be settings on it that nobody knows of, which only this client may see.
    if (shared.server.taintedBy !== undefined) this.#dismissFollowers();
    const { activity, clock, gathering, output, sender } = this.#parts;
    const { server } = shared;
    activity.assigned(clock, server);
    assert(gathering.unit !== undefined, "the unit is kept until it is answered");
    try {
      sender.sendShared(server);
      output.flush(server.transport);
    } catch (error) {
      this.#abort(shared, error);
    }
  }

  /** A part of the unit may be on its way: what is behind it would get its replies. Those clients are served elsewhere. */
  #abort(shared: SharedServer, error: unknown): void {
    this.#shared = undefined;
    shared.abandon(this);
    this.#parts.output.clear();
    shared.server.closeReason ??= "a shared unit was sent in part";
    shared.server.destroy(mistake(error));
    this.#client.onMistake(error);
  }

  onReplies(bytes: Buffer): boolean {
    if (this.#followers !== undefined) this.#copy(bytes);
    return this.#parts.transport.write(bytes);
  }

  reword(message: Buffer): Buffer | undefined {
    const server = this.#shared?.server;
    return server === undefined ? message : this.#parts.sender.rewordShared(server, message);
  }

  onUnitDone(): void {
    this.#shared = undefined;
    if (this.#followers !== undefined) this.#answerFollowers(this.#followers);
    this.#finish();
  }

  #finish(): void {
    const { activity, clock, gathering, sender } = this.#parts;
    activity.settled(clock.now(), TransactionStatus.idle);
    sender.end();
    gathering.forget();
    this.#client.onSharedDone();
  }

  onUnitReturned(why: Returned): void {
    this.#shared = undefined;
    this.#parts.sender.leave();
    this.#multiplexer.counts.returned++;
    this.#dismissFollowers();
    if (this.#client.takesBack(why)) return;
    const shares = !this.#parts.sender.partlyAnswered && ++this.#returns <= returnsMax;
    if (!shares || !this.#submit()) this.#client.leaseAlone(undefined);
  }

  onUnitLost(failure: Failure): void {
    const torn = this.#shared?.server.midReply === true;
    this.#shared = undefined;
    this.#dismissFollowers();
    this.#client.onSharedLost(failure, torn);
  }

  onQueued(sinceMs: number): void {
    this.#parts.activity.waitStartMs = sinceMs;
  }

  onRefused(): void {
    this.#queued = false;
    this.#multiplexer.counts.alone++;
    this.#observes = true;
    this.#client.leaseAlone(undefined);
  }

  onLeased(server: Server): void {
    this.#queued = false;
    this.#multiplexer.counts.alone++;
    this.#dismissFollowers();
    this.#client.leaseAlone(server);
  }

  onLeaseFailed(failure: Failure): void {
    this.#queued = false;
    this.#dismissFollowers();
    this.#client.onLeaseFailed(failure);
  }

  onLongWait(): void {
    this.#client.onLongWait();
    for (const follower of this.#followers ?? []) follower.#client.onLongWait();
  }

  // ---- units that are the same ----

  #copy(bytes: Buffer): void {
    this.#copiedBytes += bytes.length;
    if (this.#copiedBytes > copiedBytesMax) this.#dismissFollowers();
    else (this.#copies ??= []).push(Buffer.from(bytes));
  }

  #answerFollowers(followers: readonly SharedUnit[]): void {
    const replies = Buffer.concat(this.#copies ?? []);
    // An error may be meant for the server's one statement: somebody has cancelled it, perhaps.
    if (holdsError(replies)) {
      this.#dismissFollowers();
      return;
    }
    this.#forgetFollowers();
    for (const follower of followers) follower.#receive(replies);
  }

  /** As if the unit had run: its Query has made an end of the unnamed statement. */
  #receive(replies: Buffer): void {
    this.#queued = false;
    this.#leader = undefined;
    this.#parts.auto.onQueryAnswered();
    this.#parts.transport.write(replies);
    this.#finish();
  }

  /** What happens to this unit is not for those that follow: each asks for itself. */
  #dismissFollowers(): void {
    const followers = this.#followers;
    if (followers === undefined) return;
    this.#forgetFollowers();
    for (const follower of followers) follower.#runAlone();
  }

  #runAlone(): void {
    this.#leader = undefined;
    this.#queued = false;
    if (!this.#client.takesBack("again")) this.#client.leaseAlone(undefined);
  }

  #forgetFollowers(): void {
    this.#followers = undefined;
    this.#copies = undefined;
    this.#copiedBytes = 0;
  }

  #leave(follower: SharedUnit): void {
    const followers = this.#followers?.filter((one) => one !== follower);
    // What was kept of the replies is not for those who follow another unit of this client's.
    if (followers === undefined || followers.length === 0) this.#forgetFollowers();
    else this.#followers = followers;
  }

  #submit(): boolean {
    this.#queued = true;
    if (this.#multiplexer.submit(this)) return true;
    this.#queued = false;
    return false;
  }
}

/** Whether there is an ErrorResponse among whole messages. */
function holdsError(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += 1 + bytes.readUInt32BE(at + 1)) {
    if (bytes[at] === Backend.errorResponse) return true;
  }
  return false;
}

/** Two clients' reads of the same text are the same then. */
function haveSameSettings(one: AutoClient, other: AutoClient): boolean {
  return one.parameters.defaults === other.parameters.defaults && one.parameters.equals(other.parameters);
}
