/**
 * One statement by the extended protocol, and what the caller holds of it: a promise of the whole result, or
 * an asynchronous sequence of rows that are read no faster than they are taken.
 *
 * Text and parameters go out in one write: Parse, Bind, Describe, Execute, Sync; a text that is known, without
 * Parse and Describe. Only where a parameter's meaning depends on its type (an array may be an SQL array or
 * JSON), and the type is not known yet, the server is asked first, once for each text.
 */
import type { Failure } from "../../base/errors.ts";
import { Backend } from "../../wire/constants.ts";
import { decodeBackend } from "../../wire/decode-backend.ts";
import { ServerError } from "../errors.ts";
import { TypeRegistry } from "../types/registry.ts";
import { unwatchAbort, watchAbort } from "./abort.ts";
import { type Command, unexpected } from "./exchange.ts";
import { isValueFault, takenTwice, useCopy } from "./faults.ts";
import type { EncodedParameter, Outgoing } from "./outgoing.ts";
import { parseTag, type Result } from "./result.ts";
import { type Column, decodeColumns, type RowOptions, type RowReader } from "./rows.ts";
import type { Statement, StatementCache } from "./statements.ts";

/** What a query needs of the session that it runs on. */
export interface QueryHost {
  readonly statements: StatementCache;
  /** Whether the session is outside of a transaction block. */
  readonly idle: boolean;
  /** Whether nothing has been sent behind it. */
  isAlone(command: Command): boolean;
  /** Takes a query out of the queue again; false if it has been sent. */
  withdraw(command: Command): boolean;
  /** Asks the server to cancel what it runs; nothing new is sent before that request has been taken. */
  cancel(): void;
  /** Rows pile up: nothing is read until {@link resume}, or until another query waits behind. */
  pause(command: Command): void;
  resume(command: Command): void;
  /** Bytes outside of the order of commands, for COPY. */
  write(messages: (out: Outgoing) => void): void;
}

export interface QueryInit {
  readonly statement: Statement;
  readonly values: readonly unknown[];
  readonly rows: RowOptions;
  readonly signal: AbortSignal | undefined;
  readonly ending: "result" | "ready";
  /** Hears of the end once; for tracing. */
  readonly onEnd?: ((error: unknown, result: Result<unknown> | undefined) => void) | undefined;
}

/** Bytes of rows that wait for an iterating caller; then the server has to wait. */
const waitingBytesMax = 256 * 1024;

const noColumns: readonly Column[] = [];
const noNames: readonly string[] = [];

export class Query<Row> implements Command, Promise<Result<Row>>, AsyncIterable<Row> {
  readonly [Symbol.toStringTag] = "Query";
  readonly ending: "result" | "ready";
  dropped = false;
  readonly #host: QueryHost;
  readonly #init: QueryInit;
  /** Waiting for the types of its parameters. */
  #describing = false;
  /** Its Parse gives the statement its name. */
  #preparing = false;
  /** The name that it relies on, given before; empty: none. */
  #usedName = "";
  /** What it relies on besides: columns that were told before. */
  #knownColumns: readonly Column[] | null | undefined;
  /** Names that its messages close on the server, and that it has not confirmed yet. */
  #closing: readonly string[] = noNames;
  #closedCount = 0;
  /** The server has taken the statement itself, and then its parameters: what fails now has been run. */
  #parsed = false;
  #bound = false;
  /** The server no longer has the name, or another result for it. */
  #stale = false;
  #retried = false;
  #reader: RowReader | undefined;
  #rows: Row[] = [];
  #rowCount: number | null = null;
  #command = "";
  #failure: Failure | undefined;
  #ended = false;
  #current = false;
  #aborted = false;
  /** How the rows are taken; whoever comes first decides. */
  #taking: "undecided" | "whole" | "iterated" | "discarded" = "undecided";
  /** Bytes of the rows that nobody has taken yet. */
  #waitingBytes = 0;
  #promise: Promise<Result<Row>> | undefined;
  #settle: (() => void) | undefined;
  #onAbort: (() => void) | undefined;

