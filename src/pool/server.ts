/**
 * One server connection: its transport, the settings and prepared statements it really holds, and the queue
 * of replies it owes. Knows nothing of pools and clients beyond its `owner`, who gets the bytes of replies
 * and hears when everything that was asked is answered.
 */
import { assert } from "../base/assert.ts";
import { type Failure, OperationError, PeerError } from "../base/errors.ts";
import { span } from "../base/span.ts";
import type { Transport, TransportListener } from "../base/transport.ts";
import type { OpenConnection } from "../client/handshake/driver.ts";
import { Backend, TransactionStatus } from "../wire/constants.ts";
import { decodeBackend } from "../wire/decode-backend.ts";
import { encodeTerminate } from "../wire/encode-frontend.ts";
import { type ErrorFields, isWords } from "../wire/fields.ts";
import { backendRules, Frame, Framer } from "../wire/framer.ts";
import { nextConnectionId } from "./connection-ids.ts";
import type { SessionDefaults } from "./defaults.ts";
import { fateUnknown, mistake } from "./failures.ts";
import { ServerParameters } from "./parameters.ts";
import { PreparedNotes } from "./prepared.ts";
import { ReplyQueue, Verdict } from "./replies.ts";
import { ReplyReading } from "./reply-reading.ts";
import type { Statistics } from "./statistics.ts";

/** Who a server works for: a client's session, or the pool itself while it resets or checks. */
export interface ServerOwner {
  /** Replies for the client. Returns false if bytes of the buffer are still needed after the call. */
  onReplies(bytes: Buffer): boolean;
  /** Everything that was sent is answered. */
  onSettled(): void;
  /** The server reported a parameter in reply to the client's own statement. */
  onParameter(name: string, value: string): void;
  /** A CommandComplete for the client: `DEALLOCATE ALL`, `DISCARD ALL` or `DISCARD SEQUENCES`. */
  onDropped(tag: string): void;
  /**
   * If it is there, reports of parameters are not forwarded: all of them are given to `onParameter`, and what this
   * returns goes to the client in front of the next ReadyForQuery.
   */
  readonly reportsDue?: ((names: readonly string[]) => Buffer | undefined) | undefined;
  /** An ErrorResponse or NoticeResponse for the client, whole: what the client gets; undefined: nothing. */
  onWords?(message: Buffer): Buffer | undefined;
  /** What goes to the client in place of a notification; undefined: nothing does. Without it they are passed on. */
  readonly onNotification?: ((bytes: Buffer) => Buffer | undefined) | undefined;
  /** The server takes bytes again. */
  onServerDrain(): void;
  /** A ReadyForQuery was passed on: what follows belongs to the next unit. Only for who tells units apart. */
  onUnit?(status: number): void;
  /** Everything that came at once was handled. */
  onChunk?(): void;
  /**
   * The connection is gone. `relayed`: the client already got the server's own last words. `owed`: how many units it
   * waits for, where that can be said.
   */
  onServerLost(error: Failure, relayed: boolean, owed?: number): void;
}

/** Prepared statements under a client's own names: whose, and which state of them; the names, as far as they are known. */
export interface ForeignNames {
  readonly owner: object;
  readonly version: number;
  readonly names: ReadonlySet<string>;
}

/** Why a server is in the list it is in. The pool's one door moves it between them. */
export type ServerState =
  | "idle"
  | "active"
  | "resetting"
  | "checking"
  | "being_canceled"
  /** Beside the others: it listens for all clients of its pool (listening.ts). */
  | "listening"
  | "closed";

/** Reads one server connection may have waiting in a slow client before it stops. */
export const repliesPendingBytesMax: number = 256 * 1024;

/** Command tags that drop what a session has, with their message length: 5 bytes of header and a NUL. */
const droppingTags: ReadonlySet<string> = new Set(["DEALLOCATE ALL", "DISCARD ALL", "DISCARD SEQUENCES"]);
const droppingLengths: ReadonlySet<number> = new Set([...droppingTags].map((tag) => tag.length + 6));

/** The unnamed statement is not known: a Parse or Query that may have been skipped was the last to change it. */
export const unnamedUnknown = "unknown"; // no body of a Parse is without a NUL

