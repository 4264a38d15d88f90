/**
 * A buffer that is read into again and again, with the views of its beginning: short ones are made once for each length
 * and kept, since what a statement or its replies take is nearly always of the same few lengths.
 */
const keptBytesMax = 512;

export class ReadBuffer {
  /** Where to read now. */
  bytes: Buffer;
  /** Bytes of the last read are still needed, so that the next one must not overwrite them. */
  retained = false;
  readonly #views = noViews();

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  /** The first so many bytes. */
  first(length: number): Buffer {
    if (length > keptBytesMax) return this.bytes.subarray(0, length);
    return (this.#views[length] ??= this.bytes.subarray(0, length));
  }

  /** Leaves the bytes to those who need them. */
  renew(): void {
    this.bytes = Buffer.allocUnsafeSlow(this.bytes.length);
    this.#views.fill(undefined);
    this.retained = false;
  }
}

/**
 * Full from the start: an array that V8 has moved to its old space becomes a dictionary, and slow to look into, as soon as a place
 * is filled some 320 behind its end (js-objects.cc, ShouldConvertToSlowElements).
 */
function noViews(): (Buffer | undefined)[] {
  return Array.from({ length: keptBytesMax + 1 }, () => undefined);
}
