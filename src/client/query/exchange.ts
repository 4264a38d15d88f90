/**
 * The talk of one session: commands go out in order, and what comes back belongs to the first of them that is
 * not yet answered. sans-IO: bytes in, calls of the commands and bytes out.
 *
 *     submit ─▶ waiting ─▶ sent ─▶ answered
 *                  ▲                  │ must be sent once more (a stale prepared statement)
 *                  └──────────────────┘
 *
 * A command ends at its own result (in a pipeline, where one Sync stands behind many) or at ReadyForQuery (all
 * others). The rule that the server skips everything behind an error up to the next Sync lives here alone.
 *
 * An exclusive command lets nothing be sent behind it until it has ended. So a cancel request that is meant for
 * it can hit nobody else, COPY data stand where they belong, and it may be sent again without changing the order.
 */
import { assert } from "../../base/assert.ts";
import { Deque } from "../../base/deque.ts";
import { type Failure, OperationError, type PeerError, protocolViolation } from "../../base/errors.ts";
import { Backend, headerBytes, largeMessageBytesMax, TransactionStatus } from "../../wire/constants.ts";
import { decodeBackend } from "../../wire/decode-backend.ts";
import type { ErrorFields } from "../../wire/fields.ts";
import { Frame, FrameRules, Framer } from "../../wire/framer.ts";
import { ServerError } from "../errors.ts";
import { Outgoing } from "./outgoing.ts";

/** One unit of work of a session, from its messages to its outcome. */
export interface Command {
  /** What ends it: its own last message, or ReadyForQuery. */
  readonly ending: "result" | "ready";
  /** Nothing is sent behind it until it has ended. */
  readonly exclusive: boolean;
  /** It is only a Sync: nothing of it is skipped after an error. */
  readonly syncOnly?: boolean;
  /** Nobody wants it any more, and nothing of it has been sent: it is left out. */
  readonly dropped?: boolean;
  /** Appends its messages. What it throws is its failure; nothing of it is sent then. */
  write(out: Outgoing): void;
  /** It is now the one that is being answered. */
  begin?(): void;
  /**
   * A message of the server, `buffer[start, end)`, valid during the call. Returns whether it was the last one;
   * for a command that ends at ReadyForQuery that is always false.
   */
  message(type: number, buffer: Buffer, start: number, end: number): boolean;
  /** It has failed: the server's error, or the end of the session. Only the first call counts. */
  fail(error: Failure): void;
  /** It has ended; after a failure too. "again": it wants to be sent once more. */
  end(alone: boolean): "done" | "again";
}

/** What an exchange tells the session that it belongs to. */
export interface ExchangeListener {
  /** There are bytes in `outgoing`. */
  onOutput(): void;
  onNotice(fields: ErrorFields): void;
  onNotification(channel: string, payload: string, pid: number): void;
  onParameter(name: string, value: string): void;
  /** Whether {@link onMessage} wants to hear of everything that comes. */
  readonly tracing: boolean;
  onMessage(buffer: Buffer, start: number, end: number): void;
}

/** Commands that are sent before the first of them is answered; more than this gains nothing. */
const sentMax = 256;

/** Every message is kept until it is whole: rows are decoded from one piece. */
const rules = new FrameRules((type) => `invalid backend message type ${type}`, "server");
for (const type of Object.values(Backend)) rules.collect(type, largeMessageBytesMax + 1024);

export class Exchange {
  readonly outgoing: Outgoing = new Outgoing();
  readonly #listener: ExchangeListener;
  readonly #framer = new Framer(rules);
  readonly #waiting = new Deque<Command>();
  readonly #sent = new Deque<Command>();
  /** Cancel requests under way, and writes that the kernel has not taken: nothing new is sent meanwhile. */
  #holds = 0;
  /** The server skips everything up to the next Sync. */
  #skipping = false;
  #receiving = false;
  #pumping = false;
  #flushOwed = false;
  #transactionStatus: TransactionStatus = TransactionStatus.idle;
  #ended: Failure | undefined;
  /** An error that belongs to no command: the reason the server gives before it closes. */
  #lastError: ServerError | undefined;

