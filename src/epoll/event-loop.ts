/**
 * Waits for descriptors by an epoll of its own, with Node's event loop inside.
 *
 * libuv's loop waits on one descriptor, its epoll, which can be waited on by another (uv_backend_fd, "Embedding" in libuv's documentation). So while
 * descriptors are watched, the roles are changed: what waits is {@link EventLoop}, called by Node once, and whenever libuv has something to
 * do (its descriptor is ready, a timer or an immediate is due) it returns to Node and has itself called again by a byte
 * that it sends to a socket of its own, which Node reads.
 *
 *     Node ──(the byte)──▶ turn: wait ─▶ handle what is ready ─▶ ticks and promises ─▶ writes of the turn ─▶ closings ─┐
 *      ▲                           ▲                                                                                   │
 *      └──(libuv has to do)────────┴───────────────────────────────────────────────────────────────────────────────────┘
 *
 * What Node promises stays: ticks and promises run before anything waits, immediates and timers as libuv orders them. If nothing is
 * watched the loop is Node's, and ends as it would. What a handler throws reaches Node as from any callback, and the loop goes on.
 */
import net from "node:net";
import { ReadBuffer } from "../base/read-buffer.ts";
import { beginDrivenTurn, endDrivenTurn } from "../base/turn-writes.ts";
import {
  closeOnExec,
  epollAdd,
  epollCloseOnExec,
  epollDelete,
  epollIn,
  epollModify,
  eventBytes,
  eventDataOffset,
  nonBlocking,
  noSignal,
  streamSocket,
  unixDomain,
} from "./constants.ts";
import { GivingWay } from "./giving-way.ts";
import { JointSends } from "./joint-sends.ts";
import type { SystemCalls } from "./system-calls.ts";

/** Who hears of a descriptor. */
export interface Watcher {
  /** It is ready for some of what is watched, or has failed. */
  onReady(events: number): void;
}

/** Has something to do after everything that has come has been handled. */
export interface Closing {
  onTurnClosed(): void;
}

const eventsMax = 1024;
const eventWords = eventBytes / 4;
const dataWord = eventDataOffset / 4;
/** What streams read at once. */
const readBytes = 64 * 1024;

/** Runs what Node would run after a callback. */
const runTicks = (process as unknown as { _tickCallback?: () => void })._tickCallback;

export class EventLoop {
  readonly calls: SystemCalls;
  readonly #epoll: number;
  readonly #backend: number;
  /** By descriptor. */
  readonly #watchers: (Watcher | undefined)[] = [];
  #watched = 0;
  readonly #event = Buffer.alloc(eventBytes);
  readonly #events: Int32Array;
  readonly #eventsAddress: number;
  readonly reads: ReadBuffer = new ReadBuffer(readBytes);
  #readsAddress: number;
  #closings: Closing[] = [];
  #inTurn = false;
  /** Where the kernel has it. */
  readonly joint: JointSends | undefined;
  readonly #givingWay: GivingWay;
  /** What came in the last turn. */
  #handled = 0;
  /** Node will call. */
  #called = false;
  readonly #byte = Buffer.alloc(1);
  readonly #bell: number;
  readonly #bellSocket: net.Socket;

