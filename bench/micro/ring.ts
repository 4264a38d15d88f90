/**
 * io_uring (io_uring_setup(2), io_uring_enter(2), io_uring_register(2)) through koffi: what the relay of descriptor-relay.ts asks of it, and no more. Linux 6.0
 * and later, x86-64 and arm64.
 *
 * The rings are mapped memory that is seen as arrays. No barriers are needed: with IORING_SETUP_SINGLE_ISSUER and DEFER_TASKRUN the kernel touches
 * them only within calls of this thread.
 */
import { createRequire } from "node:module";
import type * as Koffi from "koffi";
import { noSignal } from "../../src/epoll/constants.ts";

/** asm-generic/unistd.h */
const setupNumber = 425;
const enterNumber = 426;
const registerNumber = 427;

/** io_uring.h: setup, and where the struct io_uring_params has what. */
const completionsGiven = 1 << 3;
const submitAll = 1 << 7;
const singleIssuer = 1 << 12;
const deferTaskrun = 1 << 13;
const paramsBytes = 120;
const submissionOffsets = 40;
const completionOffsets = 80;
const entriesOffset = 0x10000000;

/** io_uring.h: enter and register. */
const getEvents = 1 << 0;
const extendedArgument = 1 << 3;
const registeredRing = 1 << 4;
const registerRing = 20;
const registerBuffers = 22;

/** io_uring.h: operations, and in the same word the flags of an entry and its `ioprio`. */
export const pollOperation = 6;
const sendOperation = 26;
const receiveOperation = 27;
const bufferSelect = 1 << (5 + 8);
const receiveMultishot = 2 << 16;
/** Of a completion: more will come. */
const hasMore = 1 << 1;

/** socket.h, mman.h */
const dontWait = 0x40;
const readWrite = 3;
const sharedPopulated = 0x8001;
const privateAnonymous = 0x22;

const entries = 1024;
const entryWords = 16;
const completions = 4 * entries;
const two32 = 0x1_0000_0000;

const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
const library = koffi.load(null);
const syscall: (...args: number[]) => number = library.func(
  "int64_t syscall(long number, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e, uintptr_t f)",
);
const mmap: (...args: number[]) => number = library.func(
  "int64_t mmap(uintptr_t address, size_t length, int protection, int flags, int descriptor, int64_t offset)",
);

const send: (...args: number[]) => number = library.func(
  "int64_t send(int socket, uintptr_t chunk, size_t length, int flags)",
);

/** The first word of a recv into a buffer that the kernel chooses. */
export function receiveSelecting(multishot: boolean): number {
  return receiveOperation | bufferSelect | (multishot ? receiveMultishot : 0);
}

export class Ring {
  /** All that both rings hold. */
  readonly words: Int32Array;
  readonly #descriptor: number;
  readonly #entries: Int32Array;
  /** Words of {@link words}. */
  readonly #submissionTail: number;
  readonly #completionHead: number;
  readonly #completionTail: number;
  readonly #completionsAt: number;
  #prepared = 0;
  #submitted = 0;
  #head = 0;
  #tail = 0;
  /** A struct io_uring_getevents_arg, and behind it the struct timespec that it points to. */
  readonly #argument = Buffer.allocUnsafeSlow(40).fill(0);
  readonly #argumentAddress = addressOf(this.#argument);
  readonly #bufferBytes: number;
  readonly #buffersAddress: number;
  readonly #bufferMask: number;
  /** The ring of buffers, which begins with its tail: the eighth half of a word. */
  readonly #bufferWords: Int32Array;
  readonly #bufferHalves: Uint16Array;

