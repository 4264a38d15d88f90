/**
 * One client's unnamed statement while its servers change: its text, and which server has it. What is sent is noted at
 * once; the note is confirmed or taken back when the reply is in, as for named statements (statement-outcomes.ts).
 */
import { parseMessage } from "../pool/prepared.ts";
import { Handling, Request } from "../pool/replies.ts";
import type { RequestOutcome } from "../pool/request-outcome.ts";
import { type Server, unnamedUnknown } from "../pool/server.ts";
import { encodeClose } from "../wire/encode-frontend.ts";
import type { Output } from "./output.ts";
import { appendWhole } from "./statement-messages.ts";
import type { AnswerListener } from "./statement-outcomes.ts";

export class UnnamedStatement {
  /** Body of the Parse message that makes it, byte for byte in latin1; undefined: there is none. */
  body: string | undefined;
  /** What it is by the replies that are in, and the last change of it. */
  #known: string | undefined;
  #change: UncertainChange | undefined;
  /** What was sent last to make the server's the client's, until it is answered. */
  #sent: SentUnnamed | undefined;
  /** Counts what is true whatever the replies say to changes that were sent before. */
  #settled = 0;
  readonly #owner: AnswerListener;

  /** `owner` is told when an uncertain change is answered. */
  constructor(owner: AnswerListener) {
    this.#owner = owner;
  }

  /**
   * A change that is not answered yet, if until then nobody knows what the server would say to who asks: a Close, of which no
   * server hears; a Query within a batch; or a Parse, be it ours, on a server that has not what was there before, and will have neither if it skips that Parse;
   * or a Parse behind such a change, with which it may be skipped.
   */
  get uncertain(): UncertainChange | undefined {
    return this.#change?.uncertain === true ? this.#change : this.#sent;
  }

  /** It is this from now on, whatever the server says. */
  set(body: string | undefined): void {
    this.body = body;
    this.#known = body;
    this.#change = undefined;
    this.#settled++;
  }

  /** To be given to `commit` by a change that is sent now. */
  get settled(): number {
    return this.#settled;
  }

  /** The client's Parse is being sent. */
  parse(server: Server, body: string, batch: number): RequestOutcome {
    const uncertain = this.#change?.uncertain === true || server.unnamed !== this.body;
    server.unnamed = body;
    const change = new UnnamedParse(this, server, body, { batch, uncertain });
    server.prepared.unnamedChange = change;
    return this.#changing(body, change);
  }

  /** The client's Close; no server hears of it. */
  close(batch: number): RequestOutcome {
    return this.#changing(undefined, new UnnamedDrop(this, batch));
  }

  /** The client's Query is being sent. Within a batch that has failed, or may still fail, it is skipped. */
  query(server: Server, batch: number): RequestOutcome | undefined {
    if (!server.replies.betweenUnits) return this.#changing(undefined, new UnnamedDrop(this, batch));
    this.set(undefined);
    return undefined;
  }

