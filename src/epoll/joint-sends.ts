/**
 * What a turn writes to many sockets goes to the kernel in one call, by io_uring (io_uring_enter(2)).
 *
 *     begin ─▶ each stream adds what it has in the arena ─▶ send: one call, in which all are written ─▶ who was not taken whole is told
 *
 * Every write is asked for with MSG_DONTWAIT, so it is made, or found impossible, within the call; it waits for all of them. So
 * nothing is on its way when the call has returned, and an address is needed no longer than that. Between two calls of
 * `send` a peer that was just woken takes the processor away; within one call none does.
 *
 * Where the kernel has no io_uring, or forbids it, there is none of this, and each stream sends for itself.
 */
import type { JointWrites } from "../base/turn-writes.ts";
import { dontWait, noSignal } from "./constants.ts";
import { againCode } from "./errors.ts";
import type { SystemCalls } from "./system-calls.ts";

/** Whose bytes are sent with those of others. */
export interface JointSender {
  /** They have been: `result` is what send(2) returns, or the negative number of its error. The chunk lies in the arena. */
  onJointSend(chunk: Buffer, result: number): void;
}

/** asm-generic/unistd.h; io_uring.h. */
const setupNumber = 425;
const enterNumber = 426;
const setupSubmitAll = 1 << 7;
const setupSingleIssuer = 1 << 12;
const setupDeferTaskrun = 1 << 13;
const featureSingleMmap = 1 << 0;
const enterGetEvents = 1 << 0;
const sendOperation = 26;
/** struct io_uring_params: its size, and where the offsets of both rings begin. */
const paramsBytes = 120;
const featuresOffset = 20;
const submissionOffsets = 40;
const completionOffsets = 80;
/** Where the entries are mapped from (IORING_OFF_SQES). */
const entriesOffset = 0x1000_0000;
const entryWords = 16;
const completionWords = 4;
/** mman.h: readable and writable; shared, and there from the beginning. */
const protection = 3;
const mapping = 0x8001;

/** A turn has no more places (base/turn-writes.ts). */
const entriesMax = 128;
const two32 = 0x1_0000_0000;

export class JointSends implements JointWrites {
  readonly #calls: SystemCalls;
  readonly #ring: number;
  readonly #words: Int32Array;
  readonly #entries: Int32Array;
  /** Words of the ring. */
  readonly #submissionTail: number;
  readonly #completionHead: number;
  readonly #completionTail: number;
  readonly #completionsAt: number;
  readonly #completionMask: number;
  #gathers = false;
  #arena: ArrayBufferLike | undefined;
  #arenaAddress = 0;
  #count = 0;
  /** How many were sent last, and how many of them have been told. */
  #sent = 0;
  #told = 0;
  readonly #senders: (JointSender | undefined)[] = [];
  readonly #chunks: (Buffer | undefined)[] = [];
  readonly #results = new Int32Array(entriesMax);

  private constructor(calls: SystemCalls, ring: number, params: Buffer) {
    this.#calls = calls;
    this.#ring = ring;
    const submission = (index: number): number => params.readUInt32LE(submissionOffsets + 4 * index) / 4;
    const completion = (index: number): number => params.readUInt32LE(completionOffsets + 4 * index) / 4;
    // As laid out by the kernel: head, tail, ring_mask, ring_entries, flags, dropped, array; head, tail, ring_mask, ring_entries, overflow, cqes.
    const array = submission(6);
    const words = Math.max(array + entriesMax, completion(5) + completionWords * 2 * entriesMax);
    this.#words = new Int32Array(this.#map(4 * words, 0));
    this.#entries = new Int32Array(this.#map(4 * entryWords * entriesMax, entriesOffset));
    this.#submissionTail = submission(1);
    this.#completionHead = completion(0);
    this.#completionTail = completion(1);
    this.#completionMask = this.#words[completion(2)] as number;
    this.#completionsAt = completion(5);
    for (let i = 0; i < entriesMax; i++) this.#words[array + i] = i;
  }

