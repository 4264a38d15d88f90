/** Assertions stay on in production: a broken invariant ends the one session it belongs to, loudly. */

/** A mistake in this program. Never caught to be ignored. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Throws an {@link AssertionError} unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(`assertion failed: ${message}`);
}

/** For the default branch of an exhaustive switch: does not compile while a case is missing. */
export function unreachable(value: never, what: string): never {
  throw new AssertionError(`assertion failed: unexpected ${what}: ${String(value)}`);
}