/** The same for all server connections since `max_packet_size` was last changed. */
let rules = { packetBytesMax: Number.POSITIVE_INFINITY, frames: backendRules() };

export class Server implements TransportListener {
  readonly id: number = nextConnectionId();
  readonly transport: Transport;
  readonly replies: ReplyQueue = new ReplyQueue();
  /** Stopped and resumed by whoever's client does not take the replies. */
  readonly reading: ReplyReading;
  readonly parameters: ServerParameters;
  /** Which shared statements this server holds. */
  readonly prepared: PreparedNotes;
  readonly backendPid: number;
  readonly cancelKey: Buffer | undefined;
  readonly connection: OpenConnection;
  readonly connectedAtMs: number;
  lastUsedAtMs: number;
  /** How often it was given to a client. */
  assignments = 0;
  /** Moved by the pool only. */
  state: ServerState = "active";
  owner: ServerOwner | undefined;
  /**
   * What the unnamed statement is: the body of the Parse that made it (latin1), undefined if there is none,
   * or {@link unnamedUnknown}.
   */
  unnamed: string | undefined;
  /** How often DEALLOCATE ALL or DISCARD ALL has dropped what is in `prepared`. */
  statementsDropped = 0;
  /** Cancel connections aimed at this server that have not ended yet. */
  cancelsInFlight = 0;
  /** It was given back while a cancel was under way, and has to be reset after it. */
  resetsAfterCancel = false;
  /** To be closed at release: a reload, a lifetime or a taint wants it. */
  closeReason: string | undefined;
  /** A statement that ends a transaction, and may commit it, was sent since the last ReadyForQuery. */
  endsTransaction = false;
  /** A client has sent statements since the last reset. */
  used = false;
  /**
   * In auto mode: the client whose statement may have left settings of names that nobody knows, or a seed, and the one whose
   * statement was the last to change what currval() and lastval() return; by their ids.
   */
  taintedBy: number | undefined;
  /** The pid of the client whose statement was the last that may have notified, as that client was told it. */
  notifierPid: number | undefined;
  /** It holds prepared statements under a client's own names. */
  foreignNames: ForeignNames | undefined;
  sequencesOf: number | undefined;
  /** In auto mode: the client whose home it is, by its id. */
  homeOf: number | undefined;
  /** Others have left values of sequences there as well. */
  sequencesMixed = false;
  /** In auto mode: what its session began with; undefined: not known. */
  defaults: SessionDefaults | undefined;
  /** What has to be sent before the next client gets it, if it is not reset. */
  partingQuery: string | undefined;
  /** It reads what auto mode has to know of the database: that takes a moment only. */
  readsCatalogs = false;
  /** A client has gone in the middle of a message: whatever is sent now would be taken for the rest of it. */
  midRequest = false;
  /** Told once when no Query of the pooler's own is in front of the client's statement any more, or the connection is gone. */
  onOwnAnswered: (() => void) | undefined;

  readonly #framer: Framer;
  readonly #statistics: Statistics;
  readonly #tellsFate: boolean;
  readonly #onClosed: (server: Server, error: Failure) => void;
  /** What the parts of a streamed message do: as its first part. */
  #streamVerdict: Verdict = Verdict.forward;
  /** The last FATAL or PANIC, for the log, and whether the client got it. */
  #lastWords: ErrorFields | undefined;
  #lastWordsRelayed = false;
  /** The last request was answered; the owner hears of it when nothing of the chunk is left. */
  #settledDue = false;
  /** Parameters were reported since the last ReadyForQuery that the client got. */
  #reported: string[] | undefined;
  #failure: Failure | undefined;
  #handlingData = false;