  /** @internal Made by a session; the caller submits it. */
  constructor(host: QueryHost, init: QueryInit) {
    this.#host = host;
    this.#init = init;
    this.ending = init.ending;
    const { signal } = init;
    if (signal === undefined) return;
    if (signal.aborted) {
      this.#aborted = true;
      this.dropped = true;
      return;
    }
    this.#onAbort = () => this.#abort();
    watchAbort(signal, this.#onAbort);
  }

  get exclusive(): boolean {
    return this.#describing || this.#init.signal !== undefined;
  }

  /** The promise of the whole result: rejects with ServerError, OperationError or the signal's reason. */
  // biome-ignore lint/suspicious/noThenProperty: awaiting a query is what it is for
  // oxlint-disable-next-line unicorn/no-thenable
  then<Value = Result<Row>, Other = never>(
    onResult?: ((result: Result<Row>) => Value | PromiseLike<Value>) | null,
    onError?: ((error: unknown) => Other | PromiseLike<Other>) | null,
  ): Promise<Value | Other> {
    return this.#whole().then(onResult, onError);
  }

  catch<Other = never>(
    onError?: ((error: unknown) => Other | PromiseLike<Other>) | null,
  ): Promise<Result<Row> | Other> {
    return this.#whole().catch(onError);
  }

  finally(onEnd?: (() => void) | null): Promise<Result<Row>> {
    return this.#whole().finally(onEnd);
  }

  /**
   * The rows one by one. The server is not read faster than they are taken. Leaving the loop early cancels the
   * rest; the session can be used at once.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Row, void, undefined> {
    for await (const rows of this.chunks()) yield* rows;
  }

  /** The rows in groups, as they arrive from the network: the fastest way through a large result. */
  async *chunks(): AsyncGenerator<Row[], void, undefined> {
    if (this.#taking !== "undecided") throw takenTwice();
    this.#taking = "iterated";
    try {
      for (;;) {
        if (this.#rows.length > 0) {
          const rows = this.#rows;
          this.#rows = [];
          this.#waitingBytes = 0;
          this.#host.resume(this);
          yield rows;
        } else if (this.#ended) {
          this.#throwFailure();
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#settle = resolve;
          });
        }
      }
    } finally {
      await this.#discard();
    }
  }

