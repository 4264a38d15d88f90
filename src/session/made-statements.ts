/**
 * Makes shared statements on servers for one client, and follows what becomes of it. What is sent is noted at once;
 * the note is confirmed or taken back when the reply is in (statement-outcomes.ts).
 */
import { emptyMap, ownMap } from "../base/empty-map.ts";
import type { SharedStatement } from "../pool/prepared.ts";
import { Handling, Request } from "../pool/replies.ts";
import type { Server } from "../pool/server.ts";
import type { Statistics } from "../pool/statistics.ts";
import { TransactionStatus } from "../wire/constants.ts";
import { encodeClose } from "../wire/encode-frontend.ts";
import type { Output } from "./output.ts";
import { appendWhole } from "./statement-messages.ts";
import { type AnswerListener, type NameChange, SentChange, type SentNotes } from "./statement-outcomes.ts";

export class MadeStatements implements SentNotes {
  /**
   * What a server has parsed already it is made to parse again: nobody would take care if it turned out to be out of
   * date (unit-sender.ts).
   */
  parsesAgain = false;
  /** The batch at hand has executed something, and is not sent again. */
  executed = false;
  /** By the statement's name on the server: the last Parse or Close of the client's that is not answered yet. */
  #sent: Map<string, SentChange> = emptyMap;
  readonly #statistics: Statistics;
  readonly #owner: AnswerListener;
  /** The batch began outside of any transaction. */
  #outside = false;

  constructor(statistics: Statistics, owner: AnswerListener) {
    this.#statistics = statistics;
    this.#owner = owner;
  }

  /** Something is not answered yet. */
  get pending(): boolean {
    return this.#sent.size > 0;
  }

  /** The last change of the statement on the client's server, if it is not answered yet. */
  pendingChange(statement: SharedStatement | undefined): SentChange | undefined {
    return statement === undefined ? undefined : this.#sent.get(statement.name);
  }

  /** The client's Parse of a statement, sent in the client's batch `batch`: forwarded, or answered if the server has the statement. */
  parse(server: Server, output: Output, statement: SharedStatement, change: NameChange, batch: number): void {
    if (this.#holds(server, statement.name) && this.#parsesForSure(server)) {
      server.replies.push(Request.parse, Handling.synthesise, change);
      return;
    }
    this.#make(server, output, statement, batch, change);
  }

  /** The server has the statement for what follows. */
  ensure(server: Server, output: Output, statement: SharedStatement, batch: number): void {
    if (!this.#holds(server, statement.name)) this.#make(server, output, statement, batch, undefined);
  }

  /**
   * Whether the server will hold it when it has answered everything, unless an error comes between. Of what others have sent that is
   * likely enough for who runs again if it is not so (unit-sender.ts); else all would make again what is being made.
   */
  #holds(server: Server, name: string): boolean {
    const { prepared } = server;
    if (this.#sent.size > 0 && !prepared.has(name)) this.#sent.get(name)?.noteAgain();
    return prepared.get(name) === true && !(this.executed && this.#isUncertain(server, name));
  }

  /** Whether what was noted of the statement hangs on what another has sent, or this client with a unit that it has left. */
  #isUncertain({ prepared: { changes } }: Server, name: string): boolean {
    const change = changes.size === 0 ? undefined : changes.get(name);
    return change !== undefined && change !== this.#sent.get(name);
  }

  /** What was sent is for nobody any more, although it is not answered. */
  leave(): void {
    this.#sent = emptyMap;
  }

  settle(sent: SentChange): void {
    if (this.#sent.get(sent.name) === sent) this.#sent.delete(sent.name);
    this.#owner.answered(sent);
  }

  /**
   * Whether the server would carry out a Parse that it has carried out before. In a transaction only it knows: the
   * transaction may have failed, and may have changed what the text means.
   */
  #parsesForSure({ replies }: Server): boolean {
    if (replies.betweenUnits) {
      this.#outside = replies.length === 0 && replies.status === TransactionStatus.idle;
    }
    // A server that skips it needs no Parse to do so.
    return (this.#outside && !this.parsesAgain) || replies.skipping;
  }

  /**
   * Sends the Parse of a statement, after its Close if the server has it or may have it, then the Close of the one that has to go for
   * it. In this order, because if both are skipped the first note is gone before the second is made again.
   */
  #make(
    server: Server,
    output: Output,
    statement: SharedStatement,
    batch: number,
    change: NameChange | undefined,
  ): void {
    const { name } = statement;
    this.#statistics.serverParseCount++;
    const noted = server.prepared.peek(name);
    const mayBeThere = noted !== undefined || this.#isUncertain(server, name);
    if (mayBeThere && !server.replies.skipping) this.#close(server, output, name, noted, batch);
    const evicted = server.prepared.set(name, true);
    const sent = this.#sending(server, { name, makes: true, noted, batch, change });
    server.replies.push(Request.parse, change === undefined ? Handling.swallow : Handling.forward, sent);
    appendWhole(output, server, statement.parseMessage);
    if (evicted !== undefined) this.#close(server, output, ...evicted, batch);
  }

  /** Closes all that the server has, where nobody must see it. */
  closeAll(server: Server, output: Output, batch: number): void {
    for (const name of [...server.prepared.keys()]) {
      const noted = server.prepared.peek(name) === true;
      server.prepared.delete(name);
      this.#close(server, output, name, noted, batch);
    }
  }

  #close(server: Server, output: Output, name: string, noted: boolean | undefined, batch: number): void {
    const sent = this.#sending(server, { name, makes: false, noted, batch });
    server.replies.push(Request.close, Handling.swallow, sent);
    appendWhole(output, server, encodeClose("statement", name));
  }

  #sending(
    server: Server,
    change: {
      name: string;
      makes: boolean;
      noted: boolean | undefined;
      batch: number;
      change?: NameChange | undefined;
    },
  ): SentChange {
    const sent = new SentChange(this, server, change);
    this.#sent = ownMap(this.#sent).set(change.name, sent);
    return sent;
  }
}
