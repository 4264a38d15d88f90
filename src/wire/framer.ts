/**
 * Cuts a byte stream into messages without copying or decoding them.
 *
 *     framer.feed(chunk);
 *     while ((kind = framer.next()) !== Frame.need) use(framer.buffer, framer.start, framer.end)
 *
 * A message that lies whole in the chunk is one span. One that does not is either *streamed* (its parts are
 * yielded as they come, so a 1 GB row costs no memory) or *collected* (kept until it is whole), as the rules
 * of the side say for its type. Lengths are checked before anything is kept. A span is valid until the next
 * `feed`, or as long as its chunk if the chunk was never reused; once `next` has answered `need` the framer
 * itself holds no chunk, so that an idle session costs none. After a PeerError a framer stays broken.
 */
import { assert } from "../base/assert.ts";
import { type ErrorSource, type PeerError, protocolViolation } from "../base/errors.ts";
import {
  authTokenBytesMax,
  Backend,
  Frontend,
  headerBytes,
  largeMessageBytesMax,
  shortServerMessageBytesMax,
  smallMessageBytesMax,
} from "./constants.ts";

/** What `next` found. */
export const Frame = {
  /** Nothing more in what was fed. */
  need: 0,
  /** One whole message, header included. */
  whole: 1,
  /** The first part of a streamed message: header and perhaps some of the body. */
  head: 2,
  /** A part in the middle of a streamed message. */
  middle: 3,
  /** The last part of a streamed message. */
  tail: 4,
} as const;
export type Frame = (typeof Frame)[keyof typeof Frame];

/** `collectIfShort` keeps a message until it is whole up to this, and streams it beyond. */
const shortBytesMax = 256 * 1024;
/** The first part of a longer one has at least this much: the names in Bind, the SQLSTATE of an error. */
const prefixBytes = 8 * 1024;

/** Which types a side may send, how long each may be, and which are kept until whole. */
export class FrameRules {
  /** The longest body by type byte, without the length word; -1: the side may not send the type. */
  readonly bodyBytesMax: Float64Array = new Float64Array(256).fill(-1);
  /** Messages of up to this many bytes are kept until whole, by type byte. */
  readonly wholeBytesMax: Float64Array = new Float64Array(256);
  /** Bytes that the first part of a longer one has at least, by type byte. */
  readonly prefixBytes: Float64Array = new Float64Array(256).fill(headerBytes);
  /** What to say of a type that the side may not send. */
  readonly describe: (type: number) => string;
  /** The side, for the errors. */
  readonly source: ErrorSource;

  constructor(describe: (type: number) => string, source: ErrorSource = "client") {
    this.describe = describe;
    this.source = source;
  }

  /** Passes in parts, as they come. */
  stream(type: number, bodyBytesMax: number): this {
    this.bodyBytesMax[type] = bodyBytesMax;
    this.wholeBytesMax[type] = 0;
    return this;
  }

  /** Is kept until it is whole. */
  collect(type: number, bodyBytesMax: number): this {
    this.bodyBytesMax[type] = bodyBytesMax;
    this.wholeBytesMax[type] = Number.POSITIVE_INFINITY;
    return this;
  }

  /** Is kept until it is whole if it is short; else passes in parts, the first of which is not too small. */
  collectIfShort(type: number, bodyBytesMax: number): this {
    this.bodyBytesMax[type] = bodyBytesMax;
    this.wholeBytesMax[type] = shortBytesMax;
    this.prefixBytes[type] = prefixBytes;
    return this;
  }

  /** No message may have a longer body than this. */
  limit(bodyBytesMax: number): this {
    for (let type = 0; type < 256; type++) {
      this.bodyBytesMax[type] = Math.min(this.bodyBytesMax[type] ?? -1, bodyBytesMax);
    }
    return this;
  }
}

/** PostgreSQL's words for a type it does not know (postgres.c SocketBackend). */
const describeFrontend = (type: number): string => `invalid frontend message type ${type}`;
const describeBackend = (type: number): string => `invalid backend message type ${type}`;

/**
 * What a client may send once it is logged in. Parse and Bind carry the names that pooling rewrites; Parse
 * is kept whole because its text is the key of the shared statement. `collectedBytesMax` bounds what one
 * client may make us keep.
 */
export function frontendRules(collectedBytesMax: number): FrameRules {
  return (
    new FrameRules(describeFrontend)
      // Whole if short: a client that sends one slowly, or stops in the middle, holds no server meanwhile.
      .collectIfShort(Frontend.query, largeMessageBytesMax)
      .collectIfShort(Frontend.functionCall, largeMessageBytesMax)
      .stream(Frontend.copyData, largeMessageBytesMax)
      .collect(Frontend.parse, Math.min(collectedBytesMax, largeMessageBytesMax))
      .collectIfShort(Frontend.bind, largeMessageBytesMax)
      .collect(Frontend.describe, smallMessageBytesMax)
      .collect(Frontend.execute, smallMessageBytesMax)
      .collect(Frontend.close, smallMessageBytesMax)
      // Nothing tells its answer apart from others', so one that the server would refuse goes no further.
      .collect(Frontend.flush, 0)
      .collect(Frontend.sync, smallMessageBytesMax)
      .collect(Frontend.terminate, smallMessageBytesMax)
      .collect(Frontend.copyDone, smallMessageBytesMax)
      .collect(Frontend.copyFail, smallMessageBytesMax)
  );
}

