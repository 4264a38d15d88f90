/**
 * A session with a PostgreSQL server, as programs use it: queries, pipelines, COPY, LISTEN, transactions,
 * cancel. One session does one thing at a time, in the order in which it is asked; asking does not wait, so
 * queries that are asked for together travel together.
 *
 * Nothing here has to be listened to for the process to stay alive: an end of the session is what the
 * promises of its queries, and `closed`, say.
 */
import type { Failure } from "../base/errors.ts";
import { TransactionStatus } from "../wire/constants.ts";
import type { ErrorFields } from "../wire/fields.ts";
import { type TraceOptions, Tracer } from "../wire/trace.ts";
import {
  type ColumnCodecs,
  type ConnectionOptions,
  cancelTimeoutMsDefault,
  connectionClosed,
  type ExecuteOptions,
  pipelineOpen,
  prepareThresholdDefault,
  type QueryOptions,
  statementCacheSizeDefault,
  type TransactionState,
  transactionOpen,
} from "./connection-options.ts";
import type { ConnectOptions } from "./conninfo/options.ts";
import { cancelBackend, type OpenConnection } from "./handshake/driver.ts";
import type { ConnectedEndpoint } from "./handshake/targets.ts";
import { CopyIn, CopyOut, type CopyResult } from "./query/copy.ts";
import { type CopySource, copyInto } from "./query/copy-source.ts";
import { Describe, type StatementDescription } from "./query/describe.ts";
import type { Command } from "./query/exchange.ts";
import { warnIfThrows } from "./query/faults.ts";
import { Listener, Listeners } from "./query/listener.ts";
import { Pipeline } from "./query/pipeline.ts";
import { Query } from "./query/query.ts";
import { escapeIdentifier } from "./query/quoting.ts";
import type { Result } from "./query/result.ts";
import type { RowOptions } from "./query/rows.ts";
import { Session } from "./query/session.ts";
import { MultipleStatements } from "./query/simple-command.ts";
import { StatementCache } from "./query/statements.ts";
import { beginStatement, Transaction, type TransactionOptions } from "./query/transaction.ts";
import { isTraced, queryChannel, traceContext, traceStart } from "./tracing.ts";
import type { DecodedRow } from "./types/decoded-row.ts";
import { TypeRegistry } from "./types/registry.ts";

export class Connection {
  readonly #connectOptions: ConnectOptions;
  readonly #options: ConnectionOptions;
  readonly #types: TypeRegistry;
  readonly #reconnect: (signal: AbortSignal) => Promise<OpenConnection>;
  readonly #listeners = new Listeners();
  #session: Session;
  #pipeline: Pipeline | undefined;
  #transaction: Transaction | undefined;
  #resetting: Promise<void> | undefined;
  /** Ends a reset under way: the connection is wanted no more. */
  #resetEnd: AbortController | undefined;
  #setClosed: (failure: Failure | undefined) => void = () => {};
  #closed: Promise<Failure | undefined>;

  /** @internal See `connect`. To be called in the same turn in which the session was opened. */
  constructor(
    open: OpenConnection,
    connectOptions: ConnectOptions,
    options: ConnectionOptions,
    reconnect: (signal: AbortSignal) => Promise<OpenConnection>,
  ) {
    this.#connectOptions = connectOptions;
    this.#options = options;
    this.#types = options.types ?? TypeRegistry.builtin;
    this.#reconnect = reconnect;
    this.#closed = this.#newClosed();
    this.#session = this.#start(open);
    for (const notice of open.notices) this.#notice(notice);
  }

