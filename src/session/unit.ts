/**
 * The messages of one unit, gathered while their client has no server. Parallel arrays that are used again:
 * nothing is allocated per message.
 */
import { Frontend, headerBytes } from "../wire/constants.ts";
import { Frame } from "../wire/framer.ts";

/** Bytes gathered before a server is asked for although the unit is not complete. */
const gatheredBytesMax = 64 * 1024;

/** Units that nobody uses now; a few are enough, since few clients gather at the same time. */
const spare: Unit[] = [];
const spareMax = 64;

export function takeUnit(): Unit {
  return spare.pop() ?? new Unit();
}

/** Gives a unit back; its messages are forgotten. */
export function giveUnit(unit: Unit): void {
  unit.clear();
  if (spare.length < spareMax) spare.push(unit);
}

/**
 * Whether a unit can run with this message: not before more has to come, as after Parse. COPY's data can,
 * because it may follow an Execute and need not wait for the server to ask.
 */
export function completesUnit(type: number): boolean {
  switch (type) {
    case Frontend.parse:
    case Frontend.bind:
    case Frontend.describe:
    case Frontend.execute:
    case Frontend.close:
      return false;
    default:
      return true;
  }
}

/** Whether ReadyForQuery follows the message: behind any other more of its batch has to come. */
export function endsUnit(type: number): boolean {
  return type === Frontend.query || type === Frontend.sync || type === Frontend.functionCall;
}

/** Longer units are not put between those of others. */
const shareableBytesMax = 16 * 1024;

/**
 * Whether a unit is complete and does nothing but run statements to their ends: a Query, or Parse, Bind, Describe and
 * Execute up to a Sync.
 */
export function isShareable(unit: Unit): boolean {
  const last = unit.length - 1;
  if (unit.bytes > shareableBytesMax) return false;
  if (unit.type(last) === Frontend.query) return last === 0 && unit.kind(0) === Frame.whole;
  if (unit.type(last) !== Frontend.sync) return false;
  for (let i = 0; i < last; i++) {
    switch (unit.type(i)) {
      case Frontend.parse:
        // A name that is given cannot be given again, if the unit has to be run again.
        if (unit.buffer(i)[unit.start(i) + headerBytes] !== 0) return false;
        break;
      case Frontend.bind:
        if (!hasStrings(unit, i, headerBytes, 2)) return false;
        break;
      case Frontend.describe:
        if (!hasStrings(unit, i, headerBytes + 1, 1)) return false;
        break;
      case Frontend.execute:
        // A limit of rows leaves a portal open.
        if (unit.buffer(i).readInt32BE(unit.end(i) - 4) > 0) return false;
        break;
      default:
        return false;
    }
  }
  return true;
}

/** Whether the unnamed statement is another one, or gone, once the unit has begun: by a Parse of it, or a Query. */
export function replacesUnnamed(unit: Unit): boolean {
  for (let i = 0; i < unit.length; i++) {
    const type = unit.type(i);
    if (type === Frontend.query) return true;
    if (type === Frontend.parse && unit.buffer(i)[unit.start(i) + headerBytes] === 0) return true;
  }
  return false;
}

/** Whether `count` strings of a message have an end: it is read when it is sent, between the units of others. */
function hasStrings(unit: Unit, index: number, from: number, count: number): boolean {
  const buffer = unit.buffer(index);
  const end = unit.end(index);
  let left = count;
  for (let at = unit.start(index) + from; at < end && left > 0; at++) if (buffer[at] === 0) left--;
  return left === 0;
}

/** Whether a unit is one batch of the extended protocol up to its Sync, and short enough to be kept until it is answered. */
export function isRepeatable(unit: Unit): boolean {
  const last = unit.length - 1;
  if (unit.bytes > shareableBytesMax || unit.type(last) !== Frontend.sync) return false;
  for (let i = 0; i < last; i++) {
    switch (unit.type(i)) {
      case Frontend.parse:
      case Frontend.bind:
      case Frontend.describe:
      case Frontend.execute:
      case Frontend.close:
        break;
      default:
        return false;
    }
  }
  return true;
}

/** Whether a portal may be read on in a later unit: it has a name, or a limit of rows. */
export function leavesPortal(unit: Unit): boolean {
  for (let i = 0; i < unit.length; i++) {
    const type = unit.type(i);
    if (type === Frontend.bind && unit.buffer(i)[unit.start(i) + headerBytes] !== 0) return true;
    if (type === Frontend.execute && unit.buffer(i).readInt32BE(unit.end(i) - 4) > 0) return true;
  }
  return false;
}

export class Unit {
  #length = 0;
  #bytes = 0;
  readonly #kinds: Frame[] = [];
  readonly #types: number[] = [];
  readonly #buffers: (Buffer | undefined)[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.#length === 0;
  }

  /** So much is gathered that the unit has to begin. */
  get full(): boolean {
    return this.#bytes >= gatheredBytesMax;
  }

  push(kind: Frame, type: number, buffer: Buffer, start: number, end: number): void {
    const index = this.#length++;
    this.#kinds[index] = kind;
    this.#types[index] = type;
    this.#buffers[index] = buffer;
    this.#starts[index] = start;
    this.#ends[index] = end;
    this.#bytes += end - start;
  }

  kind(index: number): Frame {
    return this.#kinds[index] as Frame;
  }

  type(index: number): number {
    return this.#types[index] as number;
  }

  buffer(index: number): Buffer {
    return this.#buffers[index] as Buffer;
  }

  start(index: number): number {
    return this.#starts[index] as number;
  }

  end(index: number): number {
    return this.#ends[index] as number;
  }

  clear(): void {
    for (let i = 0; i < this.#length; i++) this.#buffers[i] = undefined;
    this.#length = 0;
    this.#bytes = 0;
  }
}