  #changing(body: string | undefined, change: UnnamedParse | UnnamedDrop): RequestOutcome {
    this.body = body;
    this.#change = change;
    return change;
  }

  /** The reply to it is in, or it was skipped. */
  answered(change: UncertainChange): void {
    if (this.#change === change) this.#change = undefined;
    if (this.#sent === change) this.#sent = undefined;
    if (change.uncertain) this.#owner.answered(change);
  }

  /** A change was carried out, or has dropped the old statement although it was refused; `settled`: as it was when it was sent. */
  commit(body: string | undefined, settled: number): void {
    if (settled === this.#settled) this.#known = body;
  }

  /** A change was refused, or skipped. */
  drop(change: RequestOutcome): void {
    if (this.#change === change) this.body = this.#known;
  }

  /** What was sent last changes nothing for the client, whatever the server says: the unit is sent elsewhere, or not at all. */
  leave(): void {
    this.set(this.#known);
    this.#sent = undefined;
  }

  /** Whether what was noted of the server's hangs on what another has sent, or this client with a unit that it has left. */
  #isUncertainOn({ prepared: { unnamedChange } }: Server): boolean {
    if (unnamedChange === undefined) return false;
    return unnamedChange !== this.#change && unnamedChange !== this.#sent;
  }

  /** Makes the server's the client's, if it is not. */
  ensure(server: Server, output: Output, batch: number): void {
    const { body } = this;
    if (server.unnamed === body && !this.#isUncertainOn(server)) return;
    server.unnamed = body;
    const sent = new SentUnnamed(this, server, body, batch);
    this.#sent = sent;
    server.prepared.unnamedChange = sent;
    if (body === undefined) {
      server.replies.push(Request.close, Handling.swallow, sent);
      appendWhole(output, server, encodeClose("statement", ""));
      return;
    }
    server.replies.push(Request.parse, Handling.swallow, sent);
    appendWhole(output, server, parseMessage("", Buffer.from(body, "latin1")));
  }
}

interface UncertainChange extends RequestOutcome {
  /** The number of the client's batch. */
  readonly batch: number;
  readonly uncertain: boolean;
}

/** The client's Close of the unnamed statement, of which the server never hears; or a Query, which drops it. */
class UnnamedDrop implements UncertainChange {
  readonly errorReply: undefined;
  readonly batch: number;
  readonly uncertain = true;
  readonly #statement: UnnamedStatement;
  readonly #settled: number;

  constructor(statement: UnnamedStatement, batch: number) {
    this.#statement = statement;
    this.#settled = statement.settled;
    this.batch = batch;
  }

  onDone(): void {
    this.#statement.commit(undefined, this.#settled);
    this.#statement.answered(this);
  }

  onFailed(refused: boolean): void {
    if (refused) this.#statement.commit(undefined, this.#settled);
    this.#statement.drop(this);
    this.#statement.answered(this);
  }
}

/** The client's Parse of the unnamed statement. */
class UnnamedParse implements UncertainChange {
  readonly errorReply: undefined;
  readonly batch: number;
  readonly uncertain: boolean;
  readonly #statement: UnnamedStatement;
  readonly #server: Server;
  readonly #text: string;
  readonly #settled: number;

  constructor(
    statement: UnnamedStatement,
    server: Server,
    text: string,
    { batch, uncertain }: { batch: number; uncertain: boolean },
  ) {
    this.batch = batch;
    this.uncertain = uncertain;
    this.#statement = statement;
    this.#settled = statement.settled;
    this.#server = server;
    this.#text = text;
  }

  onDone(): void {
    settleOnServer(this.#server, this);
    this.#statement.commit(this.#text, this.#settled);
    this.#statement.answered(this);
  }

  onFailed(refused: boolean): void {
    forgetOnServer(this.#server, this.#text, this);
    // A Parse drops the old statement before it looks at the new one (postgres.c exec_parse_message).
    if (refused) this.#statement.commit(undefined, this.#settled);
    this.#statement.drop(this);
    this.#statement.answered(this);
  }
}

/** Our own Parse or Close of the unnamed statement, which makes the server's the client's. */
class SentUnnamed implements UncertainChange {
  readonly errorReply: undefined;
  readonly batch: number;
  readonly uncertain = true;
  readonly #statement: UnnamedStatement;
  readonly #server: Server;
  readonly #text: string | undefined;

  constructor(statement: UnnamedStatement, server: Server, text: string | undefined, batch: number) {
    this.batch = batch;
    this.#statement = statement;
    this.#server = server;
    this.#text = text;
  }

  onDone(): void {
    // What the server has was noted when it was sent.
    settleOnServer(this.#server, this);
    this.#statement.answered(this);
  }

  onFailed(): void {
    forgetOnServer(this.#server, this.#text, this);
    this.#statement.answered(this);
  }
}

function settleOnServer({ prepared }: Server, change: UncertainChange): void {
  if (prepared.unnamedChange === change) prepared.unnamedChange = undefined;
}

/** The server has none, or whatever was there before; or already what was sent next. */
function forgetOnServer(server: Server, text: string | undefined, change: UncertainChange): void {
  if (server.prepared.unnamedChange !== change) return;
  server.prepared.unnamedChange = undefined;
  if (server.unnamed === text) server.unnamed = unnamedUnknown;
}