  private constructor(calls: SystemCalls, ticks: () => void) {
    this.calls = calls;
    this.#runTicks = ticks;
    this.joint = JointSends.create(calls);
    this.#givingWay = new GivingWay(calls.sched_yield, () => performance.now());
    this.#epoll = calls.epoll_create1(epollCloseOnExec);
    this.#backend = calls.backendDescriptor();
    const events = Buffer.allocUnsafeSlow(eventsMax * eventBytes);
    this.#events = new Int32Array(events.buffer, events.byteOffset, eventsMax * eventWords);
    this.#eventsAddress = calls.addressOf(events);
    this.#readsAddress = calls.addressOf(this.reads.bytes);
    const pair = Buffer.alloc(8);
    const made = calls.socketpair(unixDomain, streamSocket | nonBlocking | closeOnExec, 0, pair);
    if (this.#epoll < 0 || this.#backend < 0 || made < 0)
      throw new Error("the system has no descriptors left");
    this.#bell = pair.readInt32LE(4);
    this.#bellSocket = this.#listenToBell(pair.readInt32LE(0));
    this.#control(epollAdd, this.#backend, epollIn);
  }

  readonly #runTicks: () => void;

  /** Undefined where it cannot be had. */
  static create(calls: SystemCalls): EventLoop | undefined {
    return runTicks === undefined ? undefined : new EventLoop(calls, runTicks.bind(process));
  }

  /** Begins to watch. False: the descriptor cannot be watched. */
  watch(descriptor: number, watcher: Watcher, events: number): boolean {
    if (this.#control(epollAdd, descriptor, events) !== 0) return false;
    this.#watchers[descriptor] = watcher;
    this.#watched++;
    if (this.#watched === 1) this.#bellSocket.ref();
    if (!this.#inTurn) this.#ring();
    return true;
  }

  /** Changes what a watched descriptor is watched for. Nothing means not even failures, of which epoll would tell again and again. */
  change(descriptor: number, from: number, to: number): void {
    if (from === to) return;
    if (to === 0) this.#control(epollDelete, descriptor, 0);
    else this.#control(from === 0 ? epollAdd : epollModify, descriptor, to);
  }

  /** Its watcher hears nothing any more, also not of what has come in this turn. `events`: what it was watched for. */
  unwatch(descriptor: number, events: number): void {
    if (events !== 0) this.#control(epollDelete, descriptor, 0);
    this.#watchers[descriptor] = undefined;
    this.#watched--;
    if (this.#watched === 0) this.#bellSocket.unref();
  }

  /** Calls it when what has come in this turn has been handled; outside of a turn, soon. */
  atTurnClosed(closing: Closing): void {
    if (this.#closings.push(closing) === 1 && !this.#inTurn) setImmediate(() => this.#closeAll());
  }

  /** Reads into {@link reads}: what `recv` returns. */
  receive(descriptor: number): number {
    const { reads } = this;
    if (reads.retained) {
      reads.renew();
      this.#readsAddress = this.calls.addressOf(reads.bytes);
    }
    return this.calls.recv(descriptor, this.#readsAddress, readBytes, 0);
  }

  #control(operation: number, descriptor: number, events: number): number {
    this.#event.writeUInt32LE(events, 0);
    this.#event.writeInt32LE(descriptor, eventDataOffset);
    return this.calls.epoll_ctl(this.#epoll, operation, descriptor, this.#event);
  }

  #listenToBell(descriptor: number): net.Socket {
    const buffer = new Uint8Array(64);
    const callback = (): boolean => {
      this.#called = false;
      this.#run();
      return true;
    };
    const options = { fd: descriptor, readable: true, writable: false, onread: { buffer, callback } };
    const socket = new net.Socket(options);
    socket.resume();
    return socket.unref();
  }

  /** Has Node call again. */
  #ring(): void {
    if (this.#called) return;
    this.#called = true;
    this.calls.send(this.#bell, this.#byte, 1, noSignal);
  }

  #run(): void {
    try {
      while (this.#watched > 0 && this.#turn());
    } finally {
      this.#inTurn = false;
      if (this.#watched > 0) this.#ring();
      if (this.#closings.length > 0) setImmediate(() => this.#closeAll());
    }
  }

  /** False: Node has something to do. */
  #turn(): boolean {
    const { calls } = this;
    this.#givingWay.beforeWaiting(this.#handled);
    const timeoutMs = calls.backendTimeout();
    const count = calls.epoll_wait(this.#epoll, this.#eventsAddress, eventsMax, timeoutMs);
    this.#handled = count;
    let goesOn = count > 0 && timeoutMs !== 0;
    this.#inTurn = true;
    beginDrivenTurn(this.joint);
    try {
      for (let i = 0; i < count; i++) {
        const descriptor = this.#events[i * eventWords + dataWord] as number;
        if (descriptor === this.#backend) goesOn = false;
        else this.#watchers[descriptor]?.onReady(this.#events[i * eventWords] as number);
      }
      this.#runTicks();
    } finally {
      endDrivenTurn();
    }
    if (this.#closings.length > 0) this.#closeAll();
    this.#runTicks();
    this.#inTurn = false;
    return goesOn;
  }

  #closeAll(): void {
    const closings = this.#closings;
    this.#closings = [];
    let next = 0;
    try {
      while (next < closings.length) closings[next++]?.onTurnClosed();
    } finally {
      // What one of them throws must not keep the others open.
      if (next < closings.length) {
        this.#closings = closings.slice(next).concat(this.#closings);
        setImmediate(() => this.#closeAll());
      }
    }
  }
}
