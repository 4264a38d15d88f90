/**
 * A small client for tools, health checks and tests: one simple query at a time, everything as text, whole
 * results in memory. Queries that are asked for together wait for each other in order.
 */
import { OperationError, PeerError } from "../base/errors.ts";
import type { Transport, TransportListener } from "../base/transport.ts";
import { Backend, largeMessageBytesMax } from "../wire/constants.ts";
import { decodeBackend } from "../wire/decode-backend.ts";
import { encodeFrontend, encodeQuery, encodeTerminate } from "../wire/encode-frontend.ts";
import type { ErrorFields } from "../wire/fields.ts";
import { Frame, FrameRules, Framer } from "../wire/framer.ts";
import type { BackendMessage, NotificationResponse } from "../wire/messages.ts";
import { decodeText } from "../wire/text.ts";
import type { ConnectOptions } from "./conninfo/options.ts";
import { ServerError } from "./errors.ts";
import { cancelBackend, type OpenConnection, type OpenOptions, openConnection } from "./handshake/driver.ts";

/** What a query string brought; of several statements, everything in order. */
export interface SimpleResult {
  /** All rows of all statements, as text; null is SQL's NULL. */
  readonly rows: (string | null)[][];
  /** Column names of the last statement that returns rows. */
  readonly columns: string[];
  /** One command tag per statement, for example `INSERT 0 1`. */
  readonly tags: string[];
  readonly notices: ErrorFields[];
}

interface Pending {
  readonly sql: string;
  readonly result: SimpleResult;
  error: ServerError | undefined;
  readonly resolve: (result: SimpleResult) => void;
  readonly reject: (error: unknown) => void;
}

export class SimpleClient implements TransportListener {
  /** The session's facts: parameters, process id, protocol version, encryption. */
  readonly connection: OpenConnection;
  /** Hears of NOTIFY, also between queries. */
  onNotification: ((notification: NotificationResponse) => void) | undefined;

  readonly #options: ConnectOptions;
  readonly #transport: Transport;
  readonly #framer = new Framer(wholeRules());
  readonly #queue: Pending[] = [];
  #lost: Error | undefined;
  #ending = false;
  readonly #closed: Promise<void>;
  #onClosed: () => void = () => {};

  private constructor(options: ConnectOptions, connection: OpenConnection) {
    this.#options = options;
    this.connection = connection;
    this.#transport = connection.transport;
    this.#closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
    this.#transport.listener = this;
    if (connection.rest.length > 0) this.onData(connection.rest);
  }

  /** Connects and logs in; rejects as `openConnection` does. */
  static async connect(options: ConnectOptions, open: OpenOptions = {}): Promise<SimpleClient> {
    return new SimpleClient(options, await openConnection(options, open));
  }

  /** As last reported by the server. */
  get parameters(): ReadonlyMap<string, string> {
    return this.connection.parameters;
  }

  /** Whether queries can still be sent. */
  get usable(): boolean {
    return this.#lost === undefined && !this.#ending;
  }

  /**
   * Runs a query string of one or more statements. Rejects with {@link ServerError} if one of them fails,
   * once the server is ready again; with OperationError `client.connection_lost` (08006) if the connection
   * ends before.
   */
  query(sql: string): Promise<SimpleResult> {
    return new Promise((resolve, reject) => {
      if (!this.usable) {
        reject(this.#lost ?? lost(undefined));
        return;
      }
      const result: SimpleResult = { rows: [], columns: [], tags: [], notices: [] };
      this.#queue.push({ sql, result, error: undefined, resolve, reject });
      if (this.#queue.length === 1) this.#transport.write(encodeQuery(sql));
    });
  }

  /** Asks the server to cancel what runs, and waits until the request has been taken. The query rejects by itself. */
  async cancel(limits: { readonly timeoutMs: number } = { timeoutMs: 10_000 }): Promise<void> {
    await cancelBackend(this.#options, this.connection, limits);
  }

  /** Says goodbye and resolves when the connection is closed. Queries that still wait are rejected. */
  async close(): Promise<void> {
    if (!this.#ending && this.#lost === undefined) {
      this.#ending = true;
      this.#transport.end(encodeTerminate());
    }
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  onData(chunk: Buffer): void {
    try {
      this.#framer.feed(chunk);
      while (this.#framer.next() === Frame.whole) {
        const { buffer, start, end } = this.#framer;
        this.#receive(decodeBackend(buffer, start, end));
      }
    } catch (error) {
      if (!(error instanceof PeerError)) throw error;
      this.#lost ??= error;
      this.#transport.destroy(error);
    }
  }

  onDrain(): void {}

  onClose(error: Error | undefined): void {
    this.#lost ??= lost(error);
    for (const pending of this.#queue.splice(0)) pending.reject(pending.error ?? this.#lost);
    this.#onClosed();
  }

  #receive(message: BackendMessage): void {
    const pending = this.#queue[0];
    switch (message.kind) {
      case "DataRow":
        pending?.result.rows.push(message.values.map((value) => value && decodeText(value, 0, value.length)));
        return;
      case "RowDescription":
        pending?.result.columns.splice(0, Infinity, ...message.columns.map(({ name }) => name));
        return;
      case "CommandComplete":
        pending?.result.tags.push(message.tag);
        return;
      case "ErrorResponse":
        // A FATAL one between queries is why the connection will end.
        if (pending === undefined) this.#lost ??= new ServerError(message.fields);
        else pending.error ??= new ServerError(message.fields);
        return;
      case "NoticeResponse":
        pending?.result.notices.push(message.fields);
        return;
      case "ParameterStatus":
        this.connection.parameters.set(message.name, message.value);
        return;
      case "NotificationResponse":
        this.onNotification?.(message);
        return;
      case "CopyInResponse":
      case "CopyBothResponse":
        this.#transport.write(
          encodeFrontend({ kind: "CopyFail", message: "this client sends no COPY data" }),
        );
        return;
      case "ReadyForQuery":
        this.#finish();
        return;
      default:
        return;
    }
  }

  #finish(): void {
    const done = this.#queue.shift();
    const next = this.#queue[0];
    if (next !== undefined && this.usable) this.#transport.write(encodeQuery(next.sql));
    if (done?.error !== undefined) done.reject(done.error);
    else done?.resolve(done.result);
  }
}

/** Every message is kept until it is whole, whatever its size: results lie in memory anyway. */
function wholeRules(): FrameRules {
  const rules = new FrameRules((type) => `invalid backend message type ${type}`, "server");
  for (const type of Object.values(Backend)) rules.collect(type, largeMessageBytesMax + 1024);
  return rules;
}

function lost(cause: Error | undefined): OperationError {
  return new OperationError("server closed the connection unexpectedly", {
    code: "client.connection_lost",
    sqlstate: "08006",
    source: "server",
    cause,
  });
}
