/**
 * Which server a brief, shareable unit goes to, and the queue of those that find none.
 *
 *     1  a server that is shared already, if what is ahead there is done sooner than another server would wake up
 *     2  an idle server, which is shared from now on
 *     3  a shared server that still has less ahead than a brief statement may take
 *     4  the queue: what is not sent can still go anywhere
 *
 * That is decided at the end of the turn of the event loop in which the units have come, when all of them are known and
 * the replies of that turn have made room: so each server gets its share in one write.
 *
 * With `multiplex_coalesce`, a unit that is the same as one in the queue does not stand there itself: the one runs for both. Its
 * snapshot is then younger than either's request, as if both had been sent at that moment.
 *
 * What is sent stays where it is, unless the unit in front turns out to be blocked: as soon as another server can be had, those behind
 * it are sent there. Where none can, they have their turn as soon where they are as anywhere.
 *
 * To the pool this is one client among others: it leases servers, waits in the pool's queue when it needs one, and
 * gives each back as soon as it has nothing to do. While others wait in that queue, as many shared servers as they are
 * get no new units until they are free. So nobody starves: neither those who need a server for themselves nor those
 * who share.
 */
import type { Clock } from "../base/clock.ts";
import { Deque } from "../base/deque.ts";
import type { Failure } from "../base/errors.ts";
import { atTurnEnd, countTurn, type TurnEnding, turnNumber } from "../base/turn-writes.ts";
import { queryWaitTimeout, tooManyWaiting } from "./failures.ts";
import type { Pool } from "./pool.ts";
import type { RoundTrip } from "./round-trip.ts";
import type { Server } from "./server.ts";
import {
  SharedServer,
  type SharedServerEnvironment,
  type SharedServerListener,
  type Sharer,
} from "./shared-server.ts";
import type { Waiter } from "./waiters.ts";

/** A client with a unit that may share. */
export interface Candidate extends Sharer {
  /** It has come to stand in the queue, since `sinceMs`. */
  onQueued(sinceMs: number): void;
  /** Its own limit on the wait; undefined: that of the pool. */
  readonly queryWaitTimeoutMs: number | undefined;
  /** Equal for units that may be the same; undefined: it is the same as none. */
  readonly sameKey: string | undefined;
  /** Waits for the replies to `leader`. False: the two are not the same. */
  follow(leader: Candidate): boolean;
  /** It cannot share now: it has to lease a server as any other unit does. */
  onRefused(): void;
  /** It gets a server for itself, since the one that came does not fit. */
  onLeased(server: Server): void;
  onLeaseFailed(failure: Failure): void;
  onLongWait(): void;
}

/** Where the servers are. */
export interface MultiplexerPlace {
  readonly roundTrip: RoundTrip;
  /** Units may run on another node instead: what is not sent goes there when this one may not be what it was. */
  readonly onStandby: boolean;
}

/** What is ahead in a pipeline may take this long before another server is woken, or as long as our own turn took. */
const joinMsMin = 0.3;
/** Units in one pipeline. */
const depthMax = 64;

interface Queued {
  readonly candidate: Candidate;
  readonly sinceMs: number;
  readonly sameKey: string | undefined;
}

/** What operators see of it. */
export interface MultiplexCounts {
  /** Units that went into a pipeline, and those of them that found others in it. */
  units: number;
  joined: number;
  /** Units that got a server for themselves, those of a transaction as one. */
  alone: number;
  queued: number;
  /** Units that were answered with the replies to the same one, or were to be. */
  coalesced: number;
  /** Units that had to be run again. */
  returned: number;
  depthMax: number;
}

export class Multiplexer implements Waiter, SharedServerListener, TurnEnding {
  readonly counts: MultiplexCounts = {
    units: 0,
    joined: 0,
    alone: 0,
    queued: 0,
    coalesced: 0,
    returned: 0,
    depthMax: 0,
  };
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #shared: SharedServer[] = [];
  /** What is needed to share a server is made once for each. */
  readonly #known = new WeakMap<Server, SharedServer>();
  /** Those that have come in this turn of the event loop; its end says where they go. */
  readonly #arrived: (Candidate | undefined)[] = [];
  #arrivedCount = 0;
  /** The end of the turn is asked for; it is at hand. */
  #turnDue = false;
  #placing = false;
  /** The turn of which something was seen last, and when that was. */
  #turn = -1;
  #turnMs = 0;
  /** What may be ahead in the pipeline that a unit of this turn joins. */
  #joinMsMax = joinMsMin;
  readonly #queue = new Deque<Queued>();
  /** Those in the queue for which others may wait. */
  readonly #leaders = new Map<string, Candidate>();
  /** Stands in the pool's queue. */
  #waiting = false;
  /** Units are held up behind a blocked one, and a server would help them. */
  #seeksForHeldUp = false;
  readonly roundTrip: RoundTrip;
  readonly #environment: SharedServerEnvironment;

