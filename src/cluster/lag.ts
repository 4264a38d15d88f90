/**
 * How far a standby is behind, in bytes and in time, and whether that is too much.
 *
 * The time is measured here, with one clock: where the primary was, and when, is kept; a standby that has not yet
 * replayed what the primary had written three seconds ago is at least three seconds behind. An idle primary causes no
 * lag this way, and clocks of nodes need not agree. Only a standby behind everything that is kept is judged
 * by its own word too (the age of the last transaction it has replayed).
 *
 * Both are lower bounds: a standby is compared with what the primary was known to have written when the standby was asked.
 */
import type { Answer } from "./health.ts";
import type { NodeSettings } from "./topology.ts";

/** Ten minutes at one probe a second; what is older is thinned out. */
const samplesMax = 600;

/** A standby over a limit takes reads again once it is below this part of it, so that it does not flap. */
const resumeRatio = 0.5;

export interface Lag {
  readonly bytes: number;
  readonly ms: number;
}

const none: Lag = Object.freeze({ bytes: 0, ms: 0 });

interface Sample {
  readonly at: number;
  readonly lsn: bigint;
}

/** Where the primary was, and when. Begins anew with each primary. */
export class PrimaryProgress {
  #samples: Sample[] = [];

  clear(): void {
    this.#samples = [];
  }

  note({ report, startedAt }: Answer): void {
    const last = this.#samples.at(-1);
    if (report.lsn === undefined || (last !== undefined && startedAt <= last.at)) return;
    // While the primary is idle, the first moment at a position says all.
    if (last?.lsn === report.lsn) return;
    this.#samples.push({ at: startedAt, lsn: report.lsn });
    if (this.#samples.length <= samplesMax) return;
    this.#samples = this.#samples.filter((_, index) => index % 2 === 0 || index > samplesMax / 2);
  }

  /** Of a standby's answer; undefined if there is nothing to compare with. */
  behind({ report, startedAt }: Answer): Lag | undefined {
    const { lsn } = report;
    // Later ones are of another time than the answer.
    const newest = this.#samples.findLast(({ at }) => at <= startedAt);
    if (lsn === undefined || newest === undefined) return undefined;
    if (lsn >= newest.lsn) return none;
    const missed = this.#samples.findIndex((sample) => sample.lsn > lsn);
    const since = startedAt - (this.#samples[missed]?.at ?? startedAt);
    const own = missed === 0 ? (report.replayAgeMs ?? 0) : 0;
    return { bytes: Number(newest.lsn - lsn), ms: Math.max(since, own) };
  }
}

/** With hysteresis: `lagging` is what it was before. */
export function isLagging(lag: Lag | undefined, settings: NodeSettings, lagging: boolean): boolean {
  if (lag === undefined) return lagging;
  const ratio = lagging ? resumeRatio : 1;
  const over = (value: number, max: number): boolean => max > 0 && value > max * ratio;
  return over(lag.bytes, settings.lagBytesMax) || over(lag.ms, settings.lagMsMax);
}
