/**
 * A session on its transport: everything of a connection that does input and output once the login is over.
 * Queries and COPY are commands of the exchange; this is the ground they stand on.
 */
import { type Failure, OperationError } from "../../base/errors.ts";
import type { Transport, TransportListener } from "../../base/transport.ts";
import { headerBytes, TransactionStatus } from "../../wire/constants.ts";
import type { ErrorFields } from "../../wire/fields.ts";
import type { Tracer } from "../../wire/trace.ts";
import { connectionClosed } from "../connection-options.ts";
import type { OpenConnection } from "../handshake/driver.ts";
import { Cancelling } from "./cancelling.ts";
import type { CopyHost } from "./copy.ts";
import { type Command, Exchange, type ExchangeListener } from "./exchange.ts";
import type { Outgoing } from "./outgoing.ts";
import { StatementCache } from "./statements.ts";

/** What a session tells its owner. */
export interface SessionListener {
  onNotice(fields: ErrorFields): void;
  onNotification(channel: string, payload: string, pid: number): void;
  /** It is over, once. Undefined: it was closed in an orderly way. */
  onClose(failure: Failure | undefined): void;
}

export interface SessionInit {
  readonly open: OpenConnection;
  readonly statements: StatementCache;
  readonly listener: SessionListener;
  /** Delivers a cancel request; resolves or rejects when its connection has ended. */
  readonly cancel: (open: OpenConnection) => Promise<void>;
}

/** Smaller COPY data are put together before they are sent. */
const copyBytesTogether = 32 * 1024;

export class Session implements TransportListener, ExchangeListener, CopyHost {
  readonly open: OpenConnection;
  readonly statements: StatementCache;
  readonly #transport: Transport;
  readonly #listener: SessionListener;
  readonly #cancel: (open: OpenConnection) => Promise<void>;
  readonly #exchange: Exchange;
  /** Whose rows pile up, so that nothing is read. */
  #pausedFor: Command | undefined;
  #cancelling: Cancelling | undefined;
  #writable = true;
  #drained: (() => void)[] = [];
  #closing = false;
  #whenIdle: (() => void) | undefined;
  #whenClosed: (() => void)[] = [];
  /** Prints the messages of both sides. */
  tracer: { readonly tracer: Tracer; readonly write: (line: string) => void } | undefined;

  constructor(init: SessionInit) {
    this.open = init.open;
    this.statements = init.statements;
    this.#transport = init.open.transport;
    this.#listener = init.listener;
    this.#cancel = init.cancel;
    this.#exchange = new Exchange(this);
    this.#transport.listener = this;
    if (init.open.rest.length > 0) this.onData(init.open.rest);
  }

  get transactionStatus(): TransactionStatus {
    return this.#exchange.transactionStatus;
  }

  /** Outside of a transaction block, as of the last ReadyForQuery. */
  get idle(): boolean {
    return this.#exchange.transactionStatus === TransactionStatus.idle;
  }

  /** A statement is being run or waits to be. */
  get busy(): boolean {
    return !this.#exchange.idle;
  }

  get failure(): Failure | undefined {
    return this.#exchange.failure;
  }

  /** Whether it takes commands. */
  get usable(): boolean {
    return !this.#closing && this.#exchange.failure === undefined;
  }

  submit(command: Command): void {
    // What is behind would wait for rows that nobody takes: they are read into memory instead.
    this.#unpause();
    if (command.dropped === true) {
      command.end(false);
      return;
    }
    if (this.#closing && this.#exchange.failure === undefined) {
      command.fail(connectionClosed());
      command.end(false);
      return;
    }
    this.#exchange.submit(command);
  }

  flush(): void {
    this.#exchange.flush();
  }

  isAlone(command: Command): boolean {
    return this.#exchange.isAlone(command);
  }

  withdraw(command: Command): boolean {
    const withdrawn = this.#exchange.withdraw(command);
    if (withdrawn) this.#noticeIdle();
    return withdrawn;
  }

