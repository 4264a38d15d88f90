/**
 * One Query message: the simple protocol, which takes several statements at once and returns a result for
 * each. Everything comes as text. It is also what COPY and replication commands begin with.
 */
import type { Failure } from "../../base/errors.ts";
import { Backend } from "../../wire/constants.ts";
import { unwatchAbort, watchAbort } from "./abort.ts";
import { type Command, unexpected } from "./exchange.ts";
import { isValueFault, useCopy, warnIfThrows } from "./faults.ts";
import type { Outgoing } from "./outgoing.ts";
import type { QueryHost } from "./query.ts";
import { parseTag, type Result } from "./result.ts";
import { decodeColumns, type RowOptions, RowReader } from "./rows.ts";

export interface SimpleInit<Row> {
  readonly sql: string;
  readonly rows: RowOptions;
  readonly signal: AbortSignal | undefined;
  /** Hears each result as soon as it is there. What it throws becomes a warning of the process. */
  readonly onResult: ((result: Result<Row>) => void) | undefined;
}

/** Base of everything that one Query message starts. */
export abstract class SimpleCommand implements Command {
  readonly ending = "ready";
  readonly exclusive = true;
  dropped = false;
  protected readonly host: QueryHost;
  protected failure: Failure | undefined;
  /** The caller's signal has fired: its reason is what the caller hears. */
  protected aborted = false;
  protected ended = false;
  readonly #sql: string;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: () => void;
  #current = false;
  #unwanted = false;

  constructor(host: QueryHost, sql: string, signal: AbortSignal | undefined) {
    this.host = host;
    this.#sql = sql;
    this.#signal = signal;
    this.#onAbort = () => this.#abort();
    if (signal?.aborted === true) {
      this.aborted = true;
      this.dropped = true;
    } else if (signal !== undefined) {
      watchAbort(signal, this.#onAbort);
    }
  }

  /** What the caller is to hear, if it is no success. */
  protected get outcome(): unknown {
    return this.aborted ? (this.#signal?.reason as unknown) : this.failure;
  }

  protected get failed(): boolean {
    return this.aborted || this.failure !== undefined;
  }

  abstract message(type: number, buffer: Buffer, start: number, end: number): boolean;
  /** It is over. */
  protected abstract settle(): void;

  write(out: Outgoing): void {
    out.query(this.#sql);
  }

  begin(): void {
    this.#current = true;
    if (this.#unwanted) this.stop();
  }

  fail(error: Failure): void {
    this.failure ??= error;
  }

  /** Answers a CopyInResponse that nobody has data for. */
  refuseData(): void {
    this.host.write((out) => out.copyFail("the statement was not run by copyFrom"));
  }

  end(): "done" {
    if (this.ended) return "done";
    this.ended = true;
    this.#current = false;
    if (this.#signal !== undefined) unwatchAbort(this.#signal, this.#onAbort);
    this.settle();
    return "done";
  }

  #abort(): void {
    if (this.ended) return;
    this.aborted = true;
    this.giveUp();
  }

  /** Nobody wants the rest: it is not sent, or cancelled as soon as the request can hit nothing else. */
  protected giveUp(): void {
    this.#unwanted = true;
    this.host.resume(this);
    if (this.host.withdraw(this)) this.end();
    else if (this.#current) this.stop();
  }

  /** Ends what the server runs for it. */
  protected stop(): void {
    this.host.cancel();
  }
}

export class MultipleStatements<Row> extends SimpleCommand {
  readonly #results: Result<Row>[] = [];
  readonly #rows: RowOptions;
  readonly #onResult: ((result: Result<Row>) => void) | undefined;
  #reader: RowReader | undefined;
  #current: Row[] = [];
  readonly promise: Promise<Result<Row>[]>;
  #resolve: (results: Result<Row>[]) => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor(host: QueryHost, init: SimpleInit<Row>) {
    super(host, init.sql, init.signal);
    this.#rows = init.rows;
    this.#onResult = init.onResult;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  message(type: number, buffer: Buffer, start: number, end: number): boolean {
    switch (type) {
      case Backend.rowDescription:
        this.#reader = new RowReader(decodeColumns(buffer, start, end), this.#rows);
        return false;
      case Backend.dataRow:
        this.#row(buffer, start, end);
        return false;
      case Backend.commandComplete: {
        const { command, rowCount } = parseTag(buffer, start, end);
        this.host.statements.note(command);
        this.#finishStatement(command, rowCount);
        return false;
      }
      case Backend.emptyQueryResponse:
        this.#finishStatement("", null);
        return false;
      case Backend.copyInResponse:
        this.fail(useCopy());
        this.refuseData();
        return false;
      case Backend.copyBothResponse:
        this.fail(useCopy());
        this.host.write((out) => out.copyDone());
        return false;
      case Backend.copyOutResponse:
        this.fail(useCopy());
        return false;
      case Backend.copyData:
      case Backend.copyDone:
        return false;
      default:
        throw unexpected(type);
    }
  }

  #row(buffer: Buffer, start: number, end: number): void {
    if (this.failed) return;
    if (this.#reader === undefined) throw unexpected(Backend.dataRow);
    try {
      this.#current.push(this.#reader.read(buffer, start, end) as Row);
    } catch (error) {
      if (!isValueFault(error)) throw error;
      this.fail(error as Failure);
    }
  }

  #finishStatement(command: string, rowCount: number | null): void {
    const result = { command, rowCount, rows: this.#current, columns: this.#reader?.columns ?? [] };
    this.#current = [];
    this.#reader = undefined;
    if (this.failed) return;
    this.#results.push(result);
    if (this.#onResult !== undefined) warnIfThrows(this.#onResult, result);
  }

  protected settle(): void {
    if (this.failed) this.#reject(this.outcome);
    else this.#resolve(this.#results);
  }
}