  constructor(options: { bufferCount: number; bufferBytes: number }) {
    const params = Buffer.allocUnsafeSlow(paramsBytes).fill(0);
    params.writeUInt32LE(completions, 4);
    params.writeUInt32LE(completionsGiven | submitAll | singleIssuer | deferTaskrun, 8);
    const ring = checked(syscall(setupNumber, entries, addressOf(params), 0, 0, 0, 0), "io_uring_setup");
    const submissionAt = (index: number): number => params.readUInt32LE(submissionOffsets + 4 * index) / 4;
    const completionAt = (index: number): number => params.readUInt32LE(completionOffsets + 4 * index) / 4;
    const array = submissionAt(6);
    const ringBytes = 4 * Math.max(array + entries, completionAt(5) + 4 * completions);
    this.words = new Int32Array(map(ringBytes, sharedPopulated, ring, 0).memory);
    this.#entries = new Int32Array(
      map(4 * entryWords * entries, sharedPopulated, ring, entriesOffset).memory,
    );
    this.#submissionTail = submissionAt(1);
    this.#completionHead = completionAt(0);
    this.#completionTail = completionAt(1);
    this.#completionsAt = completionAt(5);
    for (let i = 0; i < entries; i++) this.words[array + i] = i;
    this.#argument.writeBigUInt64LE(BigInt(this.#argumentAddress + 24), 16);

    const { bufferCount, bufferBytes } = options;
    this.#bufferBytes = bufferBytes;
    this.#bufferMask = bufferCount - 1;
    this.#buffersAddress = map(bufferCount * bufferBytes, privateAnonymous, -1, 0).address;
    const bufferRing = map(bufferCount * 16, privateAnonymous, -1, 0);
    this.#bufferWords = new Int32Array(bufferRing.memory);
    this.#bufferHalves = new Uint16Array(bufferRing.memory);
    const registration = Buffer.allocUnsafeSlow(40).fill(0);
    registration.writeBigUInt64LE(BigInt(bufferRing.address), 0);
    registration.writeUInt32LE(bufferCount, 8);
    register(ring, registerBuffers, registration);
    for (let buffer = 0; buffer < bufferCount; buffer++) this.giveBack(buffer);