  pause(command: Command): void {
    if (!this.#exchange.isNext(command) || this.#pausedFor !== undefined || this.#closing) return;
    this.#pausedFor = command;
    this.#transport.pause();
  }

  resume(command: Command): void {
    if (this.#pausedFor === command) this.#unpause();
  }

  #unpause(): void {
    if (this.#pausedFor === undefined) return;
    this.#pausedFor = undefined;
    this.#transport.resume();
  }

  /** Nothing new is sent before what runs now has ended and every request has been taken, so they hit nothing else. */
  cancel(): void {
    const target = this.#exchange.current;
    if (this.#cancelling !== undefined || target === undefined) return;
    this.#exchange.hold();
    const cancelling = new Cancelling(
      () => this.#cancel(this.open),
      () => this.#exchange.current !== target,
    );
    this.#cancelling = cancelling;
    void cancelling.run().then(() => {
      this.#cancelling = undefined;
      this.#exchange.release();
      this.#noticeIdle();
    });
  }

  write(messages: (out: Outgoing) => void): void {
    if (this.#exchange.failure !== undefined) return;
    messages(this.#exchange.outgoing);
    this.onOutput();
  }

  async writeCopyData(data: Uint8Array): Promise<void> {
    const { outgoing } = this.#exchange;
    if (this.#exchange.failure !== undefined) return;
    if (data.length <= copyBytesTogether) {
      outgoing.copyData(data);
      if (outgoing.length < copyBytesTogether) return;
      this.onOutput();
    } else {
      outgoing.copyDataHeader(data.length);
      this.onOutput();
      this.#send(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    }
    if (!this.#writable) await this.#drain();
  }

  #drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained.push(resolve);
    });
  }

  // Bytes.

  onOutput(): void {
    const { outgoing } = this.#exchange;
    if (outgoing.length === 0) return;
    const bytes = outgoing.take();
    if (this.tracer !== undefined) this.#trace(bytes);
    if (!this.#send(bytes)) outgoing.keep();
  }

  /** Returns whether the bytes may be used again. */
  #send(bytes: Buffer): boolean {
    if (this.#transport.write(bytes)) return true;
    if (this.#writable) {
      this.#writable = false;
      this.#exchange.hold();
    }
    return false;
  }

  #trace(bytes: Buffer): void {
    for (let start = 0; start + headerBytes <= bytes.length; ) {
      const end = start + 1 + bytes.readUInt32BE(start + 1);
      // COPY data that are written by themselves: only their header is here.
      if (end > bytes.length) return;
      this.#print((tracer) => tracer.frontend(bytes, start, end));
      start = end;
    }
  }

  /** What the caller's function throws must not touch the talk with the server. */
  #print(line: (tracer: Tracer) => string): void {
    if (this.tracer === undefined) return;
    const text = line(this.tracer.tracer);
    try {
      this.tracer.write(text);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error), "TraceWarning");
    }
  }

  /** @internal */
  onData(chunk: Buffer): void {
    try {
      this.#exchange.receive(chunk);
    } catch (error) {
      this.#fail(error as Failure);
    }
    this.#cancelling?.look();
    this.#noticeIdle();
  }

  /** @internal */
  onMessage(buffer: Buffer, start: number, end: number): void {
    this.#print((tracer) => tracer.backend(buffer, start, end));
  }

  get tracing(): boolean {
    return this.tracer !== undefined;
  }

  /** @internal */
  onDrain(): void {
    if (this.#writable) return;
    this.#writable = true;
    const drained = this.#drained;
    this.#drained = [];
    for (const resolve of drained) resolve();
    this.#exchange.release();
    this.#noticeIdle();
  }

  /** @internal */
  onClose(error: Error | undefined): void {
    const expected = this.#closing && this.#exchange.idle;
    this.#end(expected ? connectionClosed() : this.#lost(error), expected);
    for (const resolve of this.#whenClosed) resolve();
    this.#whenClosed = [];
  }

  /** The server broke the protocol: nothing that comes after can be trusted. */
  #fail(failure: Failure): void {
    this.#end(failure, false);
    this.#transport.destroy();
  }

  #end(failure: Failure, expected: boolean): void {
    if (this.#exchange.failure !== undefined) return;
    this.#exchange.close(failure);
    this.#cancelling?.look();
    this.onDrain();
    this.#noticeIdle();
    this.#listener.onClose(expected ? undefined : failure);
  }

  #lost(error: Error | undefined): OperationError {
    const { lastError } = this.#exchange;
    // The server's last words, if it closed on purpose: 57P01 and its like are FATAL.
    const words = lastError !== undefined && lastError.fields.severity !== "ERROR" ? lastError : undefined;
    const why = words?.message ?? error?.message;
    return new OperationError(
      `server closed the connection unexpectedly${why === undefined ? "" : `: ${why}`}`,
      {
        code: "client.connection_lost",
        sqlstate: words?.sqlstate ?? "08006",
        source: "server",
        cause: words ?? error,
      },
    );
  }

  // What the server says of its own accord.

  /** @internal */
  onNotice(fields: ErrorFields): void {
    this.#listener.onNotice(fields);
  }

  /** @internal */
  onNotification(channel: string, payload: string, pid: number): void {
    this.#listener.onNotification(channel, payload, pid);
  }

  /** @internal */
  onParameter(name: string, value: string): void {
    this.open.parameters.set(name, value);
    if (name === "client_encoding" && !readableEncodings.has(value)) throw unreadable(value);
  }

  // The end.

  /** Lets what was asked for finish, then says goodbye. Nothing new is taken. Resolves when the socket is closed. */
  async close(): Promise<void> {
    if (this.#closing || this.#exchange.failure !== undefined) return await this.#closed();
    this.#closing = true;
    this.#unpause();
    if (!this.#quiet) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve;
      });
    }
    if (this.#exchange.failure === undefined) {
      this.write((out) => out.terminate());
      this.#transport.end();
    }
    await this.#closed();
  }

  #closed(): Promise<void> {
    if (this.#transport.closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenClosed.push(resolve);
    });
  }

  get #quiet(): boolean {
    return (this.#exchange.idle && this.#cancelling === undefined) || this.#exchange.failure !== undefined;
  }

  #noticeIdle(): void {
    if (this.#whenIdle === undefined || !this.#quiet) return;
    this.#whenIdle();
    this.#whenIdle = undefined;
  }

  /** Ends at once: what runs is lost, and the server finds out by itself. */
  destroy(): void {
    this.#closing = true;
    this.#end(connectionClosed(), true);
    this.#transport.destroy();
  }
}

/** As servers report them; SQL_ASCII leaves every byte as it is. */
const readableEncodings: ReadonlySet<string> = new Set(["UTF8", "SQL_ASCII"]);

function unreadable(encoding: string): OperationError {
  return new OperationError(`client_encoding was set to ${encoding}, but text is read as UTF-8 here`, {
    code: "client.encoding_unsupported",
    sqlstate: "0A000",
    source: "internal",
    hint: "Leave client_encoding at UTF8; the server converts.",
  });
}
