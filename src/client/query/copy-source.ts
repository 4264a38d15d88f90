/**
 * Where COPY data come from: the caller's chunks, taken one at a time and never faster than the server takes them.
 * A source may fail, stall or never end. What it does must not keep a copy from ending that the server has refused,
 * that the caller has aborted, or whose session is lost.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { isUint8Array } from "node:util/types";
import { OperationError } from "../../base/errors.ts";
import type { CopyHost, CopyIn, CopyResult } from "./copy.ts";

/** Bytes or text to copy in; text is sent as UTF-8. */
export type CopySource =
  | Iterable<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>
  | ReadableStream<Uint8Array | string>;

type Chunks = Iterator<unknown> | AsyncIterator<unknown>;

/** A CopyData has at most this much; the server would take one of a gigabyte for a broken message. */
const messageBytesMax = 16 * 1024 * 1024;
/** A source that is always ready, and a kernel that takes everything, would leave no turn to anybody else. */
const turnBytesMax = 4 * 1024 * 1024;

/** Copies from `source` into `copy`, which has been submitted. Rejects with what the source throws. */
export async function copyInto(host: CopyHost, copy: CopyIn, source: CopySource): Promise<CopyResult> {
  if (!(await copy.ready)) return await copy.result;
  try {
    await writeAll(host, copy, source);
  } catch (error) {
    copy.abandon("the source of the data failed");
    await copy.result.catch(() => {});
    throw error;
  }
  copy.done();
  return await copy.result;
}

async function writeAll(host: CopyHost, copy: CopyIn, source: CopySource): Promise<void> {
  const chunks: Chunks =
    Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  const encoder = new ChunkEncoder();
  let turnBytes = 0;
  try {
    while (copy.accepting) {
      const step = await next(copy, chunks);
      // Over before the source has answered: its iterator is at work, and cannot be asked to stop.
      if (step === undefined) return void leave(chunks);
      if (step.done === true) return encoder.end();
      const data = encoder.encode(step.value);
      for (let start = 0; copy.accepting && start < data.length; start += messageBytesMax) {
        await host.writeCopyData(data.subarray(start, start + messageBytesMax));
      }
      turnBytes += data.length;
      if (turnBytes < turnBytesMax) continue;
      turnBytes = 0;
      await nextTurn();
    }
  } catch (error) {
    await leave(chunks);
    throw error;
  }
  await leave(chunks);
}

/** The next chunk; undefined if the copy is over before it is there. */
async function next(copy: CopyIn, chunks: Chunks): Promise<IteratorResult<unknown> | undefined> {
  const step = chunks.next();
  const settled = "then" in step ? await copy.orOver(step) : step;
  if (settled === undefined || settled.done === true || !(settled.value instanceof Promise)) return settled;
  // An iterable of promises.
  const value = await copy.orOver(
    settled.value.then((chunk: unknown) => ({ done: false as const, value: chunk })),
  );
  return value;
}

/** Lets the source clean up. The outcome is the copy's, whatever comes of this. */
async function leave(chunks: Chunks): Promise<void> {
  try {
    await chunks.return?.();
  } catch {}
}

/** Chunks as bytes. Text may be cut anywhere, between the two halves of a surrogate pair as well. */
class ChunkEncoder {
  #half = "";

  encode(chunk: unknown): Uint8Array {
    if (typeof chunk === "string") return this.#text(chunk);
    if (!isUint8Array(chunk)) throw badChunk();
    this.end();
    return chunk;
  }

  /** Throws OperationError `client.bad_text` (22021) if half of a pair is left. */
  end(): void {
    if (this.#half !== "") throw badText();
  }

  #text(chunk: string): Uint8Array {
    let text = this.#half + chunk;
    this.#half = "";
    const last = text.charCodeAt(text.length - 1);
    if (last >= 0xd800 && last <= 0xdbff) {
      this.#half = text.slice(-1);
      text = text.slice(0, -1);
    }
    if (!text.isWellFormed()) throw badText();
    return Buffer.from(text);
  }
}

function badChunk(): OperationError {
  return new OperationError("a chunk of COPY data is a string or a Uint8Array", {
    code: "client.bad_parameter",
    sqlstate: "22023",
    source: "internal",
  });
}

function badText(): OperationError {
  return new OperationError("a text for PostgreSQL cannot hold half of a surrogate pair", {
    code: "client.bad_text",
    sqlstate: "22021",
    source: "internal",
  });
}