  constructor(pool: Pool, clock: Clock, { roundTrip, onStandby }: MultiplexerPlace) {
    this.#pool = pool;
    this.#clock = clock;
    this.roundTrip = roundTrip;
    this.#environment = {
      cancel: (server) => pool.cancel(server),
      turnMs: () => this.#noteTurn(),
      limitMs: () => this.limitMs,
      roundTrip,
      onStandby,
    };
    pool.unsent = this;
  }

  /** The database's units may share (`multiplex`). */
  get enabled(): boolean {
    return this.#pool.settings.multiplex;
  }

  /** What brief statements need less than, and so the work that may be ahead in a pipeline. */
  get limitMs(): number {
    return this.#pool.settings.multiplexLatencyMs;
  }

  /** Units that wait for a server: all of them behind one place in the pool's queue. */
  get clientsCount(): number {
    return this.#queue.length;
  }

  /** Servers that are shared now. */
  get servers(): readonly SharedServer[] {
    return this.#shared;
  }

  /**
   * Takes the unit, to be sent at the end of this turn or later. False: it cannot share now; the client has to lease a
   * server as for any other unit.
   */
  submit(candidate: Candidate): boolean {
    if (!this.#pool.handsOut) return false;
    this.#arrived[this.#arrivedCount++] = candidate;
    this.#askForTurnEnd();
    return true;
  }

  /** The unit of `candidate` is wanted no more, if it is still in the queue. Returns whether it was. */
  withdraw(candidate: Candidate): boolean {
    const index = this.#arrived.indexOf(candidate);
    if (index >= 0) {
      this.#arrived[index] = undefined;
      return true;
    }
    for (const queued of this.#queue) {
      if (queued.candidate !== candidate) continue;
      this.#queue.remove(queued);
      this.#taken(queued);
      this.#stopWaiting();
      return true;
    }
    return false;
  }

  /** Shared servers that get nothing more, because the unit in front takes longer than it should. */
  get stuckCount(): number {
    const nowMs = this.#clock.now();
    return this.#shared.filter((shared) => shared.stuck(nowMs)).length;
  }

  /** Limits of time of those that wait in the queue, and those that are held up. */
  tick(): void {
    const nowMs = this.#clock.now();
    for (const queued of [...this.#queue]) {
      const limitMs = queued.candidate.queryWaitTimeoutMs ?? this.#pool.settings.queryWaitTimeoutMs;
      if (limitMs === 0 || nowMs - queued.sinceMs < limitMs) continue;
      this.#queue.remove(queued);
      this.#taken(queued);
      queued.candidate.onLeaseFailed(queryWaitTimeout());
    }
    this.#helpHeldUp(nowMs);
    this.#stopWaiting();
  }

  /** Those who were sent behind a blocked unit run elsewhere: where there is room, or on a server that is asked for. */
  #helpHeldUp(nowMs: number): void {
    let seeks = false;
    for (const shared of this.#shared) {
      shared.look(nowMs);
      const first = shared.heldUp;
      if (first === undefined || !this.#pool.handsOut) continue;
      // All behind it have the same settings: those of the server.
      if (this.#find(first, this.limitMs, nowMs) !== undefined) shared.returnHeldUp();
      else seeks = true;
    }
    this.#seeksForHeldUp = seeks;
    if (seeks) this.#wait();
  }

  // ---- from the pool ----

  onLeased(server: Server): void {
    this.#waiting = false;
    const first = this.#queue.peekFirst();
    if (first !== undefined && !first.candidate.fits(server)) {
      this.#queue.shift();
      this.#taken(first);
      first.candidate.onLeased(server);
      if (this.#queue.length > 0) this.#wait();
      return;
    }
    if (this.#seeksForHeldUp) for (const shared of this.#shared) shared.returnHeldUp();
    this.#seeksForHeldUp = false;
    const shared = this.#share(server);
    // What waits is sent, so much as fits, whoever waits for the next turn.
    if (this.#placing) this.#fill(shared);
    else this.#askForTurnEnd();
  }

  onLeaseFailed(failure: Failure): void {
    this.#waiting = false;
    if (failure.code === queryWaitTimeout().code) {
      // The place in the pool's queue has grown old, not the units: those have their own times.
      this.tick();
      if (this.#queue.length > 0) this.#wait();
      return;
    }
    // The pool's queue is full; what is shared already serves this one.
    if (failure.code === tooManyWaiting().code && this.#shared.length > 0) return;
    this.#failQueue(failure);
  }

  onLongWait(): void {
    for (const { candidate } of this.#queue) candidate.onLongWait();
  }

  /** What is not sent is not to be sent here. */
  sendAway(failure: Failure): void {
    const arrived = this.#arrived.slice(0, this.#arrivedCount);
    this.#arrived.fill(undefined, 0, this.#arrivedCount);
    this.#failQueue(failure);
    for (const candidate of arrived) candidate?.onLeaseFailed(failure);
  }

  #failQueue(failure: Failure): void {
    const queued = [...this.#queue];
    this.#queue.clear();
    this.#leaders.clear();
    this.#stopWaiting();
    for (const { candidate } of queued) candidate.onLeaseFailed(failure);
  }

  // ---- from shared servers ----

  onRoom(shared: SharedServer): void {
    if (!this.#shared.includes(shared)) return;
    // Leased in this turn: whoever waits here gets it first, at the end of the turn.
    if (shared.fresh) return;
    const wanted = this.#others > this.#drainingCount || this.#pool.isAwaited(shared.server);
    if (!shared.draining && wanted) shared.draining = true;
    const feeds = !shared.draining && (this.#queue.length > 0 || this.#arrivedCount > 0);
    // It is filled when all that has come is known, so that it gets it in one write.
    if (feeds) this.#askForTurnEnd();
    else if (shared.depth === 0) this.#giveBack(shared);
  }

  onGone(shared: SharedServer, failure: Failure): void {
    this.#forget(shared);
    // A standby that has been started again may show less than it did.
    if (this.#environment.onStandby) this.sendAway(failure);
    else if (this.#queue.length > 0) this.#wait();
  }

  // ---- at the end of a turn ----

  /** Everything that has come is known: it is sent, each server's in one write. */
  onTurnEnd(): void {
    this.#turnDue = false;
    this.#placing = true;
    // Replies that come before our next turn wait for it anyway.
    const nowMs = this.#clock.now();
    const spentMs = this.#turn === turnNumber() ? nowMs - this.#turnMs : 0;
    this.#joinMsMax = Math.min(this.limitMs, Math.max(joinMsMin, spentMs));
    for (const shared of this.#shared) {
      if (this.#queue.length === 0) break;
      if (!shared.draining) this.#feed(shared, nowMs);
    }
    for (let i = 0; i < this.#arrivedCount; i++) {
      const candidate = this.#arrived[i];
      this.#arrived[i] = undefined;
      if (candidate !== undefined && !this.#place(candidate, nowMs)) candidate.onRefused();
    }
    this.#arrivedCount = 0;
    this.#placing = false;
    // Before the replies to clients: servers work while those are written.
    for (const shared of this.#shared) shared.server.transport.sendTurn();
    // From the last one: those that are given back leave the list.
    for (let i = this.#shared.length - 1; i >= 0; i--) {
      const shared = this.#shared[i];
      if (shared !== undefined && shared.depth === 0) this.#giveBack(shared);
    }
  }

  /**
   * When the turn began, as far as is seen here. How long a server took is told by that, not by when its replies are
   * come to: else a turn with much to do would make every statement look slow, and more servers be woken for it.
   */
  #noteTurn(): number {
    const turn = turnNumber();
    if (turn !== this.#turn) {
      this.#turn = turn;
      this.#turnMs = this.#clock.now();
      // Replies that nobody is told of, or that are long, leave nothing for its end; and the next turn is another one.
      countTurn();
    }
    return this.#turnMs;
  }

  #askForTurnEnd(): void {
    this.#noteTurn();
    if (this.#turnDue) return;
    this.#turnDue = true;
    atTurnEnd(this);
  }

  /** Sends the unit, or keeps it until it can be sent. False: it has to find another way. */
  #place(candidate: Candidate, nowMs: number): boolean {
    if (!this.#pool.handsOut) return false;
    if (this.#queue.length > 0) return this.#enqueue(candidate);
    const near = this.#find(candidate, this.#joinMsMax, this.#turnMs);
    if (near !== undefined) {
      this.#send(near, candidate, nowMs);
      return true;
    }
    const idle = this.#pool.nextIdle;
    if (idle !== undefined) {
      // One with other settings is as good, once they are changed: not here.
      if (!idle.fit || !candidate.fits(idle)) return false;
      return this.#enqueue(candidate);
    }
    const far = this.#find(candidate, this.limitMs, this.#turnMs);
    if (far === undefined) return this.#enqueue(candidate);
    this.#send(far, candidate, nowMs);
    return true;
  }

  #fill(shared: SharedServer): void {
    this.#feed(shared, this.#clock.now());
    this.onRoom(shared);
    if (this.#queue.length > 0) this.#wait();
  }

  // ---- within ----

  /** Clients that wait in the pool's queue for a server of their own. */
  get #others(): number {
    return this.#pool.queue.size - (this.#waiting ? 1 : 0);
  }

  /** Servers that will be free soon; who knows when one will be that is stuck? */
  get #drainingCount(): number {
    let count = 0;
    for (const shared of this.#shared) if (shared.draining && !shared.stuck(this.#turnMs)) count++;
    return count;
  }

  /** The first server, in the order in which they came, that has less than this ahead; so few of them are busy. */
  #find(candidate: Sharer, backlogMsMax: number, atMs: number): SharedServer | undefined {
    for (const shared of this.#shared) {
      if (shared.backlogMs > backlogMsMax || shared.depth >= depthMax || !shared.open) continue;
      if (shared.stuck(atMs) || !candidate.fits(shared.server)) continue;
      return shared;
    }
    return undefined;
  }

  #share(server: Server): SharedServer {
    let shared = this.#known.get(server);
    if (shared === undefined) {
      shared = new SharedServer(server, this, this.#environment);
      this.#known.set(server, shared);
    }
    shared.begin();
    this.#shared.push(shared);
    return shared;
  }

  #forget(shared: SharedServer): void {
    const index = this.#shared.indexOf(shared);
    if (index >= 0) this.#shared.splice(index, 1);
  }

  #giveBack(shared: SharedServer): void {
    if (shared.server.closed) return;
    this.#forget(shared);
    shared.server.owner = undefined;
    this.#pool.release(shared.server, false);
    // Where the pool's queue was full there was no place in it: now there may be.
    if (this.#queue.length > 0) this.#wait();
  }

  #send(shared: SharedServer, candidate: Candidate, nowMs: number): void {
    const { counts } = this;
    counts.units++;
    if (shared.depth > 0) counts.joined++;
    shared.add(candidate, nowMs);
    if (shared.depth > counts.depthMax) counts.depthMax = shared.depth;
  }

  #feed(shared: SharedServer, nowMs: number): void {
    const { limitMs } = this;
    const turnMs = this.#turnMs;
    while (shared.open && shared.depth < depthMax && shared.backlogMs < limitMs) {
      const first = this.#queue.peekFirst();
      if (first === undefined || shared.stuck(turnMs) || !first.candidate.fits(shared.server)) break;
      this.#queue.shift();
      this.#taken(first);
      this.#send(shared, first.candidate, nowMs);
    }
    this.#stopWaiting();
  }

  /** False: the queue is as long as it may be. */
  #enqueue(candidate: Candidate): boolean {
    const { waitingMax, multiplexCoalesce } = this.#pool.settings;
    const sameKey = multiplexCoalesce ? candidate.sameKey : undefined;
    if (sameKey !== undefined) {
      const leader = this.#leaders.get(sameKey);
      if (leader !== undefined && candidate.follow(leader)) {
        this.counts.coalesced++;
        return true;
      }
    }
    if (waitingMax > 0 && this.#queue.length >= waitingMax) return false;
    this.counts.queued++;
    if (sameKey !== undefined) this.#leaders.set(sameKey, candidate);
    const sinceMs = this.#clock.now();
    this.#queue.push({ candidate, sinceMs, sameKey });
    this.#wait();
    if (this.#waiting) candidate.onQueued(sinceMs);
    return true;
  }

  /** It is in the queue no more: from now on nobody may wait for it. */
  #taken({ candidate, sameKey }: Queued): void {
    if (sameKey !== undefined && this.#leaders.get(sameKey) === candidate) this.#leaders.delete(sameKey);
  }

  /** One place in the pool's queue, for whoever is first here. */
  #wait(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    const server = this.#pool.lease(this);
    if (server !== undefined) this.onLeased(server);
  }

  #stopWaiting(): void {
    if (!this.#waiting || this.#queue.length > 0 || this.#seeksForHeldUp) return;
    this.#waiting = false;
    this.#pool.cancelWait(this);
  }
}