  /** Undefined where io_uring cannot be had. */
  static create(calls: SystemCalls): JointSends | undefined {
    const params = Buffer.alloc(paramsBytes);
    params.writeUInt32LE(setupSubmitAll | setupSingleIssuer | setupDeferTaskrun, 8);
    const ring = calls.syscall(setupNumber, entriesMax, calls.addressOf(params), 0, 0, 0, 0);
    if (ring < 0) return undefined;
    try {
      if ((params.readUInt32LE(featuresOffset) & featureSingleMmap) !== 0)
        return new JointSends(calls, ring, params);
    } catch {
      // Memory that may be locked, or mapped, is used up.
    }
    calls.close(ring);
    return undefined;
  }

  #map(bytes: number, offset: number): ArrayBuffer {
    const address = this.#calls.mmap(0, bytes, protection, mapping, this.#ring, offset);
    if (address < 0) throw new Error("no memory for a ring");
    return this.#calls.memoryAt(address, bytes);
  }

  /** From now on streams add instead of sending, if their bytes lie in this buffer. */
  begin(arena: Buffer): void {
    this.#tell();
    this.#gathers = true;
    if (this.#arena === arena.buffer) return;
    this.#arena = arena.buffer;
    this.#arenaAddress = this.#calls.addressOf(arena) - arena.byteOffset;
  }

  /** Whether `chunk` will be sent with the others. */
  add(sender: JointSender, descriptor: number, chunk: Buffer): boolean {
    if (!this.#gathers || chunk.buffer !== this.#arena || this.#count === entriesMax) return false;
    const index = this.#count++;
    const at = this.#slot(index);
    const address = this.#arenaAddress + chunk.byteOffset;
    const entries = this.#entries;
    entries[at] = sendOperation;
    entries[at + 1] = descriptor;
    entries[at + 4] = address | 0;
    entries[at + 5] = address / two32;
    entries[at + 6] = chunk.length;
    entries[at + 7] = noSignal | dontWait;
    entries[at + 8] = index;
    this.#senders[index] = sender;
    this.#chunks[index] = chunk;
    this.#results[index] = -againCode;
    return true;
  }

  #slot(index: number): number {
    return (((this.#words[this.#submissionTail] as number) + index) & (entriesMax - 1)) * entryWords;
  }

  /** Sends what was added, and tells what came of it: everybody has been told when it returns. */
  send(): void {
    this.#gathers = false;
    if (this.#count > 0) {
      this.#enter(this.#count);
      this.#told = 0;
      this.#sent = this.#count;
      this.#count = 0;
    }
    this.#tell();
  }

  /** Who is told may write, and so come here again: then the rest is told there. */
  #tell(): void {
    while (this.#told < this.#sent) {
      const index = this.#told++;
      const sender = this.#senders[index];
      const chunk = this.#chunks[index] as Buffer;
      this.#senders[index] = undefined;
      this.#chunks[index] = undefined;
      sender?.onJointSend(chunk, this.#results[index] as number);
    }
  }

  /** What the kernel does not begin with keeps its result: that it could not be taken now. */
  #enter(count: number): void {
    const tail = ((this.#words[this.#submissionTail] as number) + count) | 0;
    this.#words[this.#submissionTail] = tail;
    let unsubmitted = count;
    let expected = count;
    while (expected > 0) {
      const begun = this.#calls.syscall(enterNumber, this.#ring, unsubmitted, expected, enterGetEvents, 0, 0);
      if (begun > 0) unsubmitted -= begun;
      expected -= this.#collect();
      if (begun > 0 || unsubmitted === 0) continue;
      // Refused, for want of memory for example: taken back.
      this.#words[this.#submissionTail] = (tail - unsubmitted) | 0;
      expected -= unsubmitted;
      unsubmitted = 0;
    }
  }

  #collect(): number {
    const words = this.#words;
    const from = words[this.#completionHead] as number;
    const to = words[this.#completionTail] as number;
    for (let head = from; head !== to; head = (head + 1) | 0) {
      const at = this.#completionsAt + (head & this.#completionMask) * completionWords;
      this.#results[words[at] as number] = words[at + 2] as number;
    }
    words[this.#completionHead] = to;
    return (to - from) | 0;
  }
}
