/**
 * How long clients wait from the moment their connection is accepted until their startup packet is there, and until they are
 * logged in, as histograms: where a mean (pgpool-II's of 100 accepts) hides the few that wait long.
 */

/** Upper bounds in microseconds; what took longer has a bucket of its own. */
export const latencyBoundsUs: readonly number[] = [
  ...[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000],
  ...[100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000],
];

export class LatencyHistogram {
  /** How many took at most as long as the bound of the same index, and longer than the one before; last, longer than all. */
  readonly counts: number[] = Array.from({ length: latencyBoundsUs.length + 1 }, () => 0);
  /** How long those of each bucket took together. */
  readonly sumsUs: number[] = this.counts.map(() => 0);

  note(latencyMs: number): void {
    const us = Math.max(0, Math.round(latencyMs * 1000));
    let index = 0;
    while (index < latencyBoundsUs.length && us > (latencyBoundsUs[index] ?? 0)) index++;
    this.counts[index] = (this.counts[index] ?? 0) + 1;
    this.sumsUs[index] = (this.sumsUs[index] ?? 0) + us;
  }
}

export class LoginLatency {
  /** Until the startup packet was read, TLS included: of everybody who sends one. */
  readonly startup: LatencyHistogram = new LatencyHistogram();
  /** Until the session can be used: of clients of databases, not of the console. */
  readonly login: LatencyHistogram = new LatencyHistogram();
}
