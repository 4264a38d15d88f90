/**
 * How long one kind of statement takes and how much it returns, as far as that has been seen.
 *
 * Only what is brief shares a server with statements of other clients: whoever is behind it has to wait for it. A
 * statement is brief if a server needs less than a limit for it (`multiplex_latency`), if 95 of 100 runs take no longer than
 * that either, or not much longer than it usually does, and if its results are small.
 *
 * What is seen is never the server's time alone: no reply is seen before the event loop comes to it, and twenty servers
 * on two processors wait for each other. So the *fastest* of the last runs says what a statement needs, and what is
 * slow is measured against the mean: a busy machine must not make everything look slow.
 *
 * Besides that it is noted when 99 of 100 runs have been answered: whatever is not by then is blocked, perhaps, and nobody
 * should be sent behind it. That is a quantile found by steps: up by a tenth for an answer that came later, down by a
 * thousandth for one that did not, so that it comes to rest where one of a hundred is later.
 */

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
/** Steps of the quantile, as factors: 99 of the second undo one of the first. */
const laterFactor = 1.1;
const soonerFactor = laterFactor ** (-1 / 99);
/** The quantile is never less: it would not come back. */
const answeredMsMin = 0.01;

export class Pace {
  /** What a server needs for a run, in milliseconds. */
  fastMs = 0;
  /** In which time 99 of 100 answers have come, once their unit was in front. */
  answeredMs = 0;
  /** The fastest run of the window at hand, and how many there were in it. */
  #windowMs = Number.POSITIVE_INFINITY;
  #windowLength = 0;
  #meanMs = 0;
  #runs = 0;
  #slowShare = 0;
  #bytes = 0;

  /** Whether it may share a server where statements have to be quicker than this. */
  isBrief(limitMs: number): boolean {
    return (
      this.#runs >= runsMin &&
      this.fastMs < limitMs &&
      this.#slowShare <= slowShareMax &&
      this.#bytes < briefBytesMax
    );
  }

  /** One run. Of several whose ends were seen together: the time divided by their number. */
  observe(ms: number, bytes: number, limitMs: number): void {
    if (this.#runs < runsMin) {
      // The first ones plan and read from disk.
      this.#meanMs = this.#runs === 0 ? ms : (this.#meanMs + ms) / 2;
      this.fastMs = this.#runs === 0 ? ms : Math.min(this.fastMs, ms);
      this.#runs++;
    } else {
      const slow = ms > Math.max(limitMs, slowTimes * this.#meanMs);
      this.#slowShare += ((slow ? 1 : 0) - this.#slowShare) * slowWeight;
      this.#meanMs += (ms - this.#meanMs) * meanWeight;
      this.#noteFastest(ms);
    }
    // A large result is remembered for a while.
    this.#bytes = bytes > this.#bytes ? bytes : this.#bytes + (bytes - this.#bytes) * meanWeight;
  }

  /** The answer to a run came so long after its unit was in front, with those to others or not. */
  observeAnswer(ms: number): void {
    if (this.answeredMs === 0) this.answeredMs = Math.max(answeredMsMin, ms);
    else if (ms > this.answeredMs) this.answeredMs *= laterFactor;
    else this.answeredMs = Math.max(answeredMsMin, this.answeredMs * soonerFactor);
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
