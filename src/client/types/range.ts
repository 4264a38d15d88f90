/** A range of values between two bounds (docs 8.17). What is a range's type is told by its column alone. */

/** A bound that is null is infinite: nothing lies beyond it. That differs from a bound that is `infinity`. */
export class Range<T = unknown> {
  readonly lower: T | null;
  readonly upper: T | null;
  readonly lowerInclusive: boolean;
  readonly upperInclusive: boolean;
  /** It holds no value at all; the bounds are null then. */
  readonly empty: boolean;

  /**
   * `bounds` are the brackets that PostgreSQL writes: `[` and `]` include, `(` and `)` exclude. An infinite bound
   * is never included. For the range without values there is {@link Range.empty}.
   */
  constructor(lower: T | null, upper: T | null, bounds: "[)" | "[]" | "(]" | "()" | "empty" = "[)") {
    this.empty = bounds === "empty";
    this.lower = this.empty ? null : lower;
    this.upper = this.empty ? null : upper;
    this.lowerInclusive = this.lower !== null && bounds[0] === "[";
    this.upperInclusive = this.upper !== null && bounds[1] === "]";
  }

  /** The range that holds nothing. */
  static empty<T = never>(): Range<T> {
    return new Range<T>(null, null, "empty");
  }
}

/** Its text, with `bound` for the text of a bound. */
export function rangeText(range: Range, bound: (value: unknown) => string): string {
  if (range.empty) return "empty";
  const lower = range.lower === null ? "" : quotedBound(bound(range.lower));
  const upper = range.upper === null ? "" : quotedBound(bound(range.upper));
  return `${range.lowerInclusive ? "[" : "("}${lower},${upper}${range.upperInclusive ? "]" : ")"}`;
}

function quotedBound(text: string): string {
  return /^[\w.+:-]+$/.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`;
}
