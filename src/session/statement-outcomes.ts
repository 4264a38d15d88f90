/**
 * What becomes of the messages that change prepared statements, when their replies are in.
 *
 * Two things are at stake: what a name means to the client, and what a server holds. Both are noted when the
 * message is sent; here the note is confirmed, or taken back because the server refused the message or
 * skipped it after an earlier error. Replies come in the order of the messages, and so do these calls.
 */
import type { SharedStatement } from "../pool/prepared.ts";
import type { RequestOutcome } from "../pool/request-outcome.ts";
import type { Server } from "../pool/server.ts";
import { renamed } from "./statement-messages.ts";

/** The client's own notes of its names. */
export interface NameNotes {
  commit(change: NameChange): void;
  drop(change: NameChange): void;
}

/** Whether a server holds a statement: undefined is no, false that it has to be parsed again before it is used (Server.prepared). */
type StatementNote = boolean | undefined;

/** Whose messages they are. */
export interface AnswerListener {
  /** A reply is in that something may have waited for. */
  answered(outcome: RequestOutcome): void;
}

/** Notes of what is on its way to servers. */
export interface SentNotes {
  /** It is known now whether the server holds the statement. */
  settle(sent: SentChange): void;
}

/** What the client's own Parse or Close makes of one of its names. */
export class NameChange implements RequestOutcome {
  readonly errorReply: undefined;
  readonly name: string;
  /** Undefined: the name means nothing any more. Else a reference that is this change's own until it is over. */
  readonly statement: SharedStatement | undefined;
  /** The batch it was sent in. */
  readonly batch: number;
  readonly #notes: NameNotes;

  constructor(notes: NameNotes, name: string, statement: SharedStatement | undefined, batch: number) {
    this.#notes = notes;
    this.name = name;
    this.statement = statement;
    this.batch = batch;
  }

  onDone(): void {
    this.#notes.commit(this);
  }

  onFailed(): void {
    this.#notes.drop(this);
  }
}

/** The client gives a name again: in place of its Parse goes one of `serverName`, which the server has. `spelled`: the client's name. */
export function nameTaken(
  server: Server,
  serverName: string,
  spelled: string,
  change: NameChange,
): RequestOutcome {
  return {
    errorReply: { sqlstate: "42P05", inPlaceOf: (error) => renamed(error, serverName, spelled) },
    onDone: () => {
      // With this one probably all were dropped, and by this name it has something else now. The client may go on before it is closed.
      server.closeReason ??= "prepared statement was lost";
      for (const known of [...server.prepared.keys()]) server.prepared.set(known, false);
      change.onDone();
    },
    onFailed: () => change.onFailed(),
  };
}

/** The client's Query that may drop all prepared statements. */
export class DroppingQuery implements RequestOutcome {
  readonly errorReply: undefined;
  /** What it makes of the unnamed one, if that is not certain. */
  readonly #unnamed: RequestOutcome | undefined;
  readonly #owner: AnswerListener;

  constructor(unnamed: RequestOutcome | undefined, owner: AnswerListener) {
    this.#unnamed = unnamed;
    this.#owner = owner;
  }

  onDone(): void {
    this.#unnamed?.onDone();
    this.#owner.answered(this);
  }

  onFailed(refused: boolean): void {
    this.#unnamed?.onFailed(refused);
    this.#owner.answered(this);
  }
}

/**
 * A message that changes what a server holds: the Parse of a statement that it lacks, the client's (with a
 * change of names) or our own, or the Close of one that has to go.
 */
export class SentChange implements RequestOutcome {
  readonly errorReply: undefined;
  /** On the server. */
  readonly name: string;
  readonly batch: number;
  /** What is to be noted on the server after this, once the reply is in. */
  #note: StatementNote;
  readonly #makes: boolean;
  readonly #notes: SentNotes;
  readonly #server: Server;
  /** The change of the same statement before, of whichever client, which was not answered when this one was sent. */
  #before: SentChange | undefined;
  readonly #change: NameChange | undefined;
  readonly #droppedBefore: number;

  constructor(
    notes: SentNotes,
    server: Server,
    sent: {
      readonly name: string;
      readonly makes: boolean;
      readonly batch: number;
      /** What was noted when it was sent. */
      readonly noted: StatementNote;
      readonly change?: NameChange | undefined;
    },
  ) {
    this.#notes = notes;
    this.#server = server;
    this.name = sent.name;
    this.batch = sent.batch;
    this.#makes = sent.makes;
    const { changes } = server.prepared;
    const before = changes.get(sent.name);
    this.#before = before instanceof SentChange ? before : undefined;
    changes.set(sent.name, this);
    this.#note = sent.noted;
    this.#change = sent.change;
    this.#droppedBefore = server.statementsDropped;
  }

  onDone(): void {
    this.#note = this.#makes ? true : undefined;
    this.noteAgain();
    this.#change?.onDone();
    this.#settle();
  }

  /** Noted when it was sent, but a DEALLOCATE ALL before it may since have taken all notes away. */
  noteAgain(): void {
    if (this.#makes && this.#server.statementsDropped !== this.#droppedBefore) this.#noteHeld(true);
  }

  onFailed(): void {
    const dropped = this.#server.statementsDropped !== this.#droppedBefore;
    // Without it all is as before.
    if (dropped) this.#note = undefined;
    else if (this.#before !== undefined) this.#note = this.#before.#note;
    if (dropped && this.#before !== undefined) this.#distrust();
    if (this.#isLast) {
      const noted = this.#server.prepared.peek(this.name);
      this.#server.prepared.delete(this.name);
      if (this.#note !== undefined) this.#noteHeld(this.#note && noted !== false);
    }
    this.#change?.onFailed();
    this.#settle();
  }

  /** Nothing has been sent since that changes the same statement. */
  get #isLast(): boolean {
    return this.#server.prepared.changes.get(this.name) === this;
  }

  #settle(): void {
    // Where something is always on its way, this would be a list without an end.
    this.#before = undefined;
    if (this.#isLast) this.#server.prepared.changes.delete(this.name);
    this.#notes.settle(this);
  }

  #noteHeld(note: boolean): void {
    if (this.#server.prepared.has(this.name)) return;
    if (this.#server.prepared.set(this.name, note) !== undefined) this.#distrust();
  }

  /** What cannot be kept in order: the server is not used again. */
  #distrust(): void {
    this.#server.closeReason ??= "prepared statements are out of order";
  }
}