/** What a client may send while it authenticates. */
export function frontendLoginRules(): FrameRules {
  return new FrameRules(describeFrontend)
    .collect(Frontend.password, authTokenBytesMax)
    .collect(Frontend.terminate, smallMessageBytesMax);
}

/** What a server may send. Rows, COPY data and long texts pass in parts; short messages are kept whole. */
export function backendRules(): FrameRules {
  const rules = new FrameRules(describeBackend, "server");
  for (const type of Object.values(Backend)) rules.collect(type, shortServerMessageBytesMax);
  for (const type of [
    Backend.dataRow,
    Backend.copyData,
    Backend.functionCallResponse,
    Backend.rowDescription,
  ]) {
    rules.stream(type, largeMessageBytesMax + 1024);
  }
  for (const type of [Backend.errorResponse, Backend.noticeResponse, Backend.notificationResponse]) {
    rules.collectIfShort(type, largeMessageBytesMax);
  }
  // A parameter's value, a list of parameter types or a command tag has no small limit of its own.
  for (const type of [Backend.parameterStatus, Backend.parameterDescription, Backend.authentication]) {
    rules.collect(type, 1024 * 1024);
  }
  return rules;
}

const nothing = Buffer.alloc(0);
/** A collected message grows its buffer from here, doubling: a claimed length alone allocates nothing. */
const collectBytesStart = 4096;

export class Framer {
  /** The span of the last message or part: `buffer[start, end)`. No longer set once `next` answered `need`. */
  buffer: Buffer = nothing;
  start = 0;
  end = 0;
  /** Type byte of the last message or part. */
  type = 0;

  readonly #rules: FrameRules;
  /** What was fed, and how far it has been read. */
  #chunk: Buffer = nothing;
  #position = 0;
  /** Bytes of a streamed message still to come. */
  #streamRemaining = 0;
  /** A header, a collected message, or the first part of a streamed one, that is not complete yet. */
  #partial: Buffer = nothing;
  #partialLength = 0;
  /** Whole length of what is in `#partial`; 0 while even the header is incomplete. */
  #partialTotal = 0;
  /** So much of it is wanted before it, or its first part, is yielded. */
  #partialTarget = 0;
  #broken: PeerError | undefined;

  constructor(rules: FrameRules) {
    this.#rules = rules;
  }

  /** True between messages: nothing half-received. */
  get atBoundary(): boolean {
    return this.#streamRemaining === 0 && this.#partialLength === 0 && this.#position === this.#chunk.length;
  }

  /** What was fed has been read to its end. */
  get drained(): boolean {
    return this.#position === this.#chunk.length;
  }

  /** True in the middle of a streamed message. */
  get streaming(): boolean {
    return this.#streamRemaining > 0;
  }

  /** Bytes kept of a message that is not whole yet. */
  get keptBytes(): number {
    return this.#partial.length;
  }

  /** Hands in the next bytes. What was fed before must have been read to its end. */
  feed(chunk: Buffer): void {
    assert(
      this.#position === this.#chunk.length || this.#broken !== undefined,
      "a framer is fed only when it has been read to the end",
    );
    this.#chunk = chunk;
    this.#position = 0;
  }

