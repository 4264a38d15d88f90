/**
 * One client's use of sequences. What currval() and lastval() return is known only to the server where the client has
 * called nextval(), and no other server can be told: so the client *holds* that server.
 *
 * Loosely, at first: it is given back as soon as somebody wants it, or after a while. The server remembers whose
 * values it has, and the client gets it again if it can. Once a client has been given what it asked for it will
 * ask again: from then on the server is reserved for a while after each use, whoever waits. A client that has used
 * sequences often and has never asked holds nothing.
 *
 * Values of another client are discarded before anybody can see them: when a server changes hands, or, where that was not
 * worth the while, when somebody asks, or may ask in code that nobody sees (`sequencesMixed`). So who asks is told the
 * truth or 55000.
 */
import { Handling, Request } from "../../pool/replies.ts";
import { type RequestOutcome, unheard } from "../../pool/request-outcome.ts";
import type { Server } from "../../pool/server.ts";
import { encodeClose, encodeQuery } from "../../wire/encode-frontend.ts";
import type { Output } from "../output.ts";
import { type OwnRequest, ownStatement } from "../own-requests.ts";
import { Doubts, type Informed } from "./doubts.ts";
import type { Knowledge } from "./knowledge.ts";

/** How long a server is held after the last use. */
const holdMsMax = 3000;
/** Units with sequences after which a client that has never asked is not expected to. */
const unaskedMax = 100;

/** What the client's hold on a server is. */
export const Hold = {
  none: 0,
  /** Until somebody wants it. */
  loose: 1,
  reserved: 2,
} as const;
export type Hold = (typeof Hold)[keyof typeof Hold];

export class SequenceUse {
  readonly #clientId: number;
  /** Of statements on their way. */
  #uses = false;
  #asks = false;
  #mayAskUnseen = false;
  /** What it has used since it last held nothing was a sequence, as far as is known. */
  #mayHold = false;
  /** Where the client has last used a sequence. */
  #server: Server | undefined;
  #usedAtMs = 0;
  /** Units with sequences, for as long as the client has not asked. */
  #unasked = 0;
  #hasAsked = false;
  /** Since the server was last asked for nothing: the client has used sequences, and has discarded what it knew of them. */
  #used = false;
  #discarded = false;
  /** Errors that the server had sent when the client asked; undefined: no question is on its way. */
  #errorsBefore: number | undefined;

  /** Of uses since the client's last hold has ended. */
  readonly #doubts: Doubts;

  constructor(clientId: number, database: Informed) {
    this.#clientId = clientId;
    this.#doubts = new Doubts(database);
  }

  /** A unit is gathered: what was seen and never sent does not count. */
  begin(): void {
    this.#uses = false;
    this.#asks = false;
    this.#mayAskUnseen = false;
  }

  /** Nothing is held, and nothing on its way that has to do with sequences. */
  get atRest(): boolean {
    const seen = this.#uses || this.#asks || this.#mayAskUnseen;
    const held = this.#mayHold || this.#used || this.#discarded || this.#errorsBefore !== undefined;
    return !seen && !held;
  }

  /** A statement is on its way; `whole` is its text, if it can be kept. Returns whether it has to do with sequences. */
  see(knowledge: Knowledge, text: { readonly whole: Buffer | undefined }): boolean {
    const { usesSequence, asksSequence, opaque, copiesIn } = knowledge;
    if (usesSequence) this.#doubts.add(text.whole);
    this.#uses ||= usesSequence;
    this.#asks ||= asksSequence;
    // While a server reads COPY data nothing can be put before a question.
    this.#mayAskUnseen ||= opaque || copiesIn;
    return usesSequence || asksSequence || copiesIn;
  }

  /** The server that has the client's values, if it still has them. */
  get preferredServer(): Server | undefined {
    const server = this.#uses || this.#asks ? this.#server : undefined;
    return server !== undefined && !server.closed && this.#owns(server) ? server : undefined;
  }

  /** No other one can answer. */
  get asksServer(): boolean {
    return this.#asks && this.preferredServer !== undefined;
  }