  constructor(
    connection: OpenConnection,
    options: {
      readonly nowMs: number;
      readonly preparedMax: number;
      readonly packetBytesMax: number;
      /** Where its bytes are counted. */
      readonly statistics: Statistics;
      /** Whether clients are told if it is unknown what became of their last statement. */
      readonly tellsFate?: boolean;
      readonly onClosed: (server: Server, error: Failure) => void;
    },
  ) {
    this.connection = connection;
    const { packetBytesMax } = options;
    if (rules.packetBytesMax !== packetBytesMax) {
      rules = { packetBytesMax, frames: backendRules().limit(packetBytesMax) };
    }
    this.#framer = new Framer(rules.frames);
    this.transport = connection.transport;
    this.reading = new ReplyReading(connection.transport);
    this.parameters = new ServerParameters(connection.parameters);
    this.backendPid = connection.backendPid;
    this.cancelKey = connection.cancelKey;
    this.prepared = new PreparedNotes(Math.max(1, options.preparedMax));
    this.connectedAtMs = options.nowMs;
    this.lastUsedAtMs = options.nowMs;
    this.#statistics = options.statistics;
    this.#tellsFate = options.tellsFate ?? false;
    this.#onClosed = options.onClosed;
    this.transport.listener = this;
    if (connection.rest.length > 0) this.onData(connection.rest);
  }

  /** Address and port of our side, for the log; undefined on a Unix socket. */
  get localEnd(): string | undefined {
    const { localAddress, localPort } = this.transport;
    if (localAddress === undefined) return undefined;
    return `${localAddress.includes(":") ? `[${localAddress}]` : localAddress}:${localPort}`;
  }

  get closed(): boolean {
    return this.state === "closed";
  }

  /** Part of a reply is still to come: nothing may be put between. */
  get midReply(): boolean {
    return this.#framer.streaming;
  }

  /** Its last FATAL or PANIC. */
  get lastWords(): ErrorFields | undefined {
    return this.#lastWords;
  }

  /** It has said why it is about to end. */
  get dying(): boolean {
    return this.#lastWords !== undefined;
  }

  /** Nothing is owed and no transaction is open. */
  get clean(): boolean {
    return this.replies.settled && this.replies.status === TransactionStatus.idle && this.#framer.atBoundary;
  }

  /** May be given to a client: it is clean, and nothing has been said that ends it. */
  get fit(): boolean {
    return this.clean && this.closeReason === undefined && this.#failure === undefined;
  }

  /** All shared statements were dropped. */
  forgetStatements(): void {
    this.prepared.clear();
    this.statementsDropped++;
  }

  /** Ends the connection politely; errors on the way out are nobody's concern. */
  terminate(): void {
    if (this.midRequest) this.transport.destroy();
    else this.transport.end(encodeTerminate());
  }

  /** Ends the connection at once. */
  destroy(error: Failure): void {
    this.#failure ??= error;
    this.transport.destroy();
  }

  onData(chunk: Buffer): void {
    assert(!this.#handlingData, "a server's bytes are handled one chunk at a time");
    this.#handlingData = true;
    this.#statistics.sentBytes += chunk.length;
    try {
      if (!this.#handle(chunk)) this.transport.retainChunk();
      this.#paceReading(chunk.length);
      if (this.onOwnAnswered !== undefined) this.#tellOwnAnswered();
    } catch (error) {
      this.destroy(error instanceof PeerError ? error : mistake(error));
    } finally {
      this.#handlingData = false;
    }
  }

  /** Not for who is in a pipeline with others, or replicates, and waits for each message. */
  #paceReading(bytes: number): void {
    const { type } = this.#framer;
    const isMiddle = type === Backend.dataRow || type === Backend.copyData;
    if (isMiddle && !this.replies.copyIn && this.owner?.onUnit === undefined) this.reading.onRows(bytes);
    else this.reading.onOther();
  }

  onDrain(): void {
    this.owner?.onServerDrain();
  }

  onClose(error: Error | undefined): void {
    const words = this.#lastWords;
    const failure =
      this.#failure ??
      new OperationError(words?.message ?? "server conn crashed?", {
        code: "server.lost",
        sqlstate: words?.code ?? "08006",
        source: "server",
        cause: error,
      });
    const told = this.#tellsFate && this.#mayHaveCommitted ? fateUnknown(failure) : failure;
    const { owed } = this.replies;
    this.replies.abandon();
    this.#onClosed(this, failure);
    const owner = this.owner;
    this.owner = undefined;
    owner?.onServerLost(told, words !== undefined && this.#lastWordsRelayed, owed);
    this.#tellOwnAnswered();
  }

  #tellOwnAnswered(): void {
    if (this.replies.onOwnQuery) return;
    const told = this.onOwnAnswered;
    this.onOwnAnswered = undefined;
    told?.();
  }

  /** Something is not answered that may have been committed: outside a transaction anything, in one what ends it. */
  get #mayHaveCommitted(): boolean {
    if (this.replies.length === 0) return false;
    return this.replies.status === TransactionStatus.idle || this.endsTransaction;
  }

