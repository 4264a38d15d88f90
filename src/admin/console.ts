/**
 * One client of the console: PostgreSQL's protocol on one side, commands on the other.
 *
 * Messages are handled one after the other. A command may take its time (PAUSE waits for servers); until it has
 * answered nothing further is read. The simple protocol takes several statements in a Query; the extended one
 * works as in PostgreSQL, but nothing has parameters, and after an error all is skipped to the next Sync.
 */
import { Failure, OperationError } from "../base/errors.ts";
import type { Transport, TransportListener } from "../base/transport.ts";
import type { CancelKey, CancelTarget } from "../pool/cancel-registry.ts";
import type { Statistics } from "../pool/statistics.ts";
import { Activity } from "../session/activity.ts";
import type { SessionIdentity } from "../session/context.ts";
import { canceledByUser, errorReply, internalError } from "../session/replies.ts";
import { Frontend, TransactionStatus } from "../wire/constants.ts";
import { decodeFrontend } from "../wire/decode-frontend.ts";
import { emptyQueryResponse, encodeBackend, encodeReadyForQuery } from "../wire/encode-backend.ts";
import { Frame, FrameRules, Framer } from "../wire/framer.ts";
import type { FrontendMessage } from "../wire/messages.ts";
import { consoleError } from "./command.ts";
import type { AdminContext, ConsoleClient, SocketAddress } from "./context.ts";
import { Prepared, prepare } from "./execution.ts";
import { splitStatements } from "./grammar.ts";
import { Portals } from "./portals.ts";
import { describeColumns } from "./result.ts";

/** No command is nearly as long. */
const messageBytesMax = 64 * 1024;
/** Bytes that a client may leave unread before its next message is handled. */
const unreadBytesMax = 256 * 1024;
const readyIdle = encodeReadyForQuery(TransactionStatus.idle);

/** What the console must be told, and asked. */
export interface ConsoleHost extends AdminContext {
  /** Answer with PgBouncer's SQLSTATE for everything. */
  asPgbouncer(): boolean;
  onConsoleEnd(console: ConsoleSession, reason: string): void;
}

const rules = consoleRules();

export class ConsoleSession implements TransportListener, CancelTarget, ConsoleClient {
  readonly identity: SessionIdentity;
  readonly administrator: boolean;
  readonly applicationName: string;
  /** Given by the login; taken back at the end. */
  cancelKey: CancelKey | undefined;

  readonly #host: ConsoleHost;
  readonly #transport: Transport;
  readonly #activity: Activity;
  readonly #framer = new Framer(rules);
  readonly #portals: Portals;
  /** What came while a command was at work. */
  #backlog: Buffer[] = [];
  /** The command at work. */
  #running: AbortController | undefined;
  #skippingToSync = false;
  #ended = false;

  constructor(
    host: ConsoleHost,
    transport: Transport,
    client: {
      readonly identity: SessionIdentity;
      readonly administrator: boolean;
      readonly applicationName: string;
      readonly statistics: Statistics;
    },
  ) {
    this.#host = host;
    this.#portals = new Portals(host.fleet !== undefined);
    this.#transport = transport;
    this.identity = client.identity;
    this.administrator = client.administrator;
    this.applicationName = client.applicationName;
    this.#activity = new Activity(client.statistics, host.clock.now());
    transport.listener = this;
  }

  get requestAtMs(): number {
    return this.#activity.requestAtMs;
  }

  get address(): SocketAddress {
    return this.#transport;
  }

