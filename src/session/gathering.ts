/**
 * The messages of a client that has no server: those of a unit are kept until it can run, what PostgreSQL would
 * drop is dropped.
 */
import { assert } from "../base/assert.ts";
import { Frontend, TransactionStatus } from "../wire/constants.ts";
import { encodeReadyForQuery } from "../wire/encode-backend.ts";
import { Frame, type Framer } from "../wire/framer.ts";
import type { AutoSession } from "./auto/auto.ts";
import { completesUnit, endsUnit, giveUnit, takeUnit, type Unit } from "./unit.ts";

const readyIdle = encodeReadyForQuery(TransactionStatus.idle);

/** What a client has not sent yet of a batch. */
export type Rest = "nothing" | "messages" | "message";

/** What became of a message. */
export const Gathered = {
  /** It means nothing now. */
  dropped: 0,
  /** A Sync behind nothing: to be answered. */
  answered: 1,
  /** Kept; more has to come. */
  more: 2,
  /** Kept; the unit can run, or has to begin. */
  complete: 3,
} as const;
export type Gathered = (typeof Gathered)[keyof typeof Gathered];

export class Gathering {
  /** Exists while something is gathered: an idle client needs none. */
  unit: Unit | undefined;
  /** Parts of a streamed message that nobody wants: a stray CopyData, a cancelled Query. */
  dropping = false;
  /** A part of a batch was sent, to a server that the client does not hold. */
  batchOpen = false;
  /** A cancel hit an unfinished batch: drop what comes until Sync. */
  #skippingToSync = false;
  readonly #auto: AutoSession | undefined;

  constructor(auto: AutoSession | undefined) {
    this.#auto = auto;
  }

  /** Of the client's transaction: it is in one that no server knows of yet, or in none. */
  get status(): TransactionStatus {
    return this.#auto?.status ?? TransactionStatus.idle;
  }

  /** ReadyForQuery without a server. */
  get ready(): Buffer {
    const { status } = this;
    return status === TransactionStatus.idle ? readyIdle : encodeReadyForQuery(status);
  }

  /** Whether the message at hand, or its first part, is one that the server would skip. */
  skips(kind: Frame, type: number): boolean {
    if (!this.#skippingToSync || type === Frontend.sync || type === Frontend.terminate) return false;
    this.dropping = kind === Frame.head;
    return true;
  }

  /** Whether nobody wants this further part of a message. */
  dropsPart(kind: Frame): boolean {
    if (!this.dropping) return false;
    this.dropping = kind !== Frame.tail;
    return true;
  }

  add(kind: Frame, framer: Framer): Gathered {
    const { type } = framer;
    switch (type) {
      case Frontend.copyData:
      case Frontend.copyDone:
      case Frontend.copyFail:
        // The server drops these outside COPY: the rest of a COPY that failed (postgres.c PostgresMain).
        if (this.unit !== undefined) break;
        this.dropping = kind === Frame.head;
        return Gathered.dropped;
      case Frontend.sync:
        if (this.unit !== undefined || this.batchOpen) break;
        this.#skippingToSync = false;
        return Gathered.answered;
      case Frontend.flush:
        if (this.unit === undefined && !this.batchOpen) return Gathered.dropped;
        break;
      default:
    }
    if (this.unit === undefined) {
      this.unit = takeUnit();
      this.#auto?.beginUnit();
    }
    this.unit.push(kind, type, framer.buffer, framer.start, framer.end);
    this.#auto?.note(type, framer.buffer, framer.start, framer.end, kind === Frame.whole);
    // The parts that follow the first of a long message need somewhere to go.
    const answered = type === Frontend.execute && this.#auto?.copiesIn === true;
    const complete = completesUnit(type) || kind === Frame.head || this.unit.full || answered;
    return complete ? Gathered.complete : Gathered.more;
  }

  /** The replies to the unit, if it needs no server; it is over then. */
  answer(): Buffer | undefined {
    const replies = this.unit === undefined ? undefined : this.#auto?.answer(this.unit);
    if (replies !== undefined) this.forget();
    return replies;
  }

  forget(): void {
    if (this.unit !== undefined) giveUnit(this.unit);
    this.unit = undefined;
  }

  /** What was sent has no answer any more, and what belongs to it is dropped. Returns ReadyForQuery, if it is due. */
  skipRest(rest: Rest): Buffer | undefined {
    this.batchOpen = false;
    this.dropping = rest === "message";
    this.#skippingToSync = rest !== "nothing";
    this.forget();
    return this.#skippingToSync ? undefined : this.ready;
  }

  /** The unit is cancelled: what is still to come of its last message or its batch is dropped. Returns ReadyForQuery, if it is due. */
  cancel(): Buffer | undefined {
    const { unit } = this;
    assert(unit !== undefined && !unit.empty, "a client waits because of a unit");
    const last = unit.length - 1;
    this.dropping = unit.kind(last) === Frame.head;
    this.#skippingToSync = !endsUnit(unit.type(last));
    this.forget();
    this.#auto?.onCancelled();
    return this.#skippingToSync ? undefined : this.ready;
  }
}
