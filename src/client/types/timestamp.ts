/**
 * A point in time to the microsecond, which is what PostgreSQL keeps. It is a Date, so that everything which
 * takes a Date takes it, and it knows the three digits that a Date has no room for.
 */
import { timestampText } from "./calendar.ts";

export class Timestamp extends Date {
  /** 0 to 999: the microseconds since the millisecond that the Date tells. */
  readonly microseconds: number;
  /** Microseconds since the epoch, for what lies beyond a Date: it ends in 275760, PostgreSQL in 294276. */
  readonly #beyond: bigint | undefined;

  /**
   * `milliseconds` since 1970-01-01 UTC, rounded down, and the microseconds behind them, 0 to 999. Milliseconds
   * may be a bigint; where those are beyond the range of a Date, the Date is invalid, and only
   * {@link epochMicroseconds} and the texts are right.
   */
  constructor(milliseconds: number | bigint, microseconds = 0) {
    super(Number(milliseconds));
    this.microseconds = microseconds;
    this.#beyond =
      typeof milliseconds === "bigint" && Number.isNaN(this.getTime())
        ? milliseconds * 1000n + BigInt(microseconds)
        : undefined;
  }

  /** From microseconds since 1970-01-01 UTC. */
  static fromEpochMicroseconds(microseconds: bigint): Timestamp {
    const rest = ((microseconds % 1000n) + 1000n) % 1000n;
    const milliseconds = (microseconds - rest) / 1000n;
    return new Timestamp(milliseconds, Number(rest));
  }

  /** Microseconds since 1970-01-01 UTC. Throws RangeError if the Date is invalid by the caller's doing. */
  get epochMicroseconds(): bigint {
    return this.#beyond ?? BigInt(this.getTime()) * 1000n + BigInt(this.microseconds);
  }

  /** Whether it lies beyond what a Date reaches, so that the Date is invalid and the rest is right. */
  get beyondDate(): boolean {
    return this.#beyond !== undefined;
  }

  /** ISO 8601 in UTC, with six digits behind the second where three do not tell all. */
  override toISOString(): string {
    if (this.#beyond !== undefined) return `+${timestampText(this.#beyond, "Z", "T")}`;
    const text = super.toISOString();
    if (this.microseconds === 0) return text;
    return `${text.slice(0, -1)}${String(this.microseconds).padStart(3, "0")}Z`;
  }

  /** As {@link toISOString}; null for an invalid Date, as Date has it. */
  override toJSON(): string {
    // Date's own looks at getTime, which is NaN beyond the range of a Date.
    return this.#beyond === undefined ? super.toJSON() : this.toISOString();
  }
}

/** The text of a point in time for PostgreSQL, in UTC with its offset; undefined for an invalid Date. */
export function instantText(value: Date): string | undefined {
  const time = value.getTime();
  // The years 1 to 9999, which ISO 8601 and PostgreSQL write alike.
  if (time >= -62_135_596_800_000 && time < 253_402_300_800_000) return value.toISOString();
  if (Number.isNaN(time) && !(value instanceof Timestamp && value.beyondDate)) return undefined;
  const microseconds = value instanceof Timestamp ? value.epochMicroseconds : BigInt(time) * 1000n;
  return timestampText(microseconds, "+00");
}
