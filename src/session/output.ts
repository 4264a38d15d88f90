/**
 * Gathers what is to be sent to one socket and sends it in one write. A single run of bytes is written
 * straight from the chunk it lies in; several small ones are joined in a scratch buffer, which is kept for
 * the next time once the kernel has taken it.
 */
import { assert } from "../base/assert.ts";
import { span } from "../base/span.ts";
import type { Transport } from "../base/transport.ts";

const scratchBytes = 64 * 1024;
/** Longer runs are written by themselves rather than copied. */
const copyBytesMax = 16 * 1024;

const spare: Buffer[] = [];

export class Output {
  #run: Buffer | undefined;
  #runStart = 0;
  #runEnd = 0;
  #scratch: Buffer | undefined;
  #length = 0;

  get empty(): boolean {
    return this.#run === undefined && this.#length === 0;
  }

  /** Adds `buffer[start, end)`, which must stay unchanged until the flush. */
  append(buffer: Buffer, start: number, end: number, transport: Transport): void {
    if (buffer === this.#run && start === this.#runEnd) {
      this.#runEnd = end;
      return;
    }
    this.#spill(transport);
    this.#run = buffer;
    this.#runStart = start;
    this.#runEnd = end;
  }

  /** Sends everything. Returns false if the kernel did not take it all. */
  flush(transport: Transport): boolean {
    if (this.#length === 0) {
      const run = this.#run;
      if (run === undefined) return true;
      this.#run = undefined;
      return transport.write(span(run, this.#runStart, this.#runEnd));
    }
    this.#spill(transport);
    return this.#writeScratch(transport) && transport.pendingBytes === 0;
  }

  /** Forgets what has not been sent. */
  clear(): void {
    this.#run = undefined;
    this.#length = 0;
    if (this.#scratch !== undefined) spare.push(this.#scratch);
    this.#scratch = undefined;
  }

  #spill(transport: Transport): void {
    const run = this.#run;
    if (run === undefined) return;
    this.#run = undefined;
    const bytes = this.#runEnd - this.#runStart;
    if (bytes > copyBytesMax) {
      this.#writeScratch(transport);
      transport.write(run.subarray(this.#runStart, this.#runEnd));
      return;
    }
    if (this.#length + bytes > scratchBytes) this.#writeScratch(transport);
    this.#scratch ??= spare.pop() ?? Buffer.allocUnsafeSlow(scratchBytes);
    run.copy(this.#scratch, this.#length, this.#runStart, this.#runEnd);
    this.#length += bytes;
  }

  #writeScratch(transport: Transport): boolean {
    const scratch = this.#scratch;
    if (this.#length === 0 || scratch === undefined) return true;
    assert(this.#length <= scratchBytes, "the scratch buffer is never overfull");
    const taken = transport.write(scratch.subarray(0, this.#length));
    this.#length = 0;
    this.#scratch = undefined;
    // Bytes that are still waiting are read from the buffer later: then it is not ours any more.
    if (taken) spare.push(scratch);
    return taken;
  }
}
