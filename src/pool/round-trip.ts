/**
 * How long a question and its answer are under way between the pooler and the servers of one pool, beyond what the
 * server does: what a query takes that does nothing. Without it every statement would look slow from far away.
 *
 * Found by asking (session/auto/classification.ts), now and then. A busy machine makes that look long, so whatever is
 * answered sooner corrects it.
 */

/** Less is no network, but chance. */
const networkMsMin = 1;

export class RoundTrip {
  #ms = 0;

  /** In milliseconds; 0: not known yet, or too short to count. */
  get ms(): number {
    return this.#ms < networkMsMin ? 0 : this.#ms;
  }

  /** A query that does nothing took so long, just now. */
  measure(ms: number): void {
    this.#ms = ms;
  }

  /** Something was answered in this time. */
  answered(ms: number): void {
    if (ms < this.#ms) this.#ms = ms;
  }

  /** What the server itself needed, of what has passed between a question and its answer. */
  without(ms: number): number {
    return Math.max(0, ms - this.ms);
  }
}
