/**
 * The one place that knows what a server's reply means.
 *
 * Every request that is sent to a server enters this queue, marked with what is to become of its replies:
 * forwarded to the client, swallowed (we asked, not the client), synthesised (the client asked, the server
 * never heard of it), or forwarded with another error text. Replies are matched with the head of the queue:
 *
 *     sent      parse*swallow  bind  describe  execute  sync
 *     received  1 -> swallow   2 ->  T ->      D.. C -> Z -> the unit is done
 *
 * An error of the extended protocol makes the server skip to the next Sync (docs 54.2.3); that rule lives
 * here and nowhere else. So does COPY's rule that Flush and Sync are ignored while the server reads COPY data
 * (copyfromparse.c). If an error ends COPY, a Sync sent before may have been read after it, and is answered
 * then; nobody can tell but by the ReadyForQuery that comes before any reply to a later request. What was sent behind it
 * besides Syncs is taken for skipped; if it was not, its first reply explains nothing, and the server is not used any more.
 * Sans-IO: types and bytes in, verdicts out.
 */
import { assert } from "../base/assert.ts";
import { Deque } from "../base/deque.ts";
import { type PeerError, protocolViolation } from "../base/errors.ts";
import { Backend } from "../wire/constants.ts";
import { closeComplete, parseComplete } from "../wire/encode-backend.ts";
import { sqlstateOf } from "../wire/fields.ts";
import type { RequestOutcome } from "./request-outcome.ts";

/** What was asked of the server. */
export const Request = {
  query: 1,
  functionCall: 2,
  parse: 3,
  bind: 4,
  describe: 5,
  execute: 6,
  close: 7,
  sync: 8,
  /** CopyDone or CopyFail sent before the server said that it wants COPY data. Has no reply. */
  copyEnd: 9,
} as const;
export type Request = (typeof Request)[keyof typeof Request];

/** What is to become of the replies. */
export const Handling = { forward: 0x00, swallow: 0x10, synthesise: 0x20 } as const;
export type Handling = (typeof Handling)[keyof typeof Handling];