  /** Nobody takes the rest: it is cancelled if that can hit nothing else, and waited for. */
  async #discard(): Promise<void> {
    if (this.#ended) return;
    this.#taking = "discarded";
    this.#rows = [];
    this.#host.resume(this);
    if (this.#host.withdraw(this)) return this.#finish();
    // In a pipeline or a transaction the request would undo what came before; behind others it might hit one.
    const harmless = this.ending === "ready" && this.#host.idle && this.#host.isAlone(this);
    if (harmless) this.#host.cancel();
    await new Promise<void>((resolve) => {
      this.#settle = resolve;
    });
  }

  #whole(): Promise<Result<Row>> {
    if (this.#promise !== undefined) return this.#promise;
    if (this.#taking !== "undecided") return Promise.reject(takenTwice());
    this.#taking = "whole";
    this.#host.resume(this);
    this.#promise = new Promise((resolve, reject) => {
      this.#settle = () => {
        // The caller's own reason, whatever it is.
        // oxlint-disable-next-line typescript/prefer-promise-reject-errors
        if (this.#aborted) reject(this.#init.signal?.reason);
        else if (this.#failure !== undefined) reject(this.#failure);
        else resolve(this.#result());
      };
    });
    if (this.#ended) this.#settle?.();
    return this.#promise;
  }

  #result(): Result<Row> {
    return {
      command: this.#command,
      rowCount: this.#rowCount,
      rows: this.#rows,
      columns: this.#reader?.columns ?? noColumns,
    };
  }

  #throwFailure(): void {
    if (this.#aborted) throw this.#init.signal?.reason;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #abort(): void {
    if (this.#ended) return;
    this.#aborted = true;
    this.#host.resume(this);
    if (this.#host.withdraw(this)) this.#finish();
    else if (this.#current) this.#host.cancel();
  }

  // What follows is the session's side.

  /** @internal */
  write(out: Outgoing): void {
    const { statement, values, rows } = this.#init;
    const { statements } = this.#host;
    if (
      this.ending === "ready" &&
      statement.parameterTypes === undefined &&
      values.some((value) => dependsOnType(value, rows.types))
    ) {
      this.#describing = true;
      out.parse("", statement.text, []);
      out.describeStatement("");
      return out.sync();
    }
    const parameters = this.#encode();
    this.#closing = statements.takeEvicted();
    for (const name of this.#closing) out.closeStatement(name);
    this.#usedName = statement.ready ? statement.name : "";
    this.#knownColumns = statement.ready ? statement.columns : undefined;
    this.#preparing = !statement.ready && statements.named(statement);
    const name = statement.ready || this.#preparing ? statement.name : "";
    if (!statement.ready) out.parse(name, statement.text, statement.parameterTypes ?? []);
    const binary = this.#init.rows.format === "binary";
    out.bind(name, parameters, binary ? 1 : 0);
    if (this.#knownColumns === undefined) out.describePortal();
    out.execute();
    if (this.ending === "ready") out.sync();
  }

  #encode(): readonly EncodedParameter[] {
    const { statement, values, rows } = this.#init;
    if (values.length === 0) return noParameters;
    const encoded: EncodedParameter[] = [];
    for (let index = 0; index < values.length; index++) {
      encoded.push(encode(rows.types, values[index], statement.parameterTypes?.[index] ?? 0));
    }
    return encoded;
  }

  /** @internal */
  begin(): void {
    this.#current = true;
    if (this.#aborted) this.#host.cancel();
  }

  /** @internal */
  message(type: number, buffer: Buffer, start: number, end: number): boolean {
    switch (type) {
      case Backend.dataRow:
        this.#row(buffer, start, end);
        return false;
      case Backend.commandComplete:
        this.#complete(buffer, start, end);
        return this.ending === "result";
      case Backend.rowDescription:
        this.#described(decodeColumns(buffer, start, end));
        return false;
      case Backend.noData:
        this.#described(null);
        return false;
      case Backend.parseComplete:
        this.#parsed = true;
        if (this.#preparing) this.#host.statements.confirm(this.#init.statement);
        return false;
      case Backend.bindComplete:
        this.#bound = true;
        this.#useColumns(this.#knownColumns);
        return false;
      case Backend.closeComplete:
        this.#closedCount++;
        return false;
      case Backend.parameterDescription:
        this.#typed(buffer, start, end);
        return false;
      case Backend.emptyQueryResponse:
        return this.ending === "result";
      case Backend.copyData:
      case Backend.copyDone:
        return false;
      case Backend.copyInResponse:
        // With statements behind it that the server takes for COPY data, order is lost.
        if (!this.#host.isAlone(this)) throw unexpected(type);
        this.fail(useCopy());
        // The Sync that was sent already is ignored while the server waits for COPY data (docs 54.2.6).
        this.#host.write((out) => {
          out.copyFail("the statement was not run by copyFrom");
          if (this.ending === "ready") out.sync();
        });
        return false;
      case Backend.copyOutResponse:
        this.fail(useCopy());
        return false;
      default:
        throw unexpected(type);
    }
  }

  #described(columns: readonly Column[] | null): void {
    if (this.#describing) return;
    this.#init.statement.columns = columns;
    this.#useColumns(columns);
  }

  #useColumns(columns: readonly Column[] | null | undefined): void {
    if (columns === null || columns === undefined) return;
    const { statement, rows } = this.#init;
    this.#guarded(() => {
      this.#reader = statement.reader(columns, rows);
    });
  }

  #typed(buffer: Buffer, start: number, end: number): void {
    const message = decodeBackend(buffer, start, end);
    if (message.kind === "ParameterDescription") this.#init.statement.parameterTypes = message.types;
  }

  #row(buffer: Buffer, start: number, end: number): void {
    if (this.#failure !== undefined || this.#taking === "discarded" || this.#aborted) return;
    const reader = this.#reader;
    if (reader === undefined) throw unexpected(Backend.dataRow);
    try {
      this.#rows.push(reader.read(buffer, start, end) as Row);
    } catch (error) {
      return this.#decodingFailed(error);
    }
    if (this.#taking === "whole") return;
    this.#waitingBytes += end - start;
    if (this.#taking === "iterated") this.#wake();
    if (this.#waitingBytes > waitingBytesMax) this.#host.pause(this);
  }

  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#decodingFailed(error);
    }
  }

  /** A value that cannot be decoded ends the query; a message that is none ends the session. */
  #decodingFailed(error: unknown): void {
    if (!isValueFault(error)) throw error;
    this.fail(error as Failure);
  }

  #complete(buffer: Buffer, start: number, end: number): void {
    const { command, rowCount } = parseTag(buffer, start, end);
    this.#command = command;
    this.#rowCount = rowCount;
    this.#host.statements.note(command);
  }

  /** @internal */
  fail(error: Failure): void {
    this.#failure ??= error;
    const { statement } = this.#init;
    if (this.#preparing && !statement.ready) statement.name = "";
    if (!(error instanceof ServerError)) return;
    if (this.#usedName === "") {
      // Types of its parameters that were asked for before may be the reason.
      if (!this.#parsed) statement.parameterTypes = undefined;
    } else if (!this.#bound) {
      this.#stale = isStale(error);
      // The same holds for a name: what it was prepared with may no longer fit the tables.
      if (this.#stale || error.sqlstate.startsWith("42")) {
        this.#host.statements.forget(statement, this.#usedName);
      }
    }
  }

  /** @internal */
  end(alone: boolean): "done" | "again" {
    this.#current = false;
    if (this.#closedCount < this.#closing.length) {
      this.#host.statements.giveBack(this.#closing.slice(this.#closedCount));
    }
    this.#closing = noNames;
    this.#closedCount = 0;
    this.#parsed = false;
    if (this.#describing && this.#failure === undefined && !this.#aborted) {
      this.#describing = false;
      return "again";
    }
    if (alone && this.#mayRetry()) {
      this.#stale = false;
      this.#failure = undefined;
      this.#retried = true;
      return "again";
    }
    this.#finish();
    return "done";
  }

  /** Nothing has been run and nothing else is asked for, so outside of a transaction it can be prepared anew. */
  #mayRetry(): boolean {
    return this.#stale && this.ending === "ready" && !this.#retried && !this.#aborted && this.#host.idle;
  }

  #finish(): void {
    this.#ended = true;
    // Rows that came last may have stopped the reading; nothing more of it is to come.
    this.#host.resume(this);
    const { signal, onEnd } = this.#init;
    if (signal !== undefined && this.#onAbort !== undefined) unwatchAbort(signal, this.#onAbort);
    if (onEnd !== undefined) {
      const error: unknown = this.#aborted ? signal?.reason : this.#failure;
      onEnd(error, error === undefined ? this.#result() : undefined);
    }
    this.#wake();
  }

  #wake(): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.();
  }
}

/**
 * A prepared statement is gone (26000, after DEALLOCATE or behind a pooler) or has another result now (0A000 from
 * plancache.c). Before BindComplete nothing has been run then.
 */
function isStale(error: ServerError): boolean {
  return (
    error.sqlstate === "26000" ||
    (error.sqlstate === "0A000" && error.fields.routine === "RevalidateCachedQuery")
  );
}

const noParameters: readonly EncodedParameter[] = [];

/** What everybody encodes alike needs no registry. */
function encode(types: TypeRegistry, value: unknown, oid: number): EncodedParameter {
  if (value === null || value === undefined) return null;
  if (oid === 0 && typeof value === "string") return value;
  return types.encodeParameter(value, oid);
}

/**
 * Whether what a value becomes depends on the parameter's type. Of the built-in types that are arrays, dates and
 * other objects, but no bytes; codecs of the caller's own see everything but texts.
 */
function dependsOnType(value: unknown, types: TypeRegistry): boolean {
  if (typeof value === "object") return value !== null && !(value instanceof Uint8Array);
  return types !== TypeRegistry.builtin && typeof value !== "string" && value !== undefined;
}
