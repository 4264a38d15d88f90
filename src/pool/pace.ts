/**
 * How long one kind of statement takes and how much it returns, as far as that has been seen.
 *
 * Only what is brief shares a server with statements of other clients: whoever is behind it has to wait for it. A
 * statement is brief once a few runs have been seen, nearly all of the last ones took less than `briefMsMax`, and its
 * results are small.
 *
 * No reply is seen before the event loop comes to it. So a run counts as slow only if it took longer than the bound
 * and several turns of the loop together; a busy pooler must not take its own slowness for the server's.
 */
import { turnMs } from "../base/turn-writes.ts";

/** What 95 of 100 runs have to stay below. */
export const briefMsMax = 2;
/** Turns of the event loop that are not counted. */
const turnsUnseen = 4;
/** Results of brief statements are smaller. */
const briefBytesMax = 16 * 1024;
/** Runs before a statement may be called brief. */
const runsMin = 3;
/** What one observation counts in a mean. */
const weight = 1 / 16;
const slowWeight = 1 / 64;
const slowShareMax = 0.05;

export class Pace {
  /** How long a run takes a server, in milliseconds. */
  meanMs = 0;
  #runs = 0;
  #slowShare = 0;
  #bytes = 0;

  /** Whether it may share a server. */
  get brief(): boolean {
    return this.#runs >= runsMin && this.#slowShare <= slowShareMax && this.#bytes < briefBytesMax;
  }

  /** One run. Of several whose ends were seen together: the time divided by their number. */
  observe(ms: number, bytes: number): void {
    const slow = ms > briefMsMax + turnsUnseen * turnMs();
    if (this.#runs < runsMin) {
      // The first ones plan and read from disk; the fastest says most.
      this.meanMs = this.#runs === 0 ? ms : Math.min(this.meanMs, ms);
      this.#runs = slow ? 0 : this.#runs + 1;
    } else {
      this.meanMs += (Math.min(ms, briefMsMax) - this.meanMs) * weight;
      this.#slowShare += ((slow ? 1 : 0) - this.#slowShare) * slowWeight;
    }
    // A large result is remembered for a while.
    this.#bytes = bytes > this.#bytes ? bytes : this.#bytes + (bytes - this.#bytes) * weight;
  }
}