/** What to do with one reply. */
export const Verdict = {
  forward: 0,
  swallow: 1,
  /** Send `replacement` in its place. */
  replace: 2,
  /** A row of a query of our own: give it to `takeRow`. */
  take: 3,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

const Copy = { none: 0, in: 1, out: 2 } as const;
type Copy = (typeof Copy)[keyof typeof Copy];

/** Perhaps: a Query ends it, unless an error before that has the server skip it. */
const Batch = { closed: 0, open: 1, perhaps: 2 } as const;
type Batch = (typeof Batch)[keyof typeof Batch];

const requestMask = 0x0f;
const handlingMask = 0x30;
/** The entry has a RequestOutcome waiting in `#outcomes`. */
const hasOutcome = 0x40;
/** Its ReadyForQuery has the opposite fate of its other replies. */
const swapsReady = 0x80;

export class ReplyQueue {
  /** Ring of entries; the size is a power of two. */
  #ring = new Uint8Array(16);
  #head = 0;
  #length = 0;
  readonly #outcomes = new Deque<RequestOutcome>();
  /** An error was seen and its Sync has not been sent yet: the server drops all it gets. */
  #skipping = false;
  /** Whether requests of the extended protocol were sent, and no Sync after them. */
  #batch: Batch = Batch.closed;
  /** Which way COPY data goes now. */
  #copy: Copy = Copy.none;
  /** Syncs that the server ignores, because it reads COPY data. */
  #ignoredSyncs = 0;
  /** Syncs of which that is not sure, because COPY ended with an error. */
  #uncertainSyncs = 0;
  /** The Query whose COPY failed is still at the head: the next ReadyForQuery is its own. */
  #readyDue = false;
  #synthesised: Buffer[] = [];
  #swallowedError: Buffer | undefined;
  /** ReadyForQuery messages so far that were for clients. */
  units = 0;
  /** An ErrorResponse has reached the client, and ReadyForQuery has not. */
  failed = false;
  /** ErrorResponses so far. */
  errorCount = 0;
  /** Status byte of the last ReadyForQuery. */
  status = 0x49;
  /** Messages of clients that were sent and have replies, and those of them that are done; the last one that failed had this place among them. */
  asked = 0;
  #answered = 0;
  failedAt = 0;
  /** The parameters that the next Describe is answered with are known to the client. */
  skipsParameters = false;
  /** What goes to the client when the verdict was `replace`. */
  replacement: Buffer | undefined;

  /** Requests whose replies are not complete. */
  get length(): number {
    return this.#length;
  }

  /** Nothing is owed, and the server is not waiting for a Sync. */
  get settled(): boolean {
    return this.#length === 0 && !this.#skipping && this.#batch !== Batch.open;
  }

  /** The last unit that was sent is complete: the next message begins another, and the server needs nothing from its client to answer the last one. */
  get betweenUnits(): boolean {
    const open = this.#batch === Batch.open || (this.#batch === Batch.perhaps && this.#length > 0);
    return !open && this.#copy !== Copy.in && !this.#skipping;
  }

  /** Nothing that clients have asked is without its answer. */
  get answered(): boolean {
    return this.#answered === this.asked;
  }

  /** The server drops all it gets until a Sync. */
  get skipping(): boolean {
    return this.#skipping;
  }

  /** The server reads COPY data now. */
  get copyIn(): boolean {
    return this.#copy === Copy.in;
  }

  /** It reads or sends COPY data. */
  get copies(): boolean {
    return this.#copy !== Copy.none;
  }

  /**
   * How many ReadyForQuery messages the client waits for; undefined if nobody could answer in the server's place: what was
   * sent last is not complete, or an error has been told already.
   */
  get owed(): number | undefined {
    if (!this.betweenUnits || this.failed || this.#ignoredSyncs + this.#uncertainSyncs > 0) return undefined;
    let count = 0;
    for (let i = 0; i < this.#length; i++) {
      const entry = this.#ring[(this.#head + i) & (this.#ring.length - 1)] as number;
      const swallowed = (entry & handlingMask) === Handling.swallow;
      if (endsBatch(entry) && swallowed === ((entry & swapsReady) !== 0)) count++;
    }
    return count;
  }

  /** Replies that no server sends are due. */
  get hasSynthesised(): boolean {
    return this.#synthesised.length > 0;
  }

  /** The next reply is one to a Query of our own; what was sent behind it has not begun. */
  get onOwnQuery(): boolean {
    const entry = this.#length === 0 ? 0 : (this.#ring[this.#head] as number);
    return (entry & (handlingMask | requestMask)) === (Handling.swallow | Request.query);
  }

  /** The ErrorResponse of a request of our own, once. */
  takeSwallowedError(): Buffer | undefined {
    const error = this.#swallowedError;
    this.#swallowedError = undefined;
    return error;
  }

  takeSynthesised(): Buffer {
    const [first] = this.#synthesised;
    const bytes =
      this.#synthesised.length === 1 && first !== undefined ? first : Buffer.concat(this.#synthesised);
    this.#synthesised = [];
    return bytes;
  }

  /** Notes a request that is being sent, or, if synthesised, is not. `readySwapped`: it goes on in one of our own, whose ReadyForQuery is the client's. */
  push(request: Request, handling: Handling, outcome?: RequestOutcome, readySwapped = false): void {
    assert(
      outcome === undefined ||
        request === Request.parse ||
        request === Request.close ||
        request === Request.query,
      "only Parse, Close and Query have an outcome",
    );
    if (request === Request.sync) {
      if (this.#copy === Copy.in) {
        this.#ignoredSyncs++;
        return;
      }
      this.#skipping = false;
      this.#batch = Batch.closed;
    } else if (this.#skipping) {
      outcome?.onFailed(false);
      return;
    } else if (request === Request.query || request === Request.functionCall) {
      if (this.#batch !== Batch.closed) this.#batch = this.#length > 0 ? Batch.perhaps : Batch.closed;
    } else if (request !== Request.copyEnd && handling !== Handling.synthesise) {
      this.#batch = Batch.open;
    }
    if (request === Request.copyEnd && (this.#copy === Copy.in || this.#length === 0)) {
      this.#copy = Copy.none;
      return;
    }
    if (this.#length === this.#ring.length) this.#grow();
    const flags = (outcome === undefined ? 0 : hasOutcome) | (readySwapped ? swapsReady : 0);
    this.#ring[(this.#head + this.#length) & (this.#ring.length - 1)] = request | handling | flags;
    this.#length++;
    if (handling !== Handling.swallow) this.asked++;
    if (outcome !== undefined) this.#outcomes.push(outcome);
    if (handling === Handling.synthesise && this.#length === 1) this.#drain();
  }

  /** Says what to do with a reply. Throws PeerError (source server) if no request explains it. */
  accept(type: number, buffer: Buffer, start: number, end: number): Verdict {
    const entry = this.#length === 0 ? 0 : (this.#ring[this.#head] as number);
    const request = entry & requestMask;
    const verdict = (entry & handlingMask) === Handling.swallow ? Verdict.swallow : Verdict.forward;
    if (this.#uncertainSyncs > 0 && this.#settlesUncertain(type, request)) {
      return this.#acceptLateReady(buffer, start);
    }
    switch (type) {
      case Backend.dataRow:
        if (request !== Request.query && request !== Request.execute) throw unexpected(type, request);
        return verdict === Verdict.swallow && this.#firstOutcome(entry)?.onRow !== undefined
          ? Verdict.take
          : verdict;
      case Backend.copyData:
      case Backend.copyDone:
      case Backend.copyOutResponse:
        if (request !== Request.query && request !== Request.execute) throw unexpected(type, request);
        if (type === Backend.copyOutResponse) this.#copy = Copy.out;
        return verdict;
      case Backend.commandComplete:
      case Backend.emptyQueryResponse:
      case Backend.portalSuspended:
        if (request !== Request.execute && request !== Request.query) throw unexpected(type, request);
        this.#copy = Copy.none;
        this.#ignoredSyncs = 0;
        if (request === Request.execute) this.#pop();
        return verdict;
      case Backend.rowDescription:
        if (request === Request.describe) this.#pop();
        else if (request !== Request.query) throw unexpected(type, request);
        return verdict;
      case Backend.readyForQuery:
        return this.#acceptReady(request, verdict, buffer, start);
      case Backend.parseComplete:
        return this.#acceptComplete(type, request, Request.parse, verdict);
      case Backend.bindComplete:
        return this.#acceptComplete(type, request, Request.bind, verdict);
      case Backend.closeComplete:
        return this.#acceptComplete(type, request, Request.close, verdict);
      case Backend.noData:
        return this.#acceptComplete(type, request, Request.describe, verdict);
      case Backend.parameterDescription:
        if (request !== Request.describe) throw unexpected(type, request);
        if (!this.skipsParameters) return verdict;
        this.skipsParameters = false;
        return Verdict.swallow;
      case Backend.functionCallResponse:
        if (request !== Request.functionCall) throw unexpected(type, request);
        return verdict;
      case Backend.copyInResponse:
      case Backend.copyBothResponse:
        if (request !== Request.query && request !== Request.execute) throw unexpected(type, request);
        this.#enterCopyIn();
        return verdict;
      case Backend.errorResponse:
        return this.#acceptError(entry, verdict, buffer, start, end);
      case Backend.parameterStatus:
      case Backend.noticeResponse:
        return verdict;
      case Backend.notificationResponse:
        // It answers nothing: whoever listens on this server gets it, also behind a request of our own.
        return Verdict.forward;
      default:
        throw unexpected(type, request);
    }
  }

  /** A row, or a part of one, for which the verdict was `take`. */
  takeRow(bytes: Buffer): void {
    this.#outcomes.peekFirst()?.onRow?.(bytes);
  }

  #firstOutcome(entry: number): RequestOutcome | undefined {
    return (entry & hasOutcome) === 0 ? undefined : this.#outcomes.peekFirst();
  }

  /** The replies that are due next are for nobody. */
  swallowFirst(): void {
    const entry = this.#ring[this.#head] as number;
    if ((entry & handlingMask) !== Handling.swallow) this.#answered++;
    this.#ring[this.#head] = (entry & ~handlingMask) | Handling.swallow;
  }

  /** The server is gone: whatever was parsing never was parsed. */
  abandon(): void {
    while (this.#length > 0) this.#dropFirst(false);
    this.#synthesised = [];
    this.#copy = Copy.none;
    this.#skipping = false;
    this.#batch = Batch.closed;
    this.#ignoredSyncs = 0;
    this.#uncertainSyncs = 0;
  }

  #acceptComplete(type: number, request: number, expected: Request, verdict: Verdict): Verdict {
    if (request !== expected) throw unexpected(type, request);
    if (((this.#ring[this.#head] as number) & hasOutcome) !== 0) this.#outcomes.shift()?.onDone();
    this.#pop();
    return verdict;
  }

  #acceptReady(request: number, verdict: Verdict, buffer: Buffer, start: number): Verdict {
    if (request !== Request.query && request !== Request.sync && request !== Request.functionCall) {
      throw unexpected(Backend.readyForQuery, request);
    }
    this.status = buffer[start + 5] as number; // backendRules and decoding require a body
    this.#copy = Copy.none;
    this.#readyDue = false;
    const entry = this.#ring[this.#head] as number;
    if ((entry & hasOutcome) !== 0) this.#outcomes.shift()?.onDone();
    this.#pop();
    this.failed = false;
    const swallowed = (verdict === Verdict.swallow) !== ((entry & swapsReady) !== 0);
    if (swallowed) return Verdict.swallow;
    this.units++;
    return Verdict.forward;
  }

  /**
   * Syncs in doubt: whether this reply is the ReadyForQuery of one of them. Any other reply to a request
   * settles it: the server has read them all, and ignored those that it did not answer.
   */
  #settlesUncertain(type: number, request: number): boolean {
    switch (type) {
      case Backend.readyForQuery:
        // Which of two Syncs is answered makes no difference.
        return !this.#readyDue && request !== Request.sync;
      case Backend.parameterStatus:
      case Backend.noticeResponse:
      case Backend.notificationResponse:
        return false;
      default:
        this.#uncertainSyncs = 0;
        return false;
    }
  }

  /** Whoever has sent something since does not wait for it, and is perhaps another client. */
  #acceptLateReady(buffer: Buffer, start: number): Verdict {
    this.#uncertainSyncs--;
    this.#skipping = false;
    this.status = buffer[start + 5] as number; // as above
    return this.#length === 0 ? Verdict.forward : Verdict.swallow;
  }

  #acceptError(entry: number, verdict: Verdict, buffer: Buffer, start: number, end: number): Verdict {
    this.errorCount++;
    this.#copy = Copy.none;
    if (entry === 0) return Verdict.forward;
    const request = entry & requestMask;
    if (this.#ignoredSyncs > 0) {
      this.#uncertainSyncs = this.#ignoredSyncs;
      this.#ignoredSyncs = 0;
      this.#readyDue = request === Request.query;
    }
    if (request === Request.query || request === Request.functionCall || request === Request.sync) {
      // ReadyForQuery follows.
      if (verdict === Verdict.swallow) this.#noteSwallowedError(entry, buffer.subarray(start, end));
      return verdict;
    }
    const outcome = this.#firstOutcome(entry);
    this.failedAt = this.#answered;
    this.skipsParameters = false;
    this.#dropFirst(true);
    while (this.#length > 0 && ((this.#ring[this.#head] as number) & requestMask) !== Request.sync)
      this.#dropFirst(false);
    if (this.#length === 0) {
      this.#skipping = true;
      this.#batch = Batch.closed;
    }
    if (outcome?.onError !== undefined) {
      outcome.onError(buffer.subarray(start, end));
      return Verdict.swallow;
    }
    const errorReply = outcome?.errorReply;
    if (errorReply !== undefined && sqlstateOf(buffer, start, end) === errorReply.sqlstate) {
      this.replacement = errorReply.inPlaceOf(buffer.subarray(start, end));
      return Verdict.replace;
    }
    // An error of a Parse of our own stands for the Bind or Describe that needed it.
    return Verdict.forward;
  }

  #noteSwallowedError(entry: number, error: Buffer): void {
    const outcome = this.#firstOutcome(entry);
    if (outcome?.onError !== undefined) outcome.onError(error);
    else this.#swallowedError = Buffer.from(error);
  }

  /** Takes out what was sent behind the COPY and belongs to it: Syncs, which are ignored, and its end. */
  #enterCopyIn(): void {
    const following: number[] = [];
    let ended = false;
    let leading = true;
    this.#ignoredSyncs = 0;
    const length = this.#length;
    for (let i = 1; i < length; i++) {
      const entry = this.#ring[(this.#head + i) & (this.#ring.length - 1)] as number;
      const request = entry & requestMask;
      if (leading && !ended && request === Request.sync) {
        this.#ignoredSyncs++;
        this.#count(entry);
      } else if (leading && !ended && request === Request.copyEnd) {
        ended = true;
        this.#count(entry);
      } else {
        leading = false;
        following.push(entry);
      }
    }
    this.#length = 1;
    for (const entry of following) {
      this.#ring[(this.#head + this.#length) & (this.#ring.length - 1)] = entry;
      this.#length++;
    }
    this.#copy = ended ? Copy.none : Copy.in;
    const isExecute = ((this.#ring[this.#head] as number) & requestMask) === Request.execute;
    if (isExecute && this.#ignoredSyncs > 0 && !following.some(endsBatch)) this.#batch = Batch.open;
  }

  #pop(): void {
    assert(this.#length > 0, "a reply ends a request");
    this.#leave();
    if (this.#length > 0) this.#drain();
  }

  #dropFirst(refused: boolean): void {
    if ((this.#leave() & hasOutcome) !== 0) this.#outcomes.shift()?.onFailed(refused);
  }

  #count(entry: number): void {
    if ((entry & handlingMask) !== Handling.swallow) this.#answered++;
  }

  /** The first entry leaves the queue. */
  #leave(): number {
    const entry = this.#ring[this.#head] as number;
    this.#count(entry);
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#length--;
    return entry;
  }

  /** Everything at the head that no server answers is done now. */
  #drain(): void {
    while (this.#length > 0) {
      const entry = this.#ring[this.#head] as number;
      const synthesised = (entry & handlingMask) === Handling.synthesise;
      if (!synthesised && (entry & requestMask) !== Request.copyEnd) return;
      if (synthesised) {
        if ((entry & hasOutcome) !== 0) this.#outcomes.shift()?.onDone();
        this.#synthesised.push((entry & requestMask) === Request.parse ? parseComplete : closeComplete);
      }
      this.#leave();
    }
  }

  #grow(): void {
    const next = new Uint8Array(this.#ring.length * 2);
    for (let i = 0; i < this.#length; i++)
      next[i] = this.#ring[(this.#head + i) & (this.#ring.length - 1)] as number;
    this.#ring = next;
    this.#head = 0;
  }
}

function endsBatch(entry: number): boolean {
  const request = entry & requestMask;
  return request === Request.sync || request === Request.query || request === Request.functionCall;
}

function unexpected(type: number, request: number): PeerError {
  const asked = Object.entries(Request).find(([, value]) => value === request)?.[0] ?? "nothing";
  return protocolViolation(`server sent message "${String.fromCharCode(type)}" in reply to ${asked}`, {
    code: "peer.unexpected_reply",
    source: "server",
  });
}