  onData(chunk: Buffer): void {
    if (this.#ended) return;
    this.#backlog.push(chunk);
    this.#advance();
  }

  onDrain(): void {
    this.#advance();
  }

  onClose(): void {
    this.#end("client closed connection");
  }

  /** What is at work is given up; PAUSE takes itself back. */
  cancel(): Promise<void> {
    this.#running?.abort(canceledByUser());
    return Promise.resolve();
  }

  /** Tells the client why (FATAL) and ends. */
  fail(failure: Failure): void {
    if (this.#ended) return;
    this.#transport.end(errorReply("FATAL", failure, this.#host.asPgbouncer()));
    this.#end(failure.message);
  }

  destroy(): void {
    this.#transport.destroy();
    this.#end("closed");
  }

  // ---- the loop ----

  #advance(): void {
    try {
      while (!this.#ended && this.#running === undefined && this.#transport.pendingBytes <= unreadBytesMax) {
        const kind = this.#framer.next();
        if (kind === Frame.need) {
          const chunk = this.#backlog.shift();
          if (chunk === undefined) break;
          this.#framer.feed(chunk);
          continue;
        }
        this.#activity.countBytes(this.#framer.end - this.#framer.start);
        this.#handle(decodeFrontend(this.#framer.buffer, this.#framer.start, this.#framer.end));
      }
    } catch (error) {
      this.fail(error instanceof Failure ? error : this.#mistake(error));
    }
    if (this.#ended) return;
    if (this.#backlog.length > 0) this.#transport.pause();
    else this.#transport.resume();
  }

  #handle(message: FrontendMessage): void {
    if (this.#skippingToSync && message.kind !== "Sync" && message.kind !== "Terminate") return;
    switch (message.kind) {
      case "Query":
        void this.#work((signal) => this.#runQuery(message.sql, signal), true);
        return;
      case "Execute":
        void this.#work((signal) => this.#execute(message.portal, message.maxRows, signal), false);
        return;
      case "Sync":
        this.#skippingToSync = false;
        this.#portals.endBatch();
        this.#write(readyIdle);
        return;
      case "Terminate":
        this.#transport.end();
        this.#end("client close request");
        return;
      case "FunctionCall":
        this.#write(this.#errorReply(consoleError("the console has no functions", "0A000")), readyIdle);
        return;
      case "Parse":
      case "Bind":
      case "Describe":
      case "Close":
        try {
          for (const reply of this.#portals.handle(message)) this.#write(encodeBackend(reply));
        } catch (error) {
          this.#refuse(error);
        }
        return;
      default:
      // Flush: nothing is held back. COPY's messages: the rest of a COPY that the server has refused.
    }
  }

  /** Runs what takes time. `simple`: ReadyForQuery follows, whatever came of it. */
  async #work(work: (signal: AbortSignal) => Promise<void>, simple: boolean): Promise<void> {
    const running = new AbortController();
    this.#running = running;
    this.#activity.begin(this.#host.clock);
    try {
      await work(running.signal);
    } catch (error) {
      if (simple) this.#write(this.#errorReply(error));
      else this.#refuse(error);
    }
    this.#running = undefined;
    this.#activity.settled(this.#host.clock.now(), TransactionStatus.idle);
    if (simple) this.#write(readyIdle);
    this.#advance();
  }

  /** Replies to each statement are sent as it is done; an error ends the rest. */
  async #runQuery(sql: string, signal: AbortSignal): Promise<void> {
    const parts = splitStatements(sql);
    if (parts.length === 0) this.#write(emptyQueryResponse);
    for (const part of parts) {
      const whole = parts.length === 1 ? sql : part.trim();
      const prepared = prepare(part, whole, this.#host.fleet !== undefined);
      const result = await prepared.run(this.#host, { administrator: this.administrator, signal });
      const { columns } = prepared;
      if (columns !== undefined) {
        this.#write(encodeBackend({ kind: "RowDescription", columns: describeColumns(columns) }));
      }
      this.#write(...result.replies(0, []));
    }
  }

  async #execute(portal: string, maxRows: number, signal: AbortSignal): Promise<void> {
    const opened = this.#portals.find(portal);
    const { prepared } = opened;
    if (!(prepared instanceof Prepared)) {
      this.#write(emptyQueryResponse);
      return;
    }
    opened.result ??= await prepared.run(this.#host, { administrator: this.administrator, signal });
    this.#write(...opened.result.replies(maxRows, opened.formats));
  }

  /** An error of the extended protocol: everything is skipped to the next Sync. */
  #refuse(error: unknown): void {
    this.#skippingToSync = true;
    this.#write(this.#errorReply(error));
  }

  #errorReply(error: unknown): Buffer {
    const failure = error instanceof Failure ? error : this.#mistake(error);
    return errorReply("ERROR", failure, this.#host.asPgbouncer());
  }

  #mistake(error: unknown): OperationError {
    this.#host.logger.error({ client: this.identity.id, err: error }, "internal error");
    return internalError();
  }

  #write(...messages: readonly Buffer[]): void {
    if (!this.#ended)
      this.#transport.write(messages.length === 1 ? (messages[0] as Buffer) : Buffer.concat(messages));
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#backlog = [];
    this.#running?.abort(consoleError("the client is gone", "08006"));
    this.#host.onConsoleEnd(this, reason);
  }
}

/** Every message whole, none of them long. */
function consoleRules(): FrameRules {
  const rules = new FrameRules((type) => `invalid frontend message type ${type}`);
  for (const type of Object.values(Frontend)) {
    if (type !== Frontend.password) rules.collect(type, messageBytesMax);
  }
  return rules;
}
