/**
 * One client's unit while it shares a server with units of others (pool/multiplexer.ts). The client itself holds no
 * server meanwhile; its unit is kept until it is answered, because it may have to be run again.
 */
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/errors.ts";
import type { Transport } from "../../base/transport.ts";
import type { Candidate, Multiplexer } from "../../pool/multiplexer.ts";
import { Pace } from "../../pool/pace.ts";
import { repliesPendingBytesMax, type Server } from "../../pool/server.ts";
import type { SharedServer } from "../../pool/shared-server.ts";
import { TransactionStatus } from "../../wire/constants.ts";
import type { Activity } from "../activity.ts";
import type { Gathering } from "../gathering.ts";
import type { Output } from "../output.ts";
import type { Requests } from "../requests.ts";
import type { AutoSession } from "./auto.ts";

/** The parts of the client's session that send and account for its unit. */
export interface SharingParts {
  readonly auto: AutoSession;
  readonly gathering: Gathering;
  readonly requests: Requests;
  readonly output: Output;
  readonly activity: Activity;
  readonly transport: Transport;
  readonly clock: Clock;
  /** The user's own; undefined: the pool's counts. Fixed when the client logs in. */
  readonly queryWaitTimeoutMs: number | undefined;
}

/** What the session does when its unit has an end. */
export interface SharingClient {
  /** All is answered. */
  onSharedDone(): void;
  /** The unit cannot share: it needs a server for itself, this one or another. */
  leaseAlone(server: Server | undefined): void;
  onLeaseFailed(failure: Failure): void;
  onLongWait(): void;
  /** The server is gone after a part of the reply. */
  onServerLost(failure: Failure): void;
}

/** A unit that was returned so often runs on a server of its own. */
const returnsMax = 2;
const none = new Pace();

export class SharedUnit implements Candidate {
  pace: Pace = none;
  readonly #client: SharingClient;
  readonly #parts: SharingParts;
  readonly #multiplexer: Multiplexer;
  #shared: SharedServer | undefined;
  #queued = false;
  #returns = 0;
  /** The unit runs alone, and how long it takes is of interest. */
  #observes = false;
  #aloneSinceMs = 0;
  #aloneBytes = 0;

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
  start(): boolean {
    const { unit } = this.#parts.gathering;
    const pace = unit === undefined ? undefined : this.#parts.auto.shares(unit);
    if (pace === undefined) return false;
    this.pace = pace;
    this.#returns = 0;
    if (pace.brief && this.#multiplexer.enabled && this.#submit()) return true;
    this.#observes = true;
    return false;
  }

  /** The unit is sent to a server that it has for itself. */
  beginAlone(nowMs: number): void {
    this.#aloneSinceMs = nowMs;
    this.#aloneBytes = 0;
  }

  countAlone(bytes: number): void {
    this.#aloneBytes += bytes;
  }

  /** All is answered. */
  endAlone(nowMs: number): void {
    if (!this.#observes) return;
    this.#observes = false;
    this.pace.observe(nowMs - this.#aloneSinceMs, this.#aloneBytes);
  }

  /** Takes the unit out of the queue. False: it was not there. */
  withdraw(): boolean {
    if (!this.#queued) return false;
    this.#queued = false;
    return this.#multiplexer.withdraw(this);
  }

  async cancel(): Promise<void> {
    await this.#shared?.cancel(this);
  }

  /** The client is gone. */
  leave(): void {
    this.withdraw();
    const shared = this.#shared;
    this.#shared = undefined;
    shared?.abandon(this);
  }

  /** The client's socket takes bytes again. */
  onDrain(): void {
    this.#shared?.onSharerDrain();
  }

  // ---- from the multiplexer ----

  fits(server: Server): boolean {
    return this.#parts.auto.fits(server);
  }

  sendUnit(shared: SharedServer): void {
    this.#queued = false;
    this.#shared = shared;
    const { activity, clock, gathering, output, requests } = this.#parts;
    const { server } = shared;
    activity.assigned(clock, server);
    const { unit } = gathering;
    assert(unit !== undefined, "the unit is kept until it is answered");
    for (let i = 0; i < unit.length; i++) {
      requests.forward(server, unit.type(i), unit.buffer(i), unit.start(i), unit.end(i));
    }
    output.flush(server.transport);
  }

  onReplies(bytes: Buffer): boolean {
    return this.#parts.transport.write(bytes);
  }

  reword(message: Buffer): Buffer {
    return this.#parts.requests.reword(message);
  }

  onUnitDone(): void {
    this.#shared = undefined;
    const { activity, clock, gathering } = this.#parts;
    activity.settled(clock.now(), TransactionStatus.idle);
    gathering.forget();
    this.#client.onSharedDone();
  }

  onUnitReturned(): void {
    this.#shared = undefined;
    this.#multiplexer.counts.returned++;
    if (++this.#returns > returnsMax || !this.#submit()) this.#client.leaseAlone(undefined);
  }

  onUnitLost(failure: Failure): void {
    this.#shared = undefined;
    this.#client.onServerLost(failure);
  }

  onLeased(server: Server): void {
    this.#queued = false;
    this.#client.leaseAlone(server);
  }

  onLeaseFailed(failure: Failure): void {
    this.#queued = false;
    this.#client.onLeaseFailed(failure);
  }

  onLongWait(): void {
    this.#client.onLongWait();
  }

  #submit(): boolean {
    this.#queued = true;
    if (this.#multiplexer.submit(this)) return true;
    this.#queued = false;
    return false;
  }
}
