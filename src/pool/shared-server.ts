/**
 * A server that works for several clients at once: their units stand in its pipeline one behind the other, and each
 * gets the replies to its own. To the server it is one owner; to the clients it is who sends their units and brings
 * the replies.
 *
 *     a: Query  b: Query  c: Query ─▶ server ─▶ replies … Z │ replies … Z │ replies … Z
 *                                                to a         to b          to c
 *
 * Units are plain reads outside of transactions, so any of them may be run again elsewhere as long as nothing of its
 * replies has reached its client: when the server is lost, when a cancel request of somebody else has hit it, when the
 * client in front does not take its replies, when the unit in front is blocked.
 */
import { assert } from "../base/assert.ts";
import { Deque } from "../base/deque.ts";
import type { Failure } from "../base/errors.ts";
import { Backend, TransactionStatus } from "../wire/constants.ts";
import { sqlstateOf } from "../wire/fields.ts";
import type { Pace } from "./pace.ts";
import type { RoundTrip } from "./round-trip.ts";
import type { Server, ServerOwner } from "./server.ts";
import { isStandbysOwnError, onlyAnnounces } from "./standby-replies.ts";

/**
 * Why a unit comes back: it is to be sent again, its server is lost, or what the server said will not do (`partly`: and the client has got
 * what came before).
 */
export type Returned = "again" | "lost" | "refused" | "partly";

/** A client with one unit. */
export interface Sharer {
  /** Of the unit's statement. */
  readonly pace: Pace;
  /** The server has the settings that the unit needs. */
  fits(server: Server): boolean;
  /** Sends the unit; nothing of it stays behind. Only the unit's own messages and what they need go out. */
  sendUnit(shared: SharedServer): void;
  /** Returns false if bytes of the buffer are still needed after the call. */
  onReplies(bytes: Buffer): boolean;
  /** An error or notice of the server for the client: as the client has to read it; undefined: the unit has to run again. */
  reword(message: Buffer): Buffer | undefined;
  /** The client's socket has more waiting in it than it should. */
  readonly congested: boolean;
  /** All is answered. */
  onUnitDone(): void;
  /** It has to run again: nothing more of it will be answered here. */
  onUnitReturned(why: Returned): void;
  /** The server is gone in the middle of the replies. */
  onUnitLost(failure: Failure): void;
}

/** One unit in the pipeline. Kept and used again. */
interface Place {
  /** Undefined: its client is gone, or it runs elsewhere; the replies are for nobody. */
  sharer: Sharer | undefined;
  sentAtMs: number;
  expectedMs: number;
  /** When it has been in front for so long, it is taken for blocked. */
  patienceMs: number;
  /** How often it was seen to be in front for longer. */
  seenLate: number;
  bytes: number;
  /** Something of the replies has reached the client. */
  relayed: boolean;
  /** The client wants it cancelled. */
  cancelAsked: boolean;
  /** A cancel request was on its way while it was in the pipeline: it may be hit by mistake. */
  endangered: boolean;
  /** It has to run again, and what is still to come is for nobody. */
  refused: boolean;
  /** Replies of an endangered unit, until it is known whether it was hit, or on a standby, until it is known whether they will do. */
  held: Buffer[] | undefined;
  heldBytes: number;
}

/** Held replies beyond this are passed on: brief statements have small results. */
const heldBytesMax = 256 * 1024;
const queryCanceled = "57014";
/** What each unit is expected to take at least: nothing is done in no time. */
const expectedMsMin = 0.02;
/** Nobody waits less for the unit in front: so long does it take to wake another server. */
const patienceMsMin = 0.3;
/** What is late in so many looks is blocked: in the turns between two of them everything that had come has been read. */
const lateLooks = 2;

/** What a shared server needs of those around it. */
export interface SharedServerEnvironment {
  readonly cancel: (server: Server) => Promise<void>;
  /** When this turn of the event loop began: what is read in it had come by then. */
  readonly turnMs: () => number;
  /** What brief statements need less than. */
  readonly limitMs: () => number;
  readonly roundTrip: RoundTrip;
  /** Units may run on another node instead, and have to where an error may be the server's own. */
  readonly onStandby: boolean;
}

export interface SharedServerListener {
  /** A unit is done, or returned: there may be room, or nothing left to do. */
  onRoom(shared: SharedServer): void;
  /** The connection is gone. */
  onGone(shared: SharedServer, failure: Failure): void;
}

