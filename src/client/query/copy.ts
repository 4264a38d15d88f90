/**
 * COPY in both directions, with back-pressure: what goes in is taken from its source no faster than the server
 * takes it, and what comes out is read no faster than the caller takes it. Chunks need not end where rows do.
 */
import { Backend, headerBytes } from "../../wire/constants.ts";
import { unexpected } from "./exchange.ts";
import { takenTwice, useCopy } from "./faults.ts";
import type { QueryHost } from "./query.ts";
import { parseTag } from "./result.ts";
import { SimpleCommand } from "./simple-command.ts";

export interface CopyResult {
  /** Rows copied; null from servers that do not say. */
  readonly rowCount: number | null;
}

/** What is needed of the session to send COPY data. */
export interface CopyHost extends QueryHost {
  /** Sends one chunk of COPY data. Resolves when there is room for the next. */
  writeCopyData(data: Uint8Array): Promise<void>;
}

/** COPY … FROM STDIN. The caller waits for `ready`, writes, says `done` or `abandon`, and waits for `result`. */
export class CopyIn extends SimpleCommand {
  /** The server waits for data; false if it has refused, which `result` then tells. */
  readonly ready: Promise<boolean>;
  readonly result: Promise<CopyResult>;
  #setReady: (ready: boolean) => void = () => {};
  #resolve: (result: CopyResult) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #rowCount: number | null = null;
  #accepting = false;
  #begun = false;
  #over: () => void = () => {};

  constructor(host: QueryHost, sql: string, signal: AbortSignal | undefined) {
    super(host, sql, signal);
    this.ready = new Promise((resolve) => {
      this.#setReady = resolve;
    });
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever waits for `ready` first hears of a failure by `result` afterwards.
    this.result.catch(() => {});
  }

  /** Whether more data makes sense: the server still takes them. */
  get accepting(): boolean {
    return this.#accepting && !this.failed && !this.ended;
  }

  /** What `pending` comes to; undefined if the copy is over before. */
  orOver<Value>(pending: Promise<Value>): Promise<Value | undefined> {
    return new Promise((resolve, reject) => {
      this.#over = () => resolve(undefined);
      if (this.ended) this.#over();
      pending.then(resolve, reject);
    });
  }

