/** Where strings that end with NUL end. */

/** Names are short: up to here a loop is sooner done than the call of `indexOf`. */
const loopBytesMax = 24;

/** Where the first NUL at or behind `from` is; below 0: there is none. */
export function indexOfNul(buffer: Buffer, from: number): number {
  const stop = Math.min(buffer.length, from + loopBytesMax);
  for (let at = from; at < stop; at++) if (buffer[at] === 0) return at;
  return buffer.indexOf(0, stop);
}