    // Any place of the thread's table of rings: calls do without looking for the descriptor then.
    const update = Buffer.allocUnsafeSlow(16).fill(0);
    update.writeInt32LE(-1, 0);
    update.writeBigUInt64LE(BigInt(ring), 8);
    register(ring, registerRing, update);
    this.#descriptor = update.readUInt32LE(0);
  }

  addressOf(buffer: number): number {
    return this.#buffersAddress + buffer * this.#bufferBytes;
  }

  /** May be received into again. */
  giveBack(buffer: number): void {
    const tail = this.#bufferHalves[7] as number;
    const word = (tail & this.#bufferMask) * 4;
    const address = this.addressOf(buffer);
    this.#bufferWords[word] = address | 0;
    this.#bufferWords[word + 1] = address / two32;
    this.#bufferWords[word + 2] = this.#bufferBytes;
    this.#bufferHalves[2 * word + 6] = buffer;
    this.#bufferHalves[7] = tail + 1;
  }

  /** A write that takes what the socket takes at once, and completes with {@link enter}. */
  prepareSend(descriptor: number, address: number, length: number, data: number): void {
    this.prepare(sendOperation, descriptor, address, length, noSignal | dontWait, descriptor, data);
  }

  /** An entry for the next {@link enter}; its other words stay zero. `flags` are the operation's; its completion begins with `user` and `data`. */
  prepare(
    first: number,
    descriptor: number,
    address: number,
    length: number,
    flags: number,
    user: number,
    data: number,
  ): void {
    if (this.#prepared - this.#submitted === entries) throw new Error("too much for a turn");
    const at = (this.#prepared++ & (entries - 1)) * entryWords;
    const words = this.#entries;
    words[at] = first;
    words[at + 1] = descriptor;
    words[at + 4] = address | 0;
    words[at + 5] = address / two32;
    words[at + 6] = length;
    words[at + 7] = flags;
    words[at + 8] = user;
    words[at + 9] = data;
  }

  /** Submits what is prepared, and waits for as many completions; so long at most, -1: for ever. */
  enter(wanted: number, timeoutMs: number): void {
    const count = this.#prepared - this.#submitted;
    this.words[this.#submissionTail] = this.#prepared;
    this.#submitted = this.#prepared;
    const flags = registeredRing | getEvents;
    if (timeoutMs <= 0) {
      syscall(enterNumber, this.#descriptor, count, timeoutMs === 0 ? 0 : wanted, flags, 0, 0);
    } else {
      this.#argument.writeUInt32LE(Math.trunc(timeoutMs / 1000), 24);
      this.#argument.writeUInt32LE((timeoutMs % 1000) * 1_000_000, 32);
      syscall(
        enterNumber,
        this.#descriptor,
        count,
        wanted,
        flags | extendedArgument,
        this.#argumentAddress,
        24,
      );
    }
    this.#tail = this.words[this.#completionTail] as number;
  }

  /** The first of the four {@link words} of the next completion: user, data, result, flags. -1: there is none. */
  next(): number {
    if (this.#head === this.#tail) return -1;
    const at = this.#completionsAt + (this.#head & (completions - 1)) * 4;
    this.#head = (this.#head + 1) | 0;
    return at;
  }

  /** All that {@link next} told may be written over. */
  consumed(): void {
    this.words[this.#completionHead] = this.#head;
  }

  /** A read that is told of has not to be asked for again. */
  goesOn(flags: number): boolean {
    return (flags & hasMore) !== 0;
  }
}

/** Writes of a turn, of buffers that are read into before: by one call, or one by one. */
export class TurnSends {
  /** By the FFI. */
  calls = 0;
  readonly #together: boolean;
  readonly #rings: Ring;
  readonly #lengths: Int32Array;
  readonly #descriptors: Int32Array;
  #count = 0;

  constructor(together: boolean, bufferCount: number, bufferBytes: number) {
    this.#together = together;
    this.#rings = new Ring({ bufferCount, bufferBytes });
    this.#lengths = new Int32Array(bufferCount);
    this.#descriptors = new Int32Array(bufferCount);
  }

  /** Where to read what is added next. */
  next(): number {
    return this.#rings.addressOf(this.#count);
  }

  add(descriptor: number, bytes: number): true {
    this.#descriptors[this.#count] = descriptor;
    this.#lengths[this.#count++] = bytes;
    return true;
  }

  /** Returns the descriptors that did not take all. */
  send(): readonly number[] {
    const failed: number[] = [];
    if (this.#together) this.#sendTogether(failed);
    else this.#sendEach(failed);
    this.#count = 0;
    return failed;
  }

  #sendEach(failed: number[]): void {
    for (let i = 0; i < this.#count; i++) {
      const descriptor = this.#descriptors[i] as number;
      const bytes = this.#lengths[i] as number;
      this.calls++;
      if (send(descriptor, this.#rings.addressOf(i), bytes, noSignal) !== bytes) failed.push(descriptor);
    }
  }

  #sendTogether(failed: number[]): void {
    if (this.#count === 0) return;
    const rings = this.#rings;
    for (let i = 0; i < this.#count; i++) {
      const descriptor = this.#descriptors[i] as number;
      rings.prepareSend(descriptor, rings.addressOf(i), this.#lengths[i] as number, i);
    }
    rings.enter(this.#count, -1);
    this.calls++;
    for (let at = rings.next(); at >= 0; at = rings.next()) {
      const buffer = rings.words[at + 1] as number;
      if (rings.words[at + 2] !== this.#lengths[buffer]) failed.push(rings.words[at] as number);
    }
    rings.consumed();
  }
}

function register(ring: number, operation: number, argument: Buffer): void {
  checked(syscall(registerNumber, ring, operation, addressOf(argument), 1, 0, 0), "io_uring_register");
}

/** Memory for as long as the process lives. */
function map(bytes: number, flags: number, descriptor: number, offset: number): Mapping {
  const address = checked(mmap(0, bytes, readWrite, flags, descriptor, offset), "mmap");
  return { address, memory: koffi.view(BigInt(address), bytes) };
}

interface Mapping {
  readonly address: number;
  readonly memory: ArrayBuffer;
}

function addressOf(buffer: Buffer): number {
  return Number(koffi.address(buffer));
}

function checked(result: number, call: string): number {
  if (result < 0) throw new Error(`${call} failed: errno ${koffi.errno()}`);
  return result;
}
