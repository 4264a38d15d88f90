/**
 * A BEGIN that is answered here and sent with the first statement, in one write; so a transaction costs no round
 * trip for it, holds no server while its client thinks about the first statement, and none at all if it is
 * empty. What the server refuses by the state it is in is not held back.
 *
 * It is remembered while its transaction runs on a standby, because that may have to begin again, elsewhere.
 */
import { type Failure, PeerError } from "../../base/errors.ts";
import { Handling, Request } from "../../pool/replies.ts";
import { type RequestOutcome, unheard } from "../../pool/request-outcome.ts";
import type { Server } from "../../pool/server.ts";
import type { TransactionControl, TransactionModes } from "../../sql/statement-class.ts";
import { Frontend, headerBytes, TransactionStatus } from "../../wire/constants.ts";
import {
  bindComplete,
  encodeBackend,
  encodeCommandComplete,
  encodeReadyForQuery,
  noData,
  parseComplete,
} from "../../wire/encode-backend.ts";
import { encodeQuery } from "../../wire/encode-frontend.ts";
import { Frame } from "../../wire/framer.ts";
import type { Output } from "../output.ts";
import { nameAt } from "../statement-messages.ts";
import type { ClientStatements } from "../statements.ts";
import type { Unit } from "../unit.ts";

/** How many statements of a transaction are done again where it begins again, and how long each may be. */
const repeatedMax = 32;
const repeatedBytesMax = 2048;

const noMessages: readonly Buffer[] = [];
const noModes: TransactionModes = Object.freeze({});

/** Fails on a server, and so makes its transaction fail: there is no such savepoint. */
const failing = encodeQuery("ROLLBACK TO SAVEPOINT pgsluice_canceled");

const noParameters = encodeBackend({ kind: "ParameterDescription", types: [] });

const target = { statement: 0x53, portal: 0x50 } as const; // S and P, in Describe

/** The parts of a unit that runs one statement and nothing else. */
interface Lone {
  /** The Query's or Parse's text; undefined: of a statement that was prepared before. */
  readonly text: string | undefined;
  /** Name and body of its Parse. */
  readonly parse: { readonly name: string; readonly body: Buffer } | undefined;
  /** Name of the statement that is bound; undefined for a Query. */
  readonly bound: string | undefined;
}

export class HeldBegin {
  readonly #statements: ClientStatements;
  /** Query messages that begin the transaction. */
  #messages: readonly Buffer[] = noMessages;
  /** A statement of the transaction was cancelled before a server knew of either. */
  #failed = false;
  /** What the unit at hand says of transactions. */
  #seen: TransactionControl | undefined;
  #modes: TransactionModes = noModes;
  /** The messages that were sent last. */
  #sent: readonly Buffer[] = noMessages;
  /** What has begun the transaction otherwise: it went to the server as it came. */
  #begunBy = "";
  /** The transaction runs on a standby: its status there. */
  #elsewhere: TransactionStatus | undefined;
  /** Why it has failed, if the client has not been told yet. */
  #loss: Failure | undefined;

  constructor(statements: ClientStatements) {
    this.#statements = statements;
  }