  /** What has been fed and not yet been read; the framer forgets it. For a change of rules or transport. */
  takeRest(): Buffer {
    assert(this.#streamRemaining === 0 && this.#partialLength === 0, "only whole messages are left behind");
    const rest = this.#chunk.subarray(this.#position);
    this.#chunk = nothing;
    this.#position = 0;
    return rest;
  }

  /** Finds the next message or part. Throws PeerError (08P01) for an unknown type or a wrong length. */
  next(): Frame {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#partialLength > 0) return this.#continuePartial();
    const available = this.#chunk.length - this.#position;
    if (available === 0) return this.#need();
    if (this.#streamRemaining > 0) return this.#continueStream(available);
    if (available < headerBytes) return this.#keep(available, 0, headerBytes);

    const chunk = this.#chunk;
    const start = this.#position;
    const type = chunk[start] as number; // in bounds: available >= headerBytes
    const total = 1 + chunk.readUInt32BE(start + 1);
    this.#check(type, total);
    if (total <= available) {
      this.buffer = chunk;
      this.type = type;
      this.start = start;
      this.end = start + total;
      this.#position = this.end;
      return Frame.whole;
    }
    const target = this.#targetOf(type, total);
    if (available < target) return this.#keep(available, total, target);
    this.#streamRemaining = total - available;
    this.buffer = chunk;
    this.type = type;
    this.start = start;
    this.end = chunk.length;
    this.#position = chunk.length;
    return Frame.head;
  }

  /**
   * Adds to the message that `next` has just found whole those that follow it, of the same type and whole: `end` is
   * behind the last of them then. Rows come by the thousand, and what holds for the first holds for all.
   */
  takeAlike(): void {
    const chunk = this.#chunk;
    // One that came in several chunks is not in this one.
    if (this.buffer !== chunk) return;
    const type = this.type;
    const bodyBytesMax = this.#rules.bodyBytesMax[type] ?? -1;
    const lastStart = chunk.length - headerBytes;
    let end = this.end;
    while (end <= lastStart && chunk[end] === type) {
      const bodyBytes = chunk.readUInt32BE(end + 1) - (headerBytes - 1);
      const next = end + headerBytes + bodyBytes;
      // What is wrong or not whole is for `next`.
      if (bodyBytes < 0 || bodyBytes > bodyBytesMax || next > chunk.length) break;
      end = next;
    }
    this.end = end;
    this.#position = end;
  }

  /** How many bytes of an incomplete message have to be there before it, or its first part, is yielded. */
  #targetOf(type: number, total: number): number {
    const rules = this.#rules;
    return total <= (rules.wholeBytesMax[type] ?? 0) ? total : Math.min(total, rules.prefixBytes[type] ?? 0);
  }

  #check(type: number, total: number): void {
    const bodyBytesMax = this.#rules.bodyBytesMax[type] ?? -1;
    if (bodyBytesMax < 0) this.#break(this.#rules.describe(type), "peer.unknown_message");
    const bodyBytes = total - headerBytes;
    if (bodyBytes < 0) this.#break("invalid message length", "peer.message_length");
    if (bodyBytes > bodyBytesMax) {
      this.#break(
        `invalid message length: message type ${type} with ${bodyBytes} bytes`,
        "peer.message_too_long",
      );
    }
  }

  #break(message: string, code: string): never {
    this.#broken = protocolViolation(message, { code, source: this.#rules.source });
    throw this.#broken;
  }

  #continueStream(available: number): Frame {
    const taken = Math.min(available, this.#streamRemaining);
    this.buffer = this.#chunk;
    this.start = this.#position;
    this.end = this.#position + taken;
    this.#position = this.end;
    this.#streamRemaining -= taken;
    return this.#streamRemaining === 0 ? Frame.tail : Frame.middle;
  }

  /**
   * Copies the rest of the chunk aside until `target` bytes are there: an incomplete header (total 0), or the
   * beginning of an incomplete message.
   */
  #keep(available: number, total: number, target: number): Frame {
    this.#partial = Buffer.allocUnsafe(Math.min(target, Math.max(collectBytesStart, available)));
    this.#chunk.copy(this.#partial, 0, this.#position);
    this.#partialLength = available;
    this.#partialTotal = total;
    this.#partialTarget = target;
    return this.#need();
  }

  /** The last message is of no interest any more, and was the end of the chunk: neither is held on to. */
  release(): void {
    this.#chunk = nothing;
    this.#position = 0;
    this.buffer = nothing;
  }

  /** The chunk has been read to its end. */
  #need(): Frame {
    this.release();
    return Frame.need;
  }

  #continuePartial(): Frame {
    if (this.#partialTotal === 0) {
      this.#appendPartial(headerBytes);
      if (this.#partialLength < headerBytes) return this.#need();
      const type = this.#partial[0] as number; // five bytes are there
      const total = 1 + this.#partial.readUInt32BE(1);
      this.#check(type, total);
      this.#partialTotal = total;
      this.#partialTarget = this.#targetOf(type, total);
    }
    this.#appendPartial(this.#partialTarget);
    if (this.#partialLength < this.#partialTarget) return this.#need();
    const type = this.#partial[0] as number;
    if (this.#partialLength === this.#partialTotal) return this.#spanFromPartial(Frame.whole, type);
    this.#streamRemaining = this.#partialTotal - this.#partialLength;
    return this.#spanFromPartial(Frame.head, type);
  }

  #spanFromPartial(kind: Frame, type: number): Frame {
    this.buffer = this.#partial;
    this.type = type;
    this.start = 0;
    this.end = this.#partialLength;
    this.#partial = nothing;
    this.#partialLength = 0;
    this.#partialTotal = 0;
    return kind;
  }

  /** Moves bytes from the chunk until `#partial` holds `target` bytes or the chunk is empty. */
  #appendPartial(target: number): void {
    const taken = Math.min(target - this.#partialLength, this.#chunk.length - this.#position);
    if (taken <= 0) return;
    const needed = this.#partialLength + taken;
    if (needed > this.#partial.length) {
      const grown = Buffer.allocUnsafe(Math.min(target, Math.max(needed, this.#partial.length * 2)));
      this.#partial.copy(grown, 0, 0, this.#partialLength);
      this.#partial = grown;
    }
    this.#chunk.copy(this.#partial, this.#partialLength, this.#position, this.#position + taken);
    this.#partialLength = needed;
    this.#position += taken;
  }
}
