/**
 * How far the receiver of a stream is, and what of it the server is told. sans-IO.
 *
 * Written follows what the caller has taken. Flushed and applied are the caller's word, with one exception: in a
 * logical stream of which nothing is unconfirmed, the position of a keepalive confirms itself, as in
 * PostgreSQL's own subscriber (worker.c, get_flush_position). Otherwise a slot whose database or publication
 * sees no changes would hold the log of all others for ever.
 */
import type { ReplicationEvent, ReplicationKind, ReplicationPositions } from "./messages.ts";

export class ReplicationProgress {
  readonly #kind: ReplicationKind;
  #written = 0n;
  #flushed = 0n;
  #applied = 0n;
  #receivedEnd = 0n;
  /** Data have come that no confirmation was made behind. */
  #unconfirmed = false;
  /** Data that have come and have not been taken. */
  #waiting = 0;

  constructor(kind: ReplicationKind) {
    this.#kind = kind;
  }

  get positions(): ReplicationPositions {
    return { written: this.#written, flushed: this.#flushed, applied: this.#applied };
  }

  received(event: ReplicationEvent): void {
    if (event.kind === "data") {
      this.#waiting++;
      this.#unconfirmed = true;
      this.#receivedEnd = larger(this.#receivedEnd, event.end);
    } else if (this.#kind === "logical" && !this.#unconfirmed) {
      this.#flushed = larger(this.#flushed, event.end);
      this.#applied = larger(this.#applied, event.end);
    }
  }

  /** The caller has it, before it has done anything with it. */
  handedOver(event: ReplicationEvent): void {
    if (event.kind === "data") this.#waiting--;
  }

  /** The caller has come for the next. */
  taken(event: ReplicationEvent): void {
    this.#written = larger(this.#written, event.end);
  }

  /** The caller's word; what it leaves out stays. Positions never go back. */
  confirm(positions: Partial<ReplicationPositions>): void {
    const { written = 0n, flushed = 0n, applied = 0n } = positions;
    this.#flushed = larger(this.#flushed, flushed);
    this.#applied = larger(this.#applied, applied);
    this.#written = larger(this.#written, larger(written, this.#flushed));
    if (this.#waiting === 0 && flushed >= this.#receivedEnd) this.#unconfirmed = false;
  }
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
