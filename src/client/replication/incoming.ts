/**
 * What replication commands have in common that stream: messages of the server become events, which wait for
 * the caller up to a bound, and then the server has to wait. Around the COPY there are result sets of one or
 * few rows.
 */
import { Deque } from "../../base/deque.ts";
import { OperationError } from "../../base/errors.ts";
import { Backend } from "../../wire/constants.ts";
import { unexpected } from "../query/exchange.ts";
import type { QueryHost } from "../query/query.ts";
import { decodeColumns, malformed, type RowOptions, RowReader } from "../query/rows.ts";
import { SimpleCommand } from "../query/simple-command.ts";
import { TypeRegistry } from "../types/registry.ts";
import type { ReplicationRow } from "./rows.ts";

/** Bytes that wait for the caller; then nothing is read. */
const waitingBytesMax = 1024 * 1024;
/** What an event costs beside its bytes. */
const eventBytes = 200;
const rowOptions: RowOptions = {
  rowMode: "object",
  format: "text",
  columns: undefined,
  types: TypeRegistry.builtin,
};

export abstract class IncomingCommand<Event> extends SimpleCommand {
  /** Resolves when the COPY has begun, or has been left out; rejects if the server refuses. */
  readonly ready: Promise<void>;
  /** The COPY has begun. */
  protected begun = false;
  readonly #events = new Deque<Event>();
  #waitingBytes = 0;
  #reader: RowReader | undefined;
  #resultSets = 0;
  #taken = false;
  #discarded = false;
  #waiters: (() => void)[] = [];
  #resolve: () => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor(host: QueryHost, text: string, signal: AbortSignal | undefined) {
    super(host, text, signal);
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever takes the events hears of a failure there.
    this.ready.catch(() => {});
  }

  /** Nothing of it is left on the connection. */
  get over(): boolean {
    return this.ended;
  }

  /** Nobody wants what still comes. */
  protected get discarded(): boolean {
    return this.#discarded || this.aborted;
  }

  /** One CopyData, `buffer[start, end)`. */
  protected abstract data(buffer: Buffer, start: number, end: number): void;
  /** The COPY begins, or ends, on the server's side. Returns false for a message that must not come. */
  protected abstract copyMessage(type: number): boolean;
  /** A row of the result set with this number, before or behind the COPY. */
  protected abstract row(row: ReplicationRow, resultSet: number): void;
  /** Nothing waits any more, and the command has not ended. */
  protected abstract drained(): void;
  /** Ends it early, as the caller wishes. */
  protected abstract leave(): void;
  protected handedOver(_event: Event): void {}
  protected taken(_event: Event): void {}

  /**
   * The events as they come. Throws the failure behind the last of them. Leaving the loop early ends the
   * command; the connection can be used at once.
   */
  async *events(): AsyncGenerator<Event, void, undefined> {
    if (this.#taken) throw takenTwice();
    this.#taken = true;
    try {
      for (;;) {
        const event = this.#take();
        if (event !== undefined) {
          this.handedOver(event);
          yield event;
          this.taken(event);
        } else if (!this.ended) {
          this.drained();
          await this.moved();
        } else {
          this.throwFailure();
          return;
        }
      }
    } finally {
      await this.discard();
    }
  }

  /** Ends it, throws away what still comes, and waits until nothing does. */
  async discard(): Promise<void> {
    if (this.ended) return;
    this.#discarded = true;
    this.#drop();
    this.leave();
    while (!this.ended) await this.moved();
  }

  throwFailure(): void {
    if (this.failed) throw this.outcome;
  }

  message(type: number, buffer: Buffer, start: number, end: number): boolean {
    switch (type) {
      case Backend.copyData:
        if (!this.begun) throw unexpected(type);
        this.data(buffer, start, end);
        return false;
      case Backend.rowDescription:
        this.#reader = new RowReader(decodeColumns(buffer, start, end), rowOptions);
        this.#resultSets++;
        return false;
      case Backend.dataRow:
        this.#row(buffer, start, end);
        return false;
      case Backend.commandComplete:
        return false;
      default:
        if (!this.copyMessage(type)) throw unexpected(type);
        return false;
    }
  }

  /** The COPY has begun. */
  protected copyBegun(): void {
    this.begun = true;
    this.#resolve();
  }

  /** Lets the caller have an event of so many bytes. */
  protected push(event: Event, bytes: number): void {
    this.#events.push(event);
    this.#waitingBytes += bytes + eventBytes;
    if (this.#waitingBytes > waitingBytesMax) this.host.pause(this);
    this.awake();
  }

  #row(buffer: Buffer, start: number, end: number): void {
    if (this.#reader === undefined) throw malformed();
    this.row(this.#reader.read(buffer, start, end) as ReplicationRow, this.#resultSets - 1);
  }

  #take(): Event | undefined {
    if (this.discarded) return undefined;
    const event = this.#events.shift();
    if (this.#events.length === 0 && this.#waitingBytes > 0) {
      this.#waitingBytes = 0;
      this.host.resume(this);
    }
    return event;
  }

  #drop(): void {
    while (this.#events.shift() !== undefined);
    this.#waitingBytes = 0;
    this.host.resume(this);
  }

  protected moved(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
    });
  }

  protected awake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }

  /** The caller's signal has fired. */
  protected override giveUp(): void {
    this.#drop();
    super.giveUp();
  }

  protected settle(): void {
    this.host.resume(this);
    if (this.failed) this.#reject(this.outcome);
    else this.#resolve();
    this.awake();
  }
}

function takenTwice(): OperationError {
  return new OperationError("the events of a replication command can be taken once", {
    code: "client.query_taken",
    sqlstate: "55000",
    source: "internal",
  });
}
