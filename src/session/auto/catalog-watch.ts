/**
 * When it is worth reading a database's catalogs again, because others may have changed them. PostgreSQL tells nobody of
 * DDL, but counts what it changes in its catalogs; to ask for these counts costs next to nothing, and whoever uses the database is
 * asked for every second. They come when the session that made the DDL ends, or runs something a second later, or has been
 * idle for ten (pgstat_report_stat in the server's pgstat.c). Where nothing is counted (track_counts), age alone tells.
 */
import type { Statistics } from "../../pool/statistics.ts";

/** Pause between looks of those who use the database, and of those who are only connected. */
const lookMs = 1000;
const idleLookMs = 30_000;
/** After a reading the next one waits for so long, and for so many times as long as that took: who makes many tables shall not cost much. */
const pauseMs = 5000;
const pauseFactor = 20;

export class CatalogWatch {
  readonly #statistics: Pick<Statistics, "receivedBytes">;
  /** What had been counted when the catalogs were read last. Undefined: they were not, or nothing is counted. */
  #count: string | undefined;
  #beganAtMs = 0;
  #notBeforeMs = 0;
  #lookedAtMs = 0;
  #lookedAtBytes = 0;

  constructor(statistics: Pick<Statistics, "receivedBytes">) {
    this.#statistics = statistics;
  }

  /** Somebody should look. */
  due(nowMs: number): boolean {
    if (this.#count === undefined) return false;
    const used = this.#statistics.receivedBytes !== this.#lookedAtBytes;
    return nowMs - this.#lookedAtMs >= (used ? lookMs : idleLookMs);
  }

  /** The count is being asked for: by itself, or in front of a reading. */
  asking(nowMs: number): void {
    this.#beganAtMs = nowMs;
    this.#lookedAtMs = nowMs;
    this.#lookedAtBytes = this.#statistics.receivedBytes;
  }

  /** The catalogs have been read, after so much had been counted. */
  read(count: string | undefined, nowMs: number): void {
    this.#count = count;
    this.#notBeforeMs = nowMs + Math.max(pauseMs, pauseFactor * (nowMs - this.#beganAtMs));
  }

  /** Whether they should be read again, when so much has been counted. If it is too soon for that, the next look will tell it again. */
  tells(count: string | undefined, nowMs: number): boolean {
    return count !== this.#count && nowMs >= this.#notBeforeMs;
  }
}
