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

const unknownType = 0;
const streamed = 1;
const collected = 2;
/** Kept until whole up to {@link shortBytesMax}, streamed beyond. */
const collectedIfShort = 3;
/** Longer error texts pass in parts: nothing is decided by what they say. */
const shortBytesMax = 1024 * 1024;

/** Which types a side may send, how long each may be, and which are kept until whole. */
export class FrameRules {
  /** unknown, streamed, collected, or collected if short, by type byte. */
  readonly treatment: Uint8Array = new Uint8Array(256);
  /** The longest body by type byte, without the length word. */
  readonly bodyBytesMax: Float64Array = new Float64Array(256);
  /** What to say of a type that the side may not send. */
  readonly describe: (type: number) => string;
  /** The side, for the errors. */
  readonly source: ErrorSource;

  constructor(describe: (type: number) => string, source: ErrorSource = "client") {
    this.describe = describe;
    this.source = source;
  }

  stream(type: number, bodyBytesMax: number): this {
    this.treatment[type] = streamed;
    this.bodyBytesMax[type] = bodyBytesMax;
    return this;
  }

  collect(type: number, bodyBytesMax: number): this {
    this.treatment[type] = collected;
    this.bodyBytesMax[type] = bodyBytesMax;
    return this;
  }

  collectIfShort(type: number, bodyBytesMax: number): this {
    this.treatment[type] = collectedIfShort;
    this.bodyBytesMax[type] = bodyBytesMax;
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
  return new FrameRules(describeFrontend)
    .stream(Frontend.query, largeMessageBytesMax)
    .stream(Frontend.functionCall, largeMessageBytesMax)
    .stream(Frontend.copyData, largeMessageBytesMax)
    .collect(Frontend.parse, Math.min(collectedBytesMax, largeMessageBytesMax))
    .collect(Frontend.bind, Math.min(collectedBytesMax, largeMessageBytesMax))
    .collect(Frontend.describe, smallMessageBytesMax)
    .collect(Frontend.execute, smallMessageBytesMax)
    .collect(Frontend.close, smallMessageBytesMax)
    // Nothing tells its answer apart from others', so one that the server would refuse goes no further.
    .collect(Frontend.flush, 0)
    .collect(Frontend.sync, smallMessageBytesMax)
    .collect(Frontend.terminate, smallMessageBytesMax)
    .collect(Frontend.copyDone, smallMessageBytesMax)
    .collect(Frontend.copyFail, smallMessageBytesMax);
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
  /** A collected message, or a header, that is not whole yet. */
  #partial: Buffer = nothing;
  #partialLength = 0;
  /** Whole length of what is in `#partial`; 0 while even the header is incomplete. */
  #partialTotal = 0;
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
    if (available < headerBytes) return this.#keep(available, 0);

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
    if (this.#collects(type, total)) return this.#keep(available, total);
    this.#streamRemaining = total - available;
    this.buffer = chunk;
    this.type = type;
    this.start = start;
    this.end = chunk.length;
    this.#position = chunk.length;
    return Frame.head;
  }

  #collects(type: number, total: number): boolean {
    const treatment = this.#rules.treatment[type];
    return treatment === collected || (treatment === collectedIfShort && total <= shortBytesMax);
  }

  #check(type: number, total: number): void {
    if (this.#rules.treatment[type] === unknownType)
      this.#break(this.#rules.describe(type), "peer.unknown_message");
    const bodyBytes = total - headerBytes;
    if (bodyBytes < 0) this.#break("invalid message length", "peer.message_length");
    if (bodyBytes > (this.#rules.bodyBytesMax[type] ?? 0)) {
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

  /** Copies the rest of the chunk aside: an incomplete header (total 0) or an incomplete collected message. */
  #keep(available: number, total: number): Frame {
    this.#partial = Buffer.allocUnsafe(
      total === 0 ? headerBytes : Math.min(total, Math.max(collectBytesStart, available)),
    );
    this.#chunk.copy(this.#partial, 0, this.#position);
    this.#partialLength = available;
    this.#partialTotal = total;
    return this.#need();
  }

  /** The chunk has been read to its end. */
  #need(): Frame {
    this.#chunk = nothing;
    this.#position = 0;
    this.buffer = nothing;
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
      if (total > headerBytes && !this.#collects(type, total)) return this.#headFromPartial(type, total);
    }
    this.#appendPartial(this.#partialTotal);
    if (this.#partialLength < this.#partialTotal) return this.#need();
    return this.#spanFromPartial(Frame.whole, this.#partial[0] as number);
  }

  /** The header of a streamed message came in pieces: yield it alone, the body follows from the chunk. */
  #headFromPartial(type: number, total: number): Frame {
    this.#streamRemaining = total - headerBytes;
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