  #owns(server: Server): boolean {
    return server.sequencesOf === this.#clientId;
  }

  /** The statements run on this server: what is sent before them, if anything, makes it certain whose values are there. */
  claim(server: Server, output: Output, nowMs: number): void {
    const { replies } = server;
    // What the server skips does nothing.
    if ((!this.#uses && !this.#asks && !this.#mayAskUnseen) || replies.skipping) return;
    const foreign = server.sequencesOf !== undefined && !this.#owns(server);
    const matters = this.#asks || this.#mayAskUnseen || this.#mayAsk;
    const discards = (foreign || server.sequencesMixed) && matters && !replies.copyIn;
    if (discards) server.sequencesOf = undefined;
    server.sequencesMixed = !discards && (foreign || server.sequencesMixed);
    if (this.#uses) {
      if (!this.#hasAsked && this.#doubts.certain) this.#unasked++;
      server.sequencesOf = this.#clientId;
      this.#server = server;
      this.#used = true;
      this.#mayHold = true;
    }
    if (this.#owns(server)) {
      this.#usedAtMs = nowMs;
      if (this.#asks) this.#errorsBefore ??= replies.errorCount;
    }
    this.begin();
    if (discards) discard(server, output);
  }

  get #mayAsk(): boolean {
    return this.#hasAsked || this.#unasked < unaskedMax;
  }

  /** DISCARD SEQUENCES or DISCARD ALL of the client's was carried out. */
  onDiscarded(): void {
    this.#discarded = true;
  }

  /** Nothing is owed any more. `wanted`: somebody waits for a server. */
  hold(server: Server, wanted: boolean, now: () => number): Hold {
    if (this.#errorsBefore !== undefined) {
      this.#hasAsked ||= this.#errorsBefore === server.replies.errorCount;
      this.#errorsBefore = undefined;
    }
    // Which of the two came last is not known.
    if (this.#discarded && !this.#used) {
      server.sequencesOf = undefined;
      server.sequencesMixed = false;
    }
    this.#used = false;
    this.#discarded = false;
    const hold = this.#hold(server, wanted, now);
    if (hold === Hold.none) this.#doubts.forget();
    return hold;
  }

  #hold(server: Server, wanted: boolean, now: () => number): Hold {
    if (this.#doubts.dispel()) this.#mayHold = false;
    if (!this.#mayHold || !this.#owns(server) || !this.#mayAsk) return Hold.none;
    if (this.#hasAsked) return !wanted || now() - this.#usedAtMs < holdMsMax ? Hold.reserved : Hold.none;
    return !wanted && now() - this.#usedAtMs < holdMsMax ? Hold.loose : Hold.none;
  }
}

const discardQuery = encodeQuery("DISCARD SEQUENCES");
/** Of a statement and portal of our own. */
const name = "pgsluice_sequences";
const discardMessages: readonly OwnRequest[] = [
  // A cancel may have kept an earlier one from being closed.
  [Request.close, encodeClose("statement", name)],
  ...ownStatement(name, "DISCARD SEQUENCES"),
];

/** Sends it before the client's statement: as a Query, or, where that would end the client's batch, within the batch. */
function discard(server: Server, output: Output): void {
  const { replies, transport } = server;
  const keeps = (): void => {
    // The transaction has failed. Whatever asks now fails as well, but perhaps not what asks later.
    server.sequencesMixed = true;
  };
  if (replies.betweenUnits) {
    replies.push(Request.query, Handling.swallow, { ...unheard, onError: keeps });
    server.unnamed = undefined;
    output.append(discardQuery, 0, discardQuery.length, transport);
    return;
  }
  const outcome: RequestOutcome = { errorReply: undefined, onDone: () => undefined, onFailed: keeps };
  for (const [request, message] of discardMessages) {
    // Once it is closed it was carried out.
    replies.push(request, Handling.swallow, request === Request.close ? outcome : undefined);
    output.append(message, 0, message.length, transport);
  }
}