  /** Forwards runs of replies; returns false if bytes of the chunk are still waiting in a client's socket. */
  #handle(chunk: Buffer): boolean {
    const framer = this.#framer;
    framer.feed(chunk);
    let run: Buffer | undefined;
    let runStart = 0;
    let runEnd = 0;
    let flushed = true;
    for (;;) {
      const kind = framer.next();
      if (kind === Frame.need) break;
      const first = kind === Frame.whole || kind === Frame.head;
      // Who judges words has got what comes before.
      if (run !== undefined && isWords(framer.type)) {
        if (!this.#forward(span(run, runStart, runEnd))) flushed = false;
        run = undefined;
      }
      const verdict = first ? this.#accept(kind === Frame.whole) : this.#streamVerdict;
      if (verdict === Verdict.forward) {
        if (kind === Frame.whole && (framer.type === Backend.dataRow || framer.type === Backend.copyData)) {
          framer.takeAlike();
        }
        if (this.#reported !== undefined && framer.type === Backend.readyForQuery) {
          if (run !== undefined && !this.#forward(span(run, runStart, runEnd))) flushed = false;
          run = undefined;
          this.#report();
        }
        if (framer.buffer === run && framer.start === runEnd) {
          runEnd = framer.end;
        } else {
          if (run !== undefined && !this.#forward(span(run, runStart, runEnd))) flushed = false;
          run = framer.buffer;
          runStart = framer.start;
          runEnd = framer.end;
        }
      } else if (verdict === Verdict.replace) {
        if (run !== undefined && !this.#forward(span(run, runStart, runEnd))) flushed = false;
        run = undefined;
        this.#forward(this.replies.replacement as Buffer);
      } else if (verdict === Verdict.take) {
        this.replies.takeRow(framer.buffer.subarray(framer.start, framer.end));
      }
      if (framer.streaming) continue;
      if (framer.type === Backend.readyForQuery) {
        if (this.replies.settled) {
          this.#settledDue = true;
          this.endsTransaction = false;
        }
        if (verdict === Verdict.forward && this.owner?.onUnit !== undefined) {
          if (run !== undefined && !this.#forward(span(run, runStart, runEnd))) flushed = false;
          run = undefined;
          this.owner.onUnit(this.replies.status);
        }
      }
      if (!this.replies.hasSynthesised) continue;
      if (run !== undefined && !this.#forward(span(run, runStart, runEnd))) flushed = false;
      run = undefined;
      this.#forward(this.replies.takeSynthesised());
    }
    if (run !== undefined && !this.#forward(span(run, runStart, runEnd))) flushed = false;
    if (this.#settledDue) this.#tellSettled();
    this.owner?.onChunk?.();
    return flushed;
  }

  /** What follows the last ReadyForQuery, a notification perhaps, is the same owner's still. */
  #tellSettled(): void {
    if (!this.#framer.atBoundary) return;
    this.#settledDue = false;
    if (this.replies.settled) this.owner?.onSettled();
  }

  /** The client is about to hear that the server is ready: before that, what was reported meanwhile. */
  #report(): void {
    const reports = this.owner?.reportsDue?.(this.#reported ?? []);
    this.#reported = undefined;
    if (reports !== undefined) this.#forward(reports);
  }

  #forward(bytes: Buffer): boolean {
    return this.owner === undefined || this.owner.onReplies(bytes);
  }

  /** Asks the reply queue about the framer's message, and takes note of what the message says. */
  #accept(whole: boolean): Verdict {
    const framer = this.#framer;
    const { buffer, start, end, type } = framer;
    if (type === Backend.readyForQuery && end - start < 6) {
      throw new PeerError("server sent ReadyForQuery without a status", {
        code: "peer.message_length",
        sqlstate: "08P01",
        source: "server",
      });
    }
    if (type === Backend.commandComplete && droppingLengths.has(end - start)) this.#noteTag();
    // Whatever it is about, the server is not in the state that it is thought to be in.
    if (type === Backend.errorResponse && this.replies.length === 0) this.closeReason ??= "unexpected error";
    const verdict = this.replies.accept(type, buffer, start, end);
    this.#streamVerdict = verdict === Verdict.replace ? Verdict.swallow : verdict;
    switch (type) {
      case Backend.parameterStatus:
        return this.#noteParameter(verdict);
      case Backend.errorResponse:
        return whole ? this.#acceptError(verdict) : verdict;
      case Backend.noticeResponse:
        return whole ? this.#reworded(verdict) : verdict;
      case Backend.notificationResponse:
        return whole ? this.#noteNotification(verdict) : verdict;
      default:
    }
    return verdict;
  }

  /** What the owner would rather have the client read, takes the message's place. */
  #reworded(verdict: Verdict): Verdict {
    if (verdict !== Verdict.forward || this.owner?.onWords === undefined) return verdict;
    const { buffer, start, end } = this.#framer;
    const message = buffer.subarray(start, end);
    const words = this.owner.onWords(message);
    if (words === message) return verdict;
    if (words === undefined) return Verdict.swallow;
    this.replies.replacement = words;
    return Verdict.replace;
  }

  /** Returns what is to become of the report. */
  #noteParameter(verdict: Verdict): Verdict {
    const message = decodeBackend(this.#framer.buffer, this.#framer.start, this.#framer.end);
    if (message.kind !== "ParameterStatus") return verdict;
    this.parameters.set(message.name, message.value);
    if (verdict === Verdict.forward) this.owner?.onParameter(message.name, message.value);
    if (this.owner?.reportsDue === undefined) return verdict;
    (this.#reported ??= []).push(message.name);
    return Verdict.swallow;
  }

  #noteNotification(verdict: Verdict): Verdict {
    const { owner } = this;
    if (owner?.onNotification === undefined) return verdict;
    const { buffer, start, end } = this.#framer;
    const given = owner.onNotification(buffer.subarray(start, end));
    this.replies.replacement = given;
    return given === undefined ? Verdict.swallow : Verdict.replace;
  }

  /** Returns what is to become of it. */
  #acceptError(verdict: Verdict): Verdict {
    this.#noteError();
    const reworded = this.#reworded(verdict);
    const told = reworded !== Verdict.swallow;
    if (this.dying) this.#lastWordsRelayed = told;
    this.replies.failed ||= told;
    return reworded;
  }

  #noteError(): void {
    const message = decodeBackend(this.#framer.buffer, this.#framer.start, this.#framer.end);
    if (message.kind !== "ErrorResponse") return;
    const severity = message.fields.severity;
    if (severity !== "FATAL" && severity !== "PANIC") return;
    this.#lastWords = message.fields;
    this.closeReason = message.fields.message;
  }

  /** Before the reply ends its request: what was sent behind that request is not dropped by it. */
  #noteTag(): void {
    const { buffer, start, end } = this.#framer;
    const tag = buffer.toString("latin1", start + 5, end - 1);
    if (!droppingTags.has(tag)) return;
    if (tag !== "DISCARD SEQUENCES") {
      this.forgetStatements();
      this.foreignNames = undefined;
    }
    // It does not undo setseed(): who tainted it is not forgotten.
    if (tag === "DISCARD ALL")
      this.parameters.tracked.replaceUntracked(noSettings, this.connection.parameters);
    if (!this.replies.onOwnQuery) {
      // Its owner knows whether it has used sequences behind that.
      this.owner?.onDropped(tag);
    } else if (tag === "DISCARD ALL") {
      this.sequencesOf = undefined;
      this.sequencesMixed = false;
    }
  }
}

const noSettings: ReadonlyMap<string, string> = new Map();