export class SharedServer implements ServerOwner {
  readonly server: Server;
  /** What a standby reports is about itself, and for no client. */
  readonly reportsDue: ServerOwner["reportsDue"];
  readonly onNotification: ServerOwner["onNotification"];
  readonly #listener: SharedServerListener;
  readonly #cancel: (server: Server) => Promise<void>;
  readonly #turnMs: () => number;
  readonly #limitMs: () => number;
  readonly #roundTrip: RoundTrip;
  readonly #onStandby: boolean;
  readonly #places = new Deque<Place>();
  readonly #spare: Place[] = [];
  /** Expected time of everything in the pipeline. */
  #backlogMs = 0;
  /** When the unit in front began, as far as that can be seen. */
  #headSinceMs = 0;
  /** Units whose end was seen in the chunk at hand, and since when they have been running. */
  readonly #donePaces: Pace[] = [];
  readonly #doneBytes: number[] = [];
  #doneCount = 0;
  #doneSinceMs = 0;
  /** Gets no more units, because others need the server or it is not to be trusted. */
  draining = false;
  /** Has not been given a unit yet. */
  fresh = true;

  constructor(server: Server, listener: SharedServerListener, environment: SharedServerEnvironment) {
    this.server = server;
    this.#listener = listener;
    this.#cancel = environment.cancel;
    this.#turnMs = environment.turnMs;
    this.#limitMs = environment.limitMs;
    this.#roundTrip = environment.roundTrip;
    this.#onStandby = environment.onStandby;
    if (environment.onStandby) {
      this.reportsDue = () => undefined;
      this.onNotification = () => undefined;
    }
  }

  /** The server is leased, and shared from now on. */
  begin(): void {
    assert(
      this.#places.length === 0 && this.server.owner === undefined,
      "a server is given with nothing in it",
    );
    this.draining = false;
    this.fresh = true;
    this.server.owner = this;
    this.server.used = true;
  }

  /** Units that are not answered. */
  get depth(): number {
    return this.#places.length;
  }

  get backlogMs(): number {
    return this.#backlogMs;
  }

  /** May be given units now. */
  get open(): boolean {
    return !this.draining && this.server.closeReason === undefined && this.server.cancelsInFlight === 0;
  }

  /**
   * The unit in front is older than 99 of 100 of its kind were when they were answered: nobody should wait behind it. To be asked
   * at the end of a turn, with the time of its beginning: what had come by then has been read.
   */
  stuck(turnMs: number): boolean {
    const head = this.#places.peekFirst();
    return head !== undefined && turnMs - this.#atWorkSinceMs(head) > head.patienceMs;
  }

  /** To be called now and then, for {@link heldUp}. */
  look(nowMs: number): void {
    const head = this.#places.peekFirst();
    if (head !== undefined && this.stuck(nowMs)) head.seenLate++;
  }