  /** All data have been written. */
  done(): void {
    if (this.#accepting && !this.ended) this.host.write((out) => out.copyDone());
    this.#accepting = false;
  }

  /** No more data will come; the server undoes the COPY and answers with the reason (57014). */
  abandon(reason: string): void {
    if (this.#accepting && !this.ended) this.host.write((out) => out.copyFail(reason));
    this.#accepting = false;
  }

  message(type: number, buffer: Buffer, start: number, end: number): boolean {
    switch (type) {
      case Backend.copyInResponse:
        if (this.#begun) {
          // A second COPY in one text: its data have no source.
          this.fail(useCopy());
          this.refuseData();
          return false;
        }
        this.#begun = true;
        this.#accepting = true;
        if (this.aborted) this.stop();
        this.#setReady(!this.aborted);
        return false;
      case Backend.commandComplete:
        this.#rowCount = copiedRows(buffer, start, end) ?? this.#rowCount;
        return false;
      default:
        return passOver(this, type);
    }
  }

  /** A server that reads COPY data does not look at cancel requests; that the data end here, it hears. */
  protected override stop(): void {
    if (this.#accepting) this.abandon("the copy was aborted");
    else super.stop();
  }

  protected settle(): void {
    if (!this.#begun) this.fail(useCopy());
    this.#setReady(false);
    this.#accepting = false;
    this.#over();
    if (this.failed) this.#reject(this.outcome);
    else this.#resolve({ rowCount: this.#rowCount });
  }
}

/** Bytes that wait for the caller; then the server has to wait. */
const waitingBytesMax = 512 * 1024;
const blockBytes = 64 * 1024;

/** COPY … TO STDOUT: an asynchronous sequence of chunks. */
export class CopyOut extends SimpleCommand implements AsyncIterable<Buffer> {
  /** What has come and has not been taken: full blocks, and one that is being filled. */
  #blocks: Buffer[] = [];
  #block: Buffer = Buffer.allocUnsafeSlow(blockBytes);
  #filled = 0;
  #waitingBytes = 0;
  #rowCount: number | null = null;
  #waiters: (() => void)[] = [];
  #taken = false;
  #discarded = false;
  #begun = false;

  /** Rows copied, once it is over; null before. */
  get rowCount(): number | null {
    return this.#rowCount;
  }

  /** The data as they come. Leaving the loop early cancels the rest; within a transaction it is read to its end. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    if (this.#taken) throw takenTwice();
    this.#taken = true;
    try {
      for (;;) {
        const chunk = this.#take();
        if (chunk !== undefined) yield chunk;
        else if (!this.ended) await this.#moved();
        else if (this.failed) throw this.outcome;
        else return;
      }
    } finally {
      await this.#discard();
    }
  }

  /** The same as a stream of the web. */
  readable(): ReadableStream<Uint8Array> {
    const chunks = this[Symbol.asyncIterator]();
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller): Promise<void> {
          const { done, value } = await chunks.next();
          if (done === true) controller.close();
          else controller.enqueue(value);
        },
        // Not by the generator: it may be waiting for data that never come.
        cancel: () => this.#discard(),
      },
      { highWaterMark: 0 },
    );
  }

  message(type: number, buffer: Buffer, start: number, end: number): boolean {
    switch (type) {
      case Backend.copyData:
        this.#data(buffer, start + headerBytes, end);
        return false;
      case Backend.commandComplete:
        this.#rowCount = copiedRows(buffer, start, end) ?? this.#rowCount;
        return false;
      case Backend.copyOutResponse:
        this.#begun = true;
        return false;
      case Backend.copyDone:
        return false;
      default:
        return passOver(this, type);
    }
  }

  #data(buffer: Buffer, start: number, end: number): void {
    if (this.#discarded || this.failed) return;
    const bytes = end - start;
    if (this.#filled + bytes > this.#block.length) this.#startBlock(bytes);
    buffer.copy(this.#block, this.#filled, start, end);
    this.#filled += bytes;
    this.#waitingBytes += bytes;
    if (this.#waitingBytes > waitingBytesMax) this.host.pause(this);
    this.#awake();
  }

  #startBlock(bytes: number): void {
    if (this.#filled > 0) this.#blocks.push(this.#block.subarray(0, this.#filled));
    this.#block = Buffer.allocUnsafeSlow(Math.max(blockBytes, bytes));
    this.#filled = 0;
  }

  /** Whoever keeps a chunk keeps its block: what came in drops is copied to its own size. */
  #cutBlock(): void {
    if (this.#filled * 2 > this.#block.length) return this.#startBlock(0);
    this.#blocks.push(Buffer.from(this.#block.subarray(0, this.#filled)));
    this.#filled = 0;
  }

  #take(): Buffer | undefined {
    if (this.#blocks.length === 0 && this.#filled > 0) this.#cutBlock();
    const chunk = this.#blocks.shift();
    if (chunk === undefined) return undefined;
    this.#waitingBytes -= chunk.length;
    if (this.#waitingBytes === 0) this.host.resume(this);
    return chunk;
  }

  #moved(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
    });
  }

  #awake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }

  async #discard(): Promise<void> {
    this.#discarded = true;
    this.#blocks = [];
    this.#filled = 0;
    this.host.resume(this);
    if (this.ended) return;
    // A cancel request would end the transaction that it runs in.
    if (this.host.idle) this.giveUp();
    while (!this.ended) await this.#moved();
  }

  protected settle(): void {
    if (!this.#begun) this.fail(useCopy());
    this.host.resume(this);
    this.#awake();
  }
}

/** Rows that a COPY has copied; null for the tags of other statements in the same text. */
function copiedRows(buffer: Buffer, start: number, end: number): number | null {
  const { command, rowCount } = parseTag(buffer, start, end);
  return command === "COPY" ? rowCount : null;
}

/** Statements around the COPY may return rows; a COPY of the other direction is a mistake of the caller's. */
function passOver(command: CopyIn | CopyOut, type: number): boolean {
  switch (type) {
    case Backend.copyInResponse:
      command.fail(useCopy());
      command.refuseData();
      return false;
    case Backend.copyOutResponse:
      command.fail(useCopy());
      return false;
    case Backend.rowDescription:
    case Backend.dataRow:
    case Backend.commandComplete:
    case Backend.emptyQueryResponse:
    case Backend.copyData:
    case Backend.copyDone:
      return false;
    default:
      throw unexpected(type);
  }
}
