/**
 * How long a question and its answer are under way between the pooler and the servers of one pool, beyond what the
 * server does: what a query takes that does nothing. Without it every statement would look slow from far away.
 *
 * Found by asking (session/auto/classification.ts), now and then. A busy machine makes that look long, so whatever is
 * answered sooner corrects it. On a standby, whose catalogs nobody reads, a server that has answered a read is asked before it is given back.
 */
import type { Clock } from "../base/clock.ts";
import { encodeQuery } from "../wire/encode-frontend.ts";
import type { Server } from "./server.ts";
import { askUnseen, unseenOwner } from "./unseen.ts";

/** Less is no network, but chance. */
const networkMsMin = 1;
/** What was measured is believed for so long. */
const believedMs = 60_000;
/** Whoever was to measure may have been prevented. */
const claimedMs = 1000;
/** Queries that do nothing, one after the other: the shortest time counts. */
export const roundTripProbes = 3;
export const emptyQuery: Buffer = encodeQuery("");

export class RoundTrip {
  #ms = 0;
  #measured = false;
  #dueAtMs = Number.NEGATIVE_INFINITY;

  /** In milliseconds; 0: not known yet, or too short to count. */
  get ms(): number {
    return this.#ms < networkMsMin ? 0 : this.#ms;
  }

  /** It was measured, if only long ago. */
  get measured(): boolean {
    return this.#measured;
  }

  /** Whether it is to be measured; whoever is told so has to do it. */
  claim(nowMs: number): boolean {
    if (nowMs < this.#dueAtMs) return false;
    this.#dueAtMs = nowMs + claimedMs;
    return true;
  }

  /** A query that does nothing took so long, just now. */
  measure(ms: number, nowMs: number): void {
    this.#ms = ms;
    this.#measured = true;
    this.#dueAtMs = nowMs + believedMs;
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

/** Measures by a server that nobody has and that owes nothing. `onDone`: nobody has it again; never if it is lost. */
export function measureRoundTrip(
  server: Server,
  roundTrip: RoundTrip,
  clock: Clock,
  onDone: () => void,
): void {
  let left = roundTripProbes;
  let shortestMs = Number.POSITIVE_INFINITY;
  let sentMs = 0;
  const ask = (): void => {
    sentMs = clock.now();
    askUnseen(server, emptyQuery, () => undefined);
  };
  server.owner = unseenOwner(() => {
    const nowMs = clock.now();
    shortestMs = Math.min(shortestMs, nowMs - sentMs);
    left--;
    if (left > 0) return ask();
    roundTrip.measure(shortestMs, nowMs);
    server.owner = undefined;
    onDone();
  });
  ask();
}