  get status(): TransactionStatus {
    if (this.#elsewhere !== undefined) return this.#elsewhere;
    if (this.#messages.length === 0) return TransactionStatus.idle;
    return this.#failed ? TransactionStatus.failed : TransactionStatus.inTransaction;
  }

  /** The unit at hand says something of transactions. */
  get sees(): boolean {
    return this.#seen !== undefined;
  }

  /** `server`: it goes there as it comes. Returns whether it begins a transaction with that. */
  see(control: TransactionControl, server: Server | undefined): boolean {
    if (server === undefined) this.#seen = control;
    else if (control.kind === "begin") return this.begin(beginText(control.modes), server);
    return false;
  }

  /** What the BEGIN that is held back, or was sent last, says. */
  get modes(): TransactionModes {
    return this.#modes;
  }

  /** The text that has begun the transaction. */
  get text(): string {
    const [message] = this.#sent;
    return message?.toString("utf8", headerBytes, message.length - 1) ?? this.#begunBy;
  }

  /** Something that is not held back begins a transaction. Returns whether there was none. */
  begin(text: string, server: Server | undefined): boolean {
    const status = server?.replies.status ?? this.status;
    if (status !== TransactionStatus.idle) return false;
    this.#sent = noMessages;
    this.#begunBy = text;
    return true;
  }

  /** It is held back, and nothing of its transaction was cancelled. */
  get held(): boolean {
    return this.#messages.length > 0 && !this.#failed;
  }

  // ---- on a standby ----

  /**
   * A unit of one statement as a message that can be sent again where the transaction begins again. Undefined if it cannot, or there
   * are too many already.
   */
  repeatable(unit: Unit): Buffer | undefined {
    if (unit.bytes > repeatedBytesMax || this.#sent.length > repeatedMax) return undefined;
    if (unit.kind(unit.length - 1) !== Frame.whole) return undefined;
    const lone = loneOf(unit);
    const text = lone?.text ?? (lone?.bound === undefined ? undefined : this.#textOf(lone.bound));
    // What is not UTF-8 would not be the same.
    return text === undefined || text.includes("\uFFFD") ? undefined : encodeQuery(text);
  }

  /** What a server has answered belongs to the beginning of the transaction. */
  repeat(message: Buffer): void {
    this.#sent = [...this.#sent, message];
  }

  /** The next transaction has begun by the end of this one. */
  chain(): void {
    this.#sent = this.#sent.slice(0, 1);
  }

  get isElsewhere(): boolean {
    return this.#elsewhere !== undefined;
  }

  /** The transaction goes on there; undefined: it is over. */
  runElsewhere(status: TransactionStatus | undefined): void {
    this.#elsewhere = status;
  }

  /** What was sent is gone, and with it all that was done: it is held back again. */
  restore(): void {
    this.#elsewhere = undefined;
    this.#messages = this.#sent;
    this.#failed = false;
  }

  /** Why the transaction is lost, to be told once. */
  takeLoss(): Failure | undefined {
    const loss = this.#loss;
    this.#loss = undefined;
    return loss;
  }

  /**
   * The replies to a unit that only begins or ends a transaction; undefined if a server has to see it. `reported`: what servers
   * report.
   */
  answer(unit: Unit, reported: ReadonlyMap<string, string> | undefined): Buffer | undefined {
    const control = this.#seen;
    this.#seen = undefined;
    if (control === undefined || this.#elsewhere !== undefined) return undefined;
    const begun = this.#messages.length > 0;
    if (begun ? !ends(control) : !begins(control, reported)) return undefined;
    if (control.kind === "begin") this.#modes = control.modes;
    if (!begun && unit.length === 1 && unit.type(0) === Frontend.query) return this.#beginBy(unit);
    const lone = loneOf(unit);
    if (lone === undefined) return undefined;
    const text = lone.text ?? this.#textOf(lone.bound ?? "");
    if (text === undefined || (lone.parse !== undefined && !this.#adopt(lone.parse))) return undefined;
    if (lone.bound === undefined) this.#statements.dropUnnamedStatement();
    const tag = begun ? (control.kind === "commit" && !this.#failed ? "COMMIT" : "ROLLBACK") : beginTag(text);
    this.#messages = begun ? noMessages : [encodeQuery(text)];
    this.#sent = noMessages;
    this.#failed = false;
    this.#loss = undefined;
    return Buffer.concat([...repliesTo(unit, tag), encodeReadyForQuery(this.status)]);
  }

  /** The usual way: a Query, in one of few texts. */
  #beginBy(unit: Unit): Buffer {
    const buffer = unit.buffer(0);
    if (!isMessage(lastBegin, buffer, unit.start(0), unit.end(0))) {
      const text = buffer.toString("utf8", unit.start(0) + headerBytes, unit.end(0) - 1);
      lastBegin = plainBegins.get(text) ?? plainBegin(text);
    }
    this.#statements.dropUnnamedStatement();
    this.#messages = lastBegin.messages;
    this.#sent = noMessages;
    this.#failed = false;
    return lastBegin.replies;
  }

  #adopt(parse: { readonly name: string; readonly body: Buffer }): boolean {
    return this.#statements.adopt(parse.name, parse.body);
  }

  #textOf(name: string): string | undefined {
    const body = name === "" ? this.#statements.unnamed : this.#statements.find(name)?.key;
    return body === undefined
      ? undefined
      : Buffer.from(body.slice(0, body.indexOf("\0")), "latin1").toString("utf8");
  }

  /** The first statement is about to be sent. Returns whether there is a BEGIN before it. */
  send(server: Server, output: Output): boolean {
    this.#seen = undefined;
    if (this.#messages === noMessages) return false;
    for (const message of this.#messages) {
      server.replies.push(Request.query, Handling.swallow, message === failing ? unheard : mustSucceed);
      server.unnamed = undefined;
      output.append(message, 0, message.length, server.transport);
    }
    this.#sent = this.#messages;
    this.#messages = noMessages;
    this.#failed = false;
    return true;
  }

  /** The transaction has failed: the first statement is cancelled while it waits, or there was a `loss`. */
  fail(loss?: Failure): void {
    this.#seen = undefined;
    this.#loss = loss;
    if (this.#messages.length === 0 || this.#failed) return;
    this.#messages = [...this.#messages, failing];
    this.#failed = true;
  }
}

interface PlainBegin {
  readonly messages: readonly Buffer[];
  readonly replies: Buffer;
}

/** Texts of Query messages that begin a transaction, as programs send them again and again. */
const plainBegins = new Map<string, PlainBegin>();
const plainBeginsMax = 64;

/** The one that was used last, by whomever: it is compared without a string being made. */
let lastBegin = plainBegin("BEGIN");

/** Whether `buffer[start, end)` is the message of this one. */
function isMessage({ messages }: PlainBegin, buffer: Buffer, start: number, end: number): boolean {
  const message = messages[0] as Buffer;
  if (message.length !== end - start) return false;
  for (let at = 0; at < message.length; at++) if (message[at] !== buffer[start + at]) return false;
  return true;
}

function plainBegin(text: string): PlainBegin {
  const replies = [
    encodeCommandComplete(beginTag(text)),
    encodeReadyForQuery(TransactionStatus.inTransaction),
  ];
  const begin = { messages: [encodeQuery(text)], replies: Buffer.concat(replies) };
  if (plainBegins.size < plainBeginsMax && text.length < 200) plainBegins.set(text, begin);
  return begin;
}

/** If it fails, what follows runs outside of the transaction that its client believes in: that client hears no more. */
const mustSucceed: RequestOutcome = {
  ...unheard,
  onError: () => {
    throw new PeerError("server refused to begin a transaction", {
      code: "session.begin_refused",
      sqlstate: "08006",
      source: "server",
    });
  },
};

function begins(control: TransactionControl, reported: ReadonlyMap<string, string> | undefined): boolean {
  if (control.kind !== "begin") return false;
  const { isolation, readOnly } = control.modes;
  // A standby refuses these (xact.c, variable.c check_XactIsoLevel, check_transaction_read_only).
  if (isolation !== "serializable" && readOnly !== false) return true;
  return reported?.get("in_hot_standby") !== "on";
}

function ends(control: TransactionControl): boolean {
  return (control.kind === "commit" || control.kind === "rollback") && !control.chain;
}

/** A BEGIN as a text, from what it says. */
function beginText({ isolation, readOnly, deferrable }: TransactionModes): string {
  const modes = [
    isolation === undefined ? "" : ` isolation level ${isolation}`,
    readOnly === undefined ? "" : readOnly ? " read only" : " read write",
    deferrable === undefined ? "" : deferrable ? " deferrable" : " not deferrable",
  ];
  return `begin${modes.join("")}`;
}

/** As the server tags it: by the word it was begun with (utility.c CreateCommandTag). */
function beginTag(text: string): string {
  return /\bstart\s+transaction\b/i.test(text.replaceAll(/\/\*[\s\S]*?\*\/|--[^\n]*/g, " "))
    ? "START TRANSACTION"
    : "BEGIN";
}

/** A Query, or Parse?, Describe?, Bind, Describe?, Execute, Sync of one statement without parameters. */
function loneOf(unit: Unit): Lone | undefined {
  const last = unit.length - 1;
  if (unit.type(last) === Frontend.query) {
    if (last !== 0) return undefined;
    const text = unit.buffer(0).toString("utf8", unit.start(0) + headerBytes, unit.end(0) - 1);
    return { text, parse: undefined, bound: undefined };
  }
  if (unit.type(last) !== Frontend.sync) return undefined;
  let parse: Lone["parse"];
  let text: string | undefined;
  let bound: string | undefined;
  let executed = false;
  for (let i = 0; i < last; i++) {
    const buffer = unit.buffer(i);
    const start = unit.start(i) + headerBytes;
    const end = unit.end(i);
    switch (unit.type(i)) {
      case Frontend.parse: {
        if (i !== 0) return undefined;
        const nameEnd = buffer.indexOf(0, start);
        const textEnd = buffer.indexOf(0, nameEnd + 1);
        if (textEnd !== end - 3 || buffer.readUInt16BE(textEnd + 1) !== 0) return undefined;
        const name = nameAt(buffer, start, nameEnd);
        parse = { name, body: buffer.subarray(nameEnd + 1, end) };
        text = buffer.toString("utf8", nameEnd + 1, textEnd);
        break;
      }
      case Frontend.bind: {
        const nameStart = buffer.indexOf(0, start) + 1;
        const nameEnd = buffer.indexOf(0, nameStart);
        if (bound !== undefined || nameStart !== start + 1 || !bindsNothing(buffer, nameEnd + 1, end))
          return undefined;
        bound = nameAt(buffer, nameStart, nameEnd);
        if (parse !== undefined && parse.name !== bound) return undefined;
        break;
      }
      case Frontend.describe: {
        const isStatement = buffer[start] === target.statement;
        if (isStatement !== (bound === undefined)) return undefined;
        const nameEnd = buffer.indexOf(0, start + 1);
        const name = nameAt(buffer, start + 1, nameEnd);
        if (name !== (isStatement ? parse?.name : "")) return undefined;
        break;
      }
      case Frontend.execute:
        if (bound === undefined || executed || buffer[start] !== 0) return undefined;
        executed = true;
        break;
      default:
        return undefined;
    }
  }
  return executed ? { text, parse, bound } : undefined;
}

/** Whether a Bind brings no values: counts of formats, of values, and then formats of results. */
function bindsNothing(buffer: Buffer, start: number, end: number): boolean {
  if (start + 4 > end) return false;
  const formats = buffer.readUInt16BE(start);
  const values = start + 2 + 2 * formats;
  return formats <= 1 && values + 2 <= end && buffer.readUInt16BE(values) === 0;
}

function repliesTo(unit: Unit, tag: string): Buffer[] {
  const replies: Buffer[] = [];
  for (let i = 0; i < unit.length; i++) {
    switch (unit.type(i)) {
      case Frontend.query:
      case Frontend.execute:
        replies.push(encodeCommandComplete(tag));
        break;
      case Frontend.parse:
        replies.push(parseComplete);
        break;
      case Frontend.bind:
        replies.push(bindComplete);
        break;
      case Frontend.describe:
        if (unit.buffer(i)[unit.start(i) + headerBytes] === target.statement) replies.push(noParameters);
        replies.push(noData);
        break;
      default:
    }
  }
  return replies;
}