  /** The first of those that were sent behind a unit that has turned out to be blocked. */
  get heldUp(): Sharer | undefined {
    const head = this.#places.peekFirst();
    if (head === undefined || head.seenLate < lateLooks) return undefined;
    for (const place of this.#places) if (place !== head && place.sharer !== undefined) return place.sharer;
    return undefined;
  }

  /** Has all of those run elsewhere. */
  returnHeldUp(): void {
    if (this.heldUp !== undefined) this.#returnFollowers();
  }

  add(sharer: Sharer, nowMs: number): void {
    const place = this.#spare.pop() ?? newPlace();
    this.fresh = false;
    place.sharer = sharer;
    place.sentAtMs = nowMs;
    place.expectedMs = Math.max(expectedMsMin, sharer.pace.fastMs);
    place.patienceMs = Math.max(patienceMsMin, sharer.pace.answeredMs);
    if (this.#places.length === 0) this.#headSinceMs = nowMs;
    this.#places.push(place);
    this.#backlogMs += place.expectedMs;
    sharer.sendUnit(this);
    // Replies that no server sends, and that nothing is before.
    const { replies } = this.server;
    if (this.#places.length === 1 && replies.hasSynthesised) this.onReplies(replies.takeSynthesised());
  }

  /** The client of `sharer` is gone: its replies are for nobody. */
  abandon(sharer: Sharer): void {
    const place = this.#placeOf(sharer);
    if (place === undefined) return;
    place.sharer = undefined;
    if (place === this.#places.peekFirst()) this.onSharerDrain();
  }

  /**
   * The client of `sharer` wants its unit cancelled, and need not wait until those in front of it are done. Whatever the server says to
   * it is for nobody; a request is sent when it is in front: before that it would hit another one. False: it is in front.
   */
  withdraw(sharer: Sharer): boolean {
    const place = this.#placeOf(sharer);
    if (place === undefined || place === this.#places.peekFirst()) return false;
    place.sharer = undefined;
    place.cancelAsked = true;
    return true;
  }

  /** The client of `sharer`, which is in front, wants its unit cancelled. Resolves when the request has been taken, or is of no use. */
  async cancel(sharer: Sharer): Promise<void> {
    const place = this.#places.peekFirst();
    if (place?.sharer !== sharer) return;
    place.cancelAsked = true;
    await this.#sendCancel();
  }

  /** The client in front takes bytes again. */
  onSharerDrain(): void {
    this.server.reading.resume();
  }

  // ---- from the server ----

  onReplies(bytes: Buffer): boolean {
    const place = this.#places.peekFirst();
    const sharer = place?.sharer;
    if (place === undefined || sharer === undefined || place.refused) return true;
    place.bytes += bytes.length;
    // Last words are for whoever finds out that the connection is gone.
    if (this.server.dying && !place.relayed) return true;
    if (!place.relayed && this.#waits(place, bytes) && this.#hold(place, bytes)) return true;
    return this.#relay(place, sharer, bytes);
  }

  /** Whether nothing can be said yet of replies with which a unit begins. */
  #waits(place: Place, bytes: Buffer): boolean {
    if (place.cancelAsked) return false;
    return place.endangered || (this.#onStandby && onlyAnnounces(bytes));
  }

  onWords(message: Buffer): Buffer | undefined {
    const place = this.#places.peekFirst();
    if (place?.sharer === undefined) return message;
    // Its last words are about a connection that the client does not have.
    if (this.#onStandby && this.server.dying) return undefined;
    const words = place.sharer.reword(message);
    place.refused ||= words === undefined || (this.#onStandby && mayBeStandbysOwn(place, message));
    return place.refused ? undefined : words;
  }

  /** A unit is answered, up to its ReadyForQuery. */
  onUnit(status: number): void {
    const place = this.#places.shift();
    assert(place !== undefined, "a unit that is answered was sent");
    // Its client may be slow still; the server has nothing more for it.
    this.server.reading.resume();
    this.#backlogMs = this.#places.length === 0 ? 0 : Math.max(0, this.#backlogMs - place.expectedMs);
    if (status !== TransactionStatus.idle) {
      // No plain read does that: whatever it was, the server is not what it is thought to be.
      this.server.closeReason ??= "a shared statement has opened a transaction";
      this.draining = true;
    }
    const { sharer } = place;
    if (sharer !== undefined) this.#finish(place, sharer);
    this.#giveBack(place);
    const next = this.#places.peekFirst();
    if (next?.cancelAsked === true) void this.#sendCancel();
  }

  onSettled(): void {
    // What is to be done at the end of a chunk is done then.
  }

  /** The server's chunk is over: now it is known how many units were answered in which time. */
  onChunk(): void {
    const count = this.#doneCount;
    if (count > 0) {
      this.#doneCount = 0;
      const seenMs = this.#turnMs();
      const allMs = Math.max(0, seenMs - this.#doneSinceMs);
      const limitMs = this.#limitMs();
      this.#donePaces[0]?.observeAnswer(allMs);
      for (let i = 0; i < count; i++)
        this.#donePaces[i]?.observe(allMs / count, this.#doneBytes[i] as number, limitMs);
      this.#headSinceMs = seenMs;
    }
    this.#listener.onRoom(this);
  }

  onParameter(): void {
    // No plain read changes a setting.
    this.server.closeReason ??= "a shared statement has changed a setting";
    this.draining = true;
  }

  onDropped(): void {
    this.onParameter();
  }

  onServerDrain(): void {
    // Small units: the kernel takes them, or they wait in the transport.
  }

  onServerLost(failure: Failure): void {
    this.draining = true;
    const places = [...this.#places];
    this.#places.clear();
    this.#listener.onGone(this, failure);
    for (const { sharer, relayed } of places) {
      if (relayed) sharer?.onUnitLost(failure);
      else sharer?.onUnitReturned("lost");
    }
  }

  // ---- within ----

  /** Since when it can be seen here that the server works for the unit in front: not before an answer could have come. */
  #atWorkSinceMs(head: Place): number {
    return Math.max(this.#headSinceMs, head.sentAtMs + this.#roundTrip.ms);
  }

  #relay(place: Place, sharer: Sharer, bytes: Buffer): boolean {
    if (place.held !== undefined) this.#relayHeld(place);
    place.relayed = true;
    const flushed = sharer.onReplies(bytes);
    if (!flushed && sharer.congested) {
      this.server.reading.stop();
      this.draining = true;
      this.#returnFollowers();
    }
    return flushed;
  }

  /** Keeps replies that may turn out to be an answer to somebody else's cancel request. False: it is too much. */
  #hold(place: Place, bytes: Buffer): boolean {
    const held = (place.held ??= []);
    if (place.heldBytes + bytes.length > heldBytesMax) {
      this.#relayHeld(place);
      return false;
    }
    held.push(Buffer.from(bytes));
    place.heldBytes += bytes.length;
    return true;
  }

  #relayHeld(place: Place): void {
    const { sharer, held } = place;
    place.held = undefined;
    if (sharer === undefined || held === undefined) return;
    for (const bytes of held) this.#relay(place, sharer, bytes);
  }

  #finish(place: Place, sharer: Sharer): void {
    if (place.endangered && place.held !== undefined && wasCanceled(place.held)) {
      sharer.onUnitReturned("again");
      return;
    }
    // Another node answers from the beginning on.
    if (!place.refused || !this.#onStandby) this.#relayHeld(place);
    if (place.refused) {
      sharer.onUnitReturned(place.relayed ? "partly" : "refused");
      return;
    }
    if (this.#doneCount === 0) this.#doneSinceMs = this.#atWorkSinceMs(place);
    this.#donePaces[this.#doneCount] = sharer.pace;
    this.#doneBytes[this.#doneCount] = place.bytes;
    this.#doneCount++;
    sharer.onUnitDone();
  }

  async #sendCancel(): Promise<void> {
    for (const place of this.#places) place.endangered = true;
    await this.#cancel(this.server);
    this.#listener.onRoom(this);
  }

  /** Nobody has to wait for the one in front. */
  #returnFollowers(): void {
    const returned: Sharer[] = [];
    let first = true;
    for (const place of this.#places) {
      if (!first && place.sharer !== undefined) {
        returned.push(place.sharer);
        place.sharer = undefined;
      }
      first = false;
    }
    for (const sharer of returned) sharer.onUnitReturned("again");
  }

  #placeOf(sharer: Sharer): Place | undefined {
    for (const place of this.#places) if (place.sharer === sharer) return place;
    return undefined;
  }

  #giveBack(place: Place): void {
    place.sharer = undefined;
    place.sentAtMs = 0;
    place.expectedMs = 0;
    place.patienceMs = 0;
    place.seenLate = 0;
    place.bytes = 0;
    place.relayed = false;
    place.cancelAsked = false;
    place.endangered = false;
    place.refused = false;
    place.held = undefined;
    place.heldBytes = 0;
    if (this.#spare.length < 64) this.#spare.push(place);
  }
}

function newPlace(): Place {
  return {
    sharer: undefined,
    sentAtMs: 0,
    expectedMs: 0,
    patienceMs: 0,
    seenLate: 0,
    bytes: 0,
    relayed: false,
    cancelAsked: false,
    endangered: false,
    refused: false,
    held: undefined,
    heldBytes: 0,
  };
}

/** Whether another node may answer without this error, and the client has neither seen anything nor asked for it. */
function mayBeStandbysOwn({ relayed, cancelAsked }: Place, message: Buffer): boolean {
  return !relayed && !cancelAsked && isStandbysOwnError(message);
}

/** Whether among the messages is the error of a cancelled statement. */
function wasCanceled(held: readonly Buffer[]): boolean {
  const bytes = held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held);
  for (let start = 0; start + 5 <= bytes.length; ) {
    const end = start + 1 + bytes.readUInt32BE(start + 1);
    if (bytes[start] === Backend.errorResponse) return sqlstateOf(bytes, start, end) === queryCanceled;
    start = end;
  }
  return false;
}
