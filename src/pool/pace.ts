/**
 * How long one kind of statement takes and how much it returns, as far as that has been seen.
 *
 * Only what is brief shares a server with statements of other clients: whoever is behind it has to wait for it. A
 * statement is brief if a server needs less than `briefMsMax` for it, if it rarely takes much longer than it usually
 * does, and if its results are small.
 *
 * What is seen is never the server's time alone: no reply is seen before the event loop comes to it, and twenty servers
 * on two processors wait for each other. So the *fastest* of the last runs says what a statement needs, and what is
 * slow is measured against the mean: a busy machine must not make everything look slow.
 */

/** What brief statements need less than. */
export const briefMsMax = 2;
/** So many times the mean is slow. */
const slowTimes = 8;
/** At most so many of the last runs were slow. */
const slowShareMax = 0.05;
/** Results of brief statements are smaller. */
const briefBytesMax = 16 * 1024;
/** Runs before a statement may be called brief. */
const runsMin = 3;
/** What one run counts in a mean, and in the share of slow ones. */
const meanWeight = 1 / 16;
const slowWeight = 1 / 64;
/** The fastest run is that of as many last ones, at least. */
const windowRuns = 512;

export class Pace {
  /** What a server needs for a run, in milliseconds. */
  fastMs = 0;
  /** The fastest run of the window at hand, and how many there were in it. */
  #windowMs = Number.POSITIVE_INFINITY;
  #windowLength = 0;
  #meanMs = 0;
  #runs = 0;
  #slowShare = 0;
  #bytes = 0;

  /** Whether it may share a server. */
  get brief(): boolean {
    return (
      this.#runs >= runsMin &&
      this.fastMs < briefMsMax &&
      this.#slowShare <= slowShareMax &&
      this.#bytes < briefBytesMax
    );
  }

  /** One run. Of several whose ends were seen together: the time divided by their number. */
  observe(ms: number, bytes: number): void {
    if (this.#runs < runsMin) {
      // The first ones plan and read from disk.
      this.#meanMs = this.#runs === 0 ? ms : (this.#meanMs + ms) / 2;
      this.fastMs = this.#runs === 0 ? ms : Math.min(this.fastMs, ms);
      this.#runs++;
    } else {
      const slow = ms > Math.max(briefMsMax, slowTimes * this.#meanMs);
      this.#slowShare += ((slow ? 1 : 0) - this.#slowShare) * slowWeight;
      this.#meanMs += (ms - this.#meanMs) * meanWeight;
      this.#noteFastest(ms);
    }
    // A large result is remembered for a while.
    this.#bytes = bytes > this.#bytes ? bytes : this.#bytes + (bytes - this.#bytes) * meanWeight;
  }

  #noteFastest(ms: number): void {
    if (ms < this.#windowMs) this.#windowMs = ms;
    if (ms < this.fastMs) this.fastMs = ms;
    if (++this.#windowLength < windowRuns) return;
    this.fastMs = this.#windowMs;
    this.#windowMs = Number.POSITIVE_INFINITY;
    this.#windowLength = 0;
  }
}