  #newClosed(): Promise<Failure | undefined> {
    return new Promise((resolve) => {
      this.#setClosed = resolve;
    });
  }

  #start(open: OpenConnection): Session {
    return new Session({
      open,
      statements: new StatementCache(
        this.#options.statementCacheSize ?? statementCacheSizeDefault,
        this.#options.prepareThreshold ?? prepareThresholdDefault,
      ),
      cancel: (target) => this.#cancel(target),
      listener: {
        onNotice: (fields) => this.#notice(fields),
        onNotification: (channel, payload, pid) => this.#listeners.deliver({ channel, payload, pid }),
        onClose: (failure) => {
          if (this.#resetEnd === undefined) this.#listeners.fail(failure ?? connectionClosed());
          this.#setClosed(failure);
        },
      },
    });
  }

  #notice(fields: ErrorFields): void {
    const { onNotice } = this.#options;
    if (onNotice !== undefined) warnIfThrows(onNotice, fields);
  }

  // Statements.

  /**
   * Runs one statement by the extended protocol. Await it for the whole result, or iterate over it for rows as
   * they come. Texts that come often are prepared under a name by themselves.
   *
   * Rejects with ServerError (the server's SQLSTATE), OperationError `client.connection_lost` (08006 or the
   * server's own), `client.connection_closed` (08003), `client.bad_parameter`, `client.column_type` (42804),
   * or the signal's reason.
   */
  query<Columns extends ColumnCodecs>(
    text: string,
    values: readonly unknown[] | undefined,
    options: QueryOptions & { readonly columns: Columns; readonly rowMode?: "object" | undefined },
  ): Query<DecodedRow<Columns>>;
  query(
    text: string,
    values: readonly unknown[] | undefined,
    options: QueryOptions & { readonly rowMode: "array" },
  ): Query<unknown[]>;
  query(
    text: string,
    values: readonly unknown[] | undefined,
    options: QueryOptions & { readonly rowMode: "text" },
  ): Query<(string | null)[]>;
  query(
    text: string,
    values: readonly unknown[] | undefined,
    options: QueryOptions & { readonly rowMode: "raw" },
  ): Query<(Buffer | null)[]>;
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: QueryOptions,
  ): Query<Row>;
  query(text: string, values: readonly unknown[] = [], options: QueryOptions = {}): Query<unknown> {
    if (this.#pipeline !== undefined) throw pipelineOpen();
    return this.#query(text, values, options, "ready");
  }

  #query(
    text: string,
    values: readonly unknown[],
    options: QueryOptions,
    ending: "ready" | "result",
    session: Session = this.#session,
  ): Query<unknown> {
    const query = new Query<unknown>(session, {
      statement: session.statements.use(text),
      values,
      rows: this.#rowOptions(options),
      signal: options.signal,
      ending,
      onEnd: isTraced(queryChannel) ? this.#traceQuery(text) : undefined,
    });
    session.submit(query);
    return query;
  }

  #rowOptions(options: QueryOptions): RowOptions {
    return {
      rowMode: options.rowMode ?? "object",
      format: options.rowMode === "text" ? "text" : (options.format ?? "text"),
      columns: options.columns,
      types: options.types ?? this.#types,
    };
  }

  #traceQuery(text: string): (error: unknown, result: Result<unknown> | undefined) => void {
    const { host, port } = this.endpoint;
    const end = traceStart(queryChannel, traceContext({ database: this.database, host, port, text }));
    return (error, result) => end(error, result?.rowCount);
  }

  /**
   * Runs one or more statements, separated by semicolons, by the simple protocol: without parameters, in text
   * format, in one implicit transaction. Resolves with one result for each. Rejects as {@link query} does; what
   * came before the error, `onResult` has heard.
   */
  async execute<Row = Record<string, unknown>>(
    sql: string,
    options: ExecuteOptions<Row> = {},
  ): Promise<Result<Row>[]> {
    if (this.#pipeline !== undefined) throw pipelineOpen();
    const command = new MultipleStatements<Row>(this.#session, {
      sql,
      rows: this.#rowOptions({ rowMode: options.rowMode, types: options.types }),
      signal: options.signal,
      onResult: options.onResult,
    });
    this.#session.submit(command);
    return await command.promise;
  }

  /** What the server says of a statement's parameters and columns, without running it. */
  async describe(text: string): Promise<StatementDescription> {
    if (this.#pipeline !== undefined) throw pipelineOpen();
    const command = new Describe(text);
    this.#session.submit(command);
    return await command.promise;
  }

  /**
   * Opens pipeline mode, as PQenterPipelineMode does. Until it is closed all statements go through the
   * pipeline; others are refused with OperationError `client.pipeline_open` (55000).
   */
  pipeline(): Pipeline {
    if (this.#pipeline !== undefined) throw pipelineOpen();
    const session = this.#session;
    const pipeline = new Pipeline({
      submit: (command) => session.submit(command),
      pipelined: (text, values, options) => this.#query(text, values, options, "result", session),
      flush: () => session.flush(),
      leave: () => {
        if (this.#pipeline === pipeline) this.#pipeline = undefined;
      },
    });
    this.#pipeline = pipeline;
    return pipeline;
  }

  // COPY.

  /**
   * COPY … FROM STDIN. Takes chunks from `source` as fast as the server takes them. If the source fails, the
   * COPY is undone and this rejects with the source's error.
   */
  async copyFrom(
    sql: string,
    source: CopySource,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<CopyResult> {
    if (this.#pipeline !== undefined) throw pipelineOpen();
    const session = this.#session;
    const copy = new CopyIn(session, sql, options.signal);
    session.submit(copy);
    return await copyInto(session, copy, source);
  }

  /** COPY … TO STDOUT: an asynchronous sequence of chunks, read no faster than they are taken. */
  copyTo(sql: string, options: { readonly signal?: AbortSignal | undefined } = {}): CopyOut {
    if (this.#pipeline !== undefined) throw pipelineOpen();
    const copy = new CopyOut(this.#session, sql, options.signal);
    this.#session.submit(copy);
    return copy;
  }

  // Transactions.

  /**
   * BEGIN. `await using transaction = await connection.begin()` rolls back what was not committed. Rejects with
   * OperationError `client.transaction_open` (25001) within another: PostgreSQL has no nested transactions.
   */
  async begin(options: TransactionOptions = {}): Promise<Transaction> {
    if (this.#transaction?.open === true) throw transactionOpen();
    const session = this.#session;
    const transaction = new Transaction({
      command: (sql) => {
        if (this.#pipeline !== undefined) throw pipelineOpen();
        return this.#query(sql, [], {}, "ready", session);
      },
      usable: () => session.usable,
    });
    const begun = this.query(beginStatement(options));
    this.#transaction = transaction;
    try {
      await begun;
    } catch (error) {
      this.#transaction = undefined;
      throw error;
    }
    return transaction;
  }

  /**
   * Runs `work` between BEGIN and COMMIT; if it rejects, ROLLBACK, and its error is passed on. A `work` that has
   * ended the transaction itself is left alone.
   */
  async transaction<Value>(
    work: (transaction: Transaction) => PromiseLike<Value>,
    options: TransactionOptions = {},
  ): Promise<Value> {
    await using transaction = await this.begin(options);
    const value = await work(transaction);
    if (transaction.open) await transaction.commit();
    return value;
  }

  // Notifications.

  /** LISTEN. Iterate over what is returned; leaving the loop, or disposing of it, is UNLISTEN. */
  async listen(channel: string): Promise<Listener> {
    const listener = new Listener(channel, async (stopped) => {
      const session = this.#session;
      if (!this.#listeners.remove(stopped) || !session.usable) return;
      try {
        await this.query(`UNLISTEN ${escapeIdentifier(channel)}`);
      } catch (error) {
        // With the session everything that it listened to is gone.
        if (session.usable) throw error;
      }
    });
    this.#listeners.add(listener);
    try {
      // Also for a second one: within a transaction that is rolled back the first may have come to nothing.
      await this.query(`LISTEN ${escapeIdentifier(channel)}`);
    } catch (error) {
      this.#listeners.remove(listener);
      throw error;
    }
    return listener;
  }

  // Cancel.

  /**
   * Asks the server to cancel what this session runs now, as PQcancelBlocking does: on a connection of its own,
   * encrypted if this one is. Resolves when the request has been taken, which is no promise of an effect: the
   * query tells by its own outcome. Rejects with ConnectError if the request cannot be delivered.
   */
  async cancel(): Promise<void> {
    await this.#cancel(this.#session.open);
  }

  #cancel(open: OpenConnection): Promise<void> {
    const timeoutMs = this.#options.cancelTimeoutMs ?? cancelTimeoutMsDefault;
    return cancelBackend(this.#connectOptions, open, { timeoutMs });
  }

  // What is known of the session.

  get endpoint(): ConnectedEndpoint {
    return this.#session.open.endpoint;
  }

  get user(): string {
    return this.#connectOptions.user;
  }

  get database(): string {
    return this.#connectOptions.database;
  }

  /** Whether it is encrypted. */
  get tls(): boolean {
    return this.#session.open.tls;
  }

  /** 0 if the server told none. */
  get backendPid(): number {
    return this.#session.open.backendPid;
  }

  /** 30000 or 30002, as PQfullProtocolVersion. */
  get protocolVersion(): number {
    const version = this.#session.open.protocolVersion;
    return (version >> 16) * 10_000 + (version & 0xffff);
  }

  /** As PQserverVersion: 180004 for 18.4; 0 if the server tells none. */
  get serverVersion(): number {
    const [major = 0, minor = 0] = (this.parameterStatus("server_version") ?? "")
      .split(/[^0-9]/, 2)
      .map(Number);
    return major * 10_000 + minor;
  }

  /** What the server has reported last; undefined if it reports no such parameter. */
  parameterStatus(name: string): string | undefined {
    return this.#session.open.parameters.get(name);
  }

  get transactionState(): TransactionState {
    const session = this.#session;
    if (session.failure !== undefined) return "unknown";
    if (session.busy) return "active";
    switch (session.transactionStatus) {
      case TransactionStatus.idle:
        return "idle";
      case TransactionStatus.inTransaction:
        return "in-transaction";
      default:
        return "failed";
    }
  }

  /** Whether statements can be run. */
  get usable(): boolean {
    return this.#session.failure === undefined;
  }

  /** Resolves when the session is over: undefined if it was closed here, else the reason. */
  get closed(): Promise<Failure | undefined> {
    return this.#closed;
  }

  /** Prints every message from now on in libpq's PQtrace format, one line each. Secrets are masked. */
  trace(write: (line: string) => void, options: TraceOptions = {}): void {
    this.#session.tracer = { tracer: new Tracer(options), write };
  }

  untrace(): void {
    this.#session.tracer = undefined;
  }

  /** @internal Runs what another face of the session begins with a Query message, such as a replication stream. */
  run<Work extends Command>(make: (session: Session) => Work): Work {
    if (this.#pipeline !== undefined) throw pipelineOpen();
    const work = make(this.#session);
    this.#session.submit(work);
    return work;
  }

  // The end, and a new beginning.

  /** Lets what was asked for finish, then ends the session; ends a reset under way. Never rejects. */
  async close(): Promise<void> {
    this.#resetEnd?.abort();
    // Without its Sync a pipeline is never answered.
    await this.#pipeline?.close().catch(() => {});
    await this.#session.close();
    await this.#resetting?.catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Ends at once, without a word; what runs rejects. */
  destroy(): void {
    this.#resetEnd?.abort();
    this.#session.destroy();
  }

  /**
   * As PQreset: closes, and connects anew with the same options. Session state is lost; listeners go on, without
   * what was sent meanwhile. While one is under way a second one is the same. Rejects with ConnectError if no new
   * session can be had, or with OperationError `client.connection_closed` (08003) if the connection is closed
   * meanwhile.
   */
  reset(): Promise<void> {
    this.#resetting ??= this.#reset().finally(() => {
      this.#resetting = undefined;
    });
    return this.#resetting;
  }

  async #reset(): Promise<void> {
    const end = new AbortController();
    this.#resetEnd = end;
    this.#pipeline = undefined;
    try {
      this.#session.destroy();
      const open = await this.#reconnect(end.signal);
      if (end.signal.aborted) open.transport.destroy();
      end.signal.throwIfAborted();
      this.#closed = this.#newClosed();
      this.#session = this.#start(open);
    } catch (error) {
      this.#listeners.fail(connectionClosed());
      throw end.signal.aborted ? connectionClosed() : error;
    } finally {
      this.#resetEnd = undefined;
    }
    this.#listeners.revive();
    const { channels } = this.#listeners;
    await Promise.all(channels.map((channel) => this.query(`LISTEN ${escapeIdentifier(channel)}`)));
  }
}