  constructor(listener: ExchangeListener) {
    this.#listener = listener;
  }

  /** As the last ReadyForQuery said. */
  get transactionStatus(): TransactionStatus {
    return this.#transactionStatus;
  }

  /** Nothing waits and nothing is unanswered. */
  get idle(): boolean {
    return this.#sent.length === 0 && this.#waiting.length === 0;
  }

  /** Why nothing can be sent any more. */
  get failure(): Failure | undefined {
    return this.#ended;
  }

  /** The command that is being answered. */
  get current(): Command | undefined {
    return this.#sent.peekFirst();
  }

  /** Whether `command` is answered now and nothing has been sent behind it. */
  isAlone(command: Command): boolean {
    return this.#sent.length === 1 && this.#sent.peekFirst() === command;
  }

  /** Whether `command` is answered now and nothing stands behind it, sent or not. */
  isNext(command: Command): boolean {
    return this.isAlone(command) && this.#waiting.length === 0;
  }

  /** Puts a command in the queue, and sends it if its turn has come. */
  submit(command: Command): void {
    if (this.#ended !== undefined) {
      command.fail(this.#ended);
      command.end(false);
      return;
    }
    this.#waiting.push(command);
    this.pump();
  }

  /** Takes a command out that has not been sent. Returns whether it was still there. */
  withdraw(command: Command): boolean {
    const waiting = this.#waiting;
    // One signal may withdraw thousands, in the order in which they were asked for.
    if (waiting.peekFirst() === command) return waiting.shift() === command;
    if (waiting.peekLast() === command) return waiting.pop() === command;
    return waiting.remove(command);
  }

  /** Nothing new is sent until {@link release} has been called as often. */
  hold(): void {
    this.#holds++;
  }

  release(): void {
    assert(this.#holds > 0, "only what was held is released");
    this.#holds--;
    this.pump();
  }

  /** Sends what may be sent. */
  pump(): void {
    // A caller's codec that asks for a query while it encodes for another: that one waits for its turn.
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#waiting.length > 0 && this.#maySend()) {
        const command = this.#waiting.shift() as Command;
        if (command.dropped !== true) this.#send(command);
      }
    } finally {
      this.#pumping = false;
    }
    if (this.#flushOwed && this.#waiting.length === 0) {
      this.#flushOwed = false;
      this.outgoing.flush();
    }
    if (this.outgoing.length > 0 && !this.#receiving) this.#listener.onOutput();
  }

  /** Asks the server to send what it has so far, behind everything that has been submitted. */
  flush(): void {
    this.#flushOwed = true;
    this.pump();
  }

  #maySend(): boolean {
    if (this.#holds > 0 || this.#ended !== undefined) return false;
    const last = this.#sent.peekLast();
    if (last === undefined) return true;
    // Without a Sync behind it nothing may ever be answered, so that waiting for answers would wait for ever.
    return !last.exclusive && (this.#sent.length < sentMax || last.ending === "result");
  }

  #send(command: Command): void {
    if (this.#skipping && command.ending === "result") {
      command.fail(pipelineAborted());
      command.end(false);
      return;
    }
    const length = this.outgoing.length;
    try {
      command.write(this.outgoing);
    } catch (error) {
      this.outgoing.rewind(length);
      command.fail(error as Failure);
      command.end(false);
      return;
    }
    if (this.#ended !== undefined) {
      // Ended by a codec of the caller's.
      command.fail(this.#ended);
      command.end(false);
      return;
    }
    this.#sent.push(command);
    if (this.#sent.length === 1) command.begin?.();
  }

  /**
   * Bytes of the server. They may be overwritten afterwards. Throws PeerError (08P01) for what a server must
   * not send; the session is over then.
   */
  receive(bytes: Buffer): void {
    if (this.#ended !== undefined) return;
    this.#receiving = true;
    try {
      const framer = this.#framer;
      framer.feed(bytes);
      while (this.#ended === undefined && framer.next() === Frame.whole) {
        const { type, buffer, start, end } = framer;
        if (this.#listener.tracing) this.#listener.onMessage(buffer, start, end);
        this.#message(type, buffer, start, end);
      }
    } finally {
      this.#receiving = false;
    }
    this.pump();
  }

  #message(type: number, buffer: Buffer, start: number, end: number): void {
    switch (type) {
      case Backend.readyForQuery:
        return this.#ready(buffer, start, end);
      case Backend.errorResponse:
      case Backend.noticeResponse:
      case Backend.parameterStatus:
      case Backend.notificationResponse:
        return this.#aside(decodeBackend(buffer, start, end));
      default: {
        const command = this.#sent.peekFirst();
        if (command === undefined || this.#skipping) throw unexpected(type);
        if (command.message(type, buffer, start, end)) {
          assert(command.ending === "result", "the others end at ReadyForQuery");
          this.#endFirst();
        }
      }
    }
  }

  #aside(message: ReturnType<typeof decodeBackend>): void {
    switch (message.kind) {
      case "ErrorResponse":
        return this.#failed(new ServerError(message.fields));
      case "NoticeResponse":
        return this.#listener.onNotice(message.fields);
      case "ParameterStatus":
        return this.#listener.onParameter(message.name, message.value);
      case "NotificationResponse":
        return this.#listener.onNotification(message.channel, message.payload, message.pid);
      default:
        throw unexpected(0);
    }
  }

  #failed(error: ServerError): void {
    this.#lastError = error;
    const command = this.#sent.peekFirst();
    if (command === undefined) return; // What a server says before it closes.
    command.fail(error);
    if (command.ending === "ready") return;
    this.#skipping = true;
    this.#endFirst();
    this.#skip();
  }

  /** Everything up to the next Sync has the same fate. */
  #skip(): void {
    for (let next = this.#sent.peekFirst(); next !== undefined; next = this.#sent.peekFirst()) {
      if (next.syncOnly === true) return;
      next.fail(pipelineAborted());
      if (next.ending === "ready") return;
      this.#endFirst();
    }
  }

  #ready(buffer: Buffer, start: number, end: number): void {
    const command = this.#sent.peekFirst();
    const status = buffer[start + headerBytes];
    if (command === undefined || command.ending !== "ready" || end - start !== headerBytes + 1) {
      throw unexpected(Backend.readyForQuery);
    }
    if (
      status !== TransactionStatus.idle &&
      status !== TransactionStatus.inTransaction &&
      status !== TransactionStatus.failed
    ) {
      throw protocolViolation(`invalid transaction status ${status}`, { source: "server" });
    }
    this.#transactionStatus = status;
    this.#skipping = false;
    this.#endFirst();
  }

  #endFirst(): void {
    const alone = this.#sent.length === 1;
    const command = this.#sent.shift() as Command;
    if (command.end(alone) === "again") {
      assert(alone, "a command with others behind it is not sent again");
      this.#waiting.unshift(command);
    }
    // If nothing stood behind it, what is first now was begun when it was sent.
    if (!alone) this.#sent.peekFirst()?.begin?.();
  }

  /** The session is over: every command fails. The server's own last words, if it had any, are the cause. */
  close(failure: Failure): void {
    if (this.#ended !== undefined) return;
    this.#ended = failure;
    for (const queue of [this.#sent, this.#waiting]) {
      for (let command = queue.shift(); command !== undefined; command = queue.shift()) {
        if (command.dropped === true) continue;
        command.fail(failure);
        command.end(false);
      }
    }
  }

  /** The last error the server sent, whomever it was for. */
  get lastError(): ServerError | undefined {
    return this.#lastError;
  }
}

/** For a command behind one that failed in the same pipeline: it was not run. */
function pipelineAborted(): OperationError {
  return new OperationError("the pipeline was aborted by an earlier error; this statement was not run", {
    code: "client.pipeline_aborted",
    sqlstate: "25P02",
    source: "internal",
    retrySafe: true,
  });
}

export function unexpected(type: number): PeerError {
  const letter = String.fromCharCode(type);
  return protocolViolation(`unexpected message type "${letter}" from server`, { source: "server" });
}
