/**
 * Auto mode, for one client: it shares servers as in transaction mode, and yet its session is its own.
 *
 * Each statement is *noted* as it passes: its class says which parts of the session it may touch. When the
 * transaction has ended and something was touched, the ledger reads from the server what the session really holds;
 * so what was rolled back, or done by code that nobody sees, is counted right. Settings found there become the
 * client's and follow it (pool/parameters.ts). Whatever cannot follow reserves the server until it is gone.
 *
 *     note ─▶ (lease ─▶ prepare ─▶) send ─▶ replies ─▶ settled ─▶ touched? ledger ─▶ reserved? keep : give back
 *
 * Nothing is decided by what the text seems to do. In doubt everything is touched.
 */
import type { Pace } from "../../pool/pace.ts";
import type { ParameterVector } from "../../pool/parameters.ts";
import { setConfig, settingsQueries, trackedName, ParameterVector as Vector } from "../../pool/parameters.ts";
import { Handling, Request, type RequestOutcome } from "../../pool/replies.ts";
import type { Server } from "../../pool/server.ts";
import type { LexicalSettings } from "../../sql/index.ts";
import { Frontend, headerBytes, TransactionStatus } from "../../wire/constants.ts";
import { encodeParameterStatus } from "../../wire/encode-backend.ts";
import { encodeQuery } from "../../wire/encode-frontend.ts";
import type { Output } from "../output.ts";
import { reservedNotice } from "../replies.ts";
import type { ClientStatements } from "../statements.ts";
import { isShareable, type Unit } from "../unit.ts";
import type { AutoDatabase } from "./database.ts";
import { HeldBegin } from "./held-begin.ts";
import { type Knowledge, type Reset, unknownStatement } from "./knowledge.ts";
import { type Findings, LedgerReader } from "./ledger.ts";
import { foundIn, namesOf, Reservation, Touch, unresettable } from "./reservations.ts";

/** How often the ledger is asked again before it is given up. */
const ledgerAttemptsMax = 3;

const resetAll = encodeQuery("RESET ALL");
const discardSequences = encodeQuery("DISCARD SEQUENCES");

/** In these a byte below 128 may be part of another character (mbutils.c, PG_ENCODING_BE_LAST and beyond). */
const unsafeEncodings: ReadonlySet<string> = new Set(
  "SJIS BIG5 GBK UHC GB18030 JOHAB SHIFT_JIS_2004".split(" "),
);

/** A query of our own whose failure changes nothing. */
const unheard: RequestOutcome = {
  errorReply: undefined,
  onDone: () => undefined,
  onFailed: () => undefined,
  onError: () => undefined,
};

/** What the client is told besides replies. */
export interface AutoClient {
  readonly id: number;
  /** What it believes of the settings. */
  readonly parameters: ParameterVector;
}

export class AutoSession {
  readonly #client: AutoClient;
  readonly #database: AutoDatabase;
  readonly #statements: ClientStatements;
  /** The settings with which the session began: RESET returns to them. */
  readonly #initial: ParameterVector;
  /** Parts of the state that may have changed since the ledger looked. */
  #touched = 0;
  /** Code has run that may have set parameters of any name. */
  #opaque = false;
  #reservations = 0;
  /** Reservations that statements on their way ask for. */
  #reserving = 0;
  /** Of the unit at hand: its slowest statement, and whether something in it needs a server for itself. */
  #pace: Pace | undefined;
  #exclusive = false;
  #usesSequence = false;
  #asksSequence = false;
  #catalogChanged = false;
  #defaultsAltered = false;
  /** Settings that the statements on their way reset. */
  #resets: Reset[] | undefined;
  /** Reports of parameters that are not tracked, for the client. */
  #reports: Buffer[] | undefined;
  #ledgerFailures = 0;
  /** What the ledger was asked for and has not answered. */
  #asked = 0;
  #notice: Buffer | undefined;
  /** A BEGIN that no server knows of yet. */
  readonly #begin: HeldBegin;

  constructor(client: AutoClient, database: AutoDatabase, statements: ClientStatements) {
    this.#client = client;
    this.#database = database;
    this.#statements = statements;
    this.#initial = Vector.copyOf(client.parameters);
    this.#begin = new HeldBegin(statements);
  }

  /** A unit begins; nothing of it was noted. */
  beginUnit(): void {
    this.#pace = undefined;
    this.#exclusive = false;
  }

  /** How long the gathered unit takes, if it may run between statements of others; else undefined. */
  shares(unit: Unit): Pace | undefined {
    const pace = this.#pace;
    if (this.#exclusive || pace === undefined || this.#begin.status !== TransactionStatus.idle)
      return undefined;
    if ((this.#touched | this.#reserving | this.#reservations | this.#asked) !== 0) return undefined;
    return isShareable(unit) ? pace : undefined;
  }

  /** Whether a server has what the client has, and nothing that others have left. */
  fits(server: Server): boolean {
    const { taintedBy, parameters } = server;
    if (taintedBy !== undefined && taintedBy !== this.#client.id) return false;
    return parameters.tracked.equals(this.#client.parameters);
  }

  /** Status of the transaction of a client that has no server. */
  get status(): TransactionStatus {
    return this.#begin.status;
  }

  /** The server owes the answer of the ledger, and nothing else. */
  onlyAsks(server: Server): boolean {
    return this.#asked !== 0 && server.replies.length === 1;
  }

  /** Names of the reasons for which the client keeps its server beyond a transaction. */
  get reservations(): readonly string[] {
    return namesOf(this.#reservations);
  }

  /** Something is left on the server that the next client must not find. */
  get leavesTraces(): boolean {
    return this.#touched !== 0 || this.#reservations !== 0 || this.#reserving !== 0;
  }

  // ---- statements on their way ----

  /** A message of the client, as it comes. `whole`: it is not only the first part. `server`: the one it is sent to, if there is one. */
  note(type: number, buffer: Buffer, start: number, end: number, whole: boolean, server?: Server): void {
    switch (type) {
      case Frontend.query:
        this.#see(
          whole
            ? this.#database.ofText(buffer, start + headerBytes, end - 1, this.#lexical())
            : unknownStatement,
          server,
        );
        break;
      case Frontend.parse: {
        const text = buffer.indexOf(0, start + headerBytes) + 1;
        const textEnd = buffer.indexOf(0, text);
        const complete = text > 0 && textEnd >= text && textEnd < end;
        this.#see(
          complete ? this.#database.ofText(buffer, text, textEnd, this.#lexical()) : unknownStatement,
          server,
        );
        break;
      }
      case Frontend.bind:
        this.#seeBound(buffer, start, end, server);
        break;
      case Frontend.functionCall:
        this.#see(unknownStatement, server);
        break;
      default:
    }
  }

  /** The statement that a Bind names. One that is being made in the same batch was seen at its Parse. */
  #seeBound(buffer: Buffer, start: number, end: number, server: Server | undefined): void {
    const name = buffer.indexOf(0, start + headerBytes) + 1;
    const nameEnd = buffer.indexOf(0, name);
    if (name <= 0 || nameEnd < 0 || nameEnd >= end) return;
    if (name === nameEnd) {
      this.#see(this.#unnamedKnowledge(), server);
      return;
    }
    const statement = this.#statements.find(buffer.toString("latin1", name, nameEnd));
    // A name that is not ours may be one of SQL's PREPARE.
    if (statement !== undefined) this.#see(this.#database.ofStatement(statement, this.#lexical()), server);
    else if ((this.#reservations & Reservation.prepare) !== 0) this.#see(unknownStatement, server);
  }

  /** What the client's settings make of its texts, where they are not as usual. */
  #lexical(): LexicalSettings | undefined {
    const { parameters } = this.#client;
    const conformingStrings = parameters.get("standard_conforming_strings") !== "off";
    const asciiSafe = !unsafeEncodings.has(parameters.get("client_encoding") ?? "");
    return conformingStrings && asciiSafe ? undefined : { conformingStrings, asciiSafe };
  }

  #unnamedKnowledge(): Knowledge {
    const { unnamed } = this.#statements;
    if (unnamed === undefined) return unknownStatement;
    const text = Buffer.from(unnamed, "latin1");
    return this.#database.ofText(text, 0, text.indexOf(0), this.#lexical());
  }

  #see(knowledge: Knowledge, server: Server | undefined): void {
    if (knowledge.pace === undefined) this.#exclusive = true;
    else this.#pace = slower(this.#pace, knowledge.pace);
    if (knowledge.plain) return;
    if (server === undefined && knowledge.transaction !== undefined) this.#begin.see(knowledge.transaction);
    let { touches } = knowledge;
    if (knowledge.settingNames?.every((name) => this.#isReported(name)) === true) touches &= ~Touch.settings;
    touches |= knowledge.releases & this.#lookedFor();
    this.#touched |= touches;
    this.#reserving |= knowledge.reserves;
    this.#opaque ||= knowledge.opaque;
    this.#catalogChanged ||= knowledge.changesCatalog;
    this.#defaultsAltered ||= knowledge.altersDefaults;
    for (const name of knowledge.customNames) this.#database.ledgerQueries.addName(name);
    if (knowledge.resets.length > 0) (this.#resets ??= []).push(...knowledge.resets);
    if (knowledge.usesSequence || knowledge.asksSequence) this.#seeSequence(knowledge, server);
  }

  /** Parts of the state where there may be something whose end is of interest. */
  #lookedFor(): number {
    let parts = this.#touched | this.#asked;
    for (const [part, reservation] of foundIn) if ((this.#reservations & reservation) !== 0) parts |= part;
    return parts;
  }

  #seeSequence(knowledge: Knowledge, server: Server | undefined): void {
    this.#usesSequence ||= knowledge.usesSequence;
    if (knowledge.asksSequence) {
      this.#asksSequence = true;
      this.#database.asksSequences = true;
    }
    if (server !== undefined) this.#claimSequences(server);
  }

  #claimSequences(server: Server): void {
    if (!this.#usesSequence && !this.#asksSequence) return;
    server.sequencesOf = this.#client.id;
    // Who asks will ask again, and where somebody asks, others will.
    if (this.#asksSequence || this.#database.asksSequences) this.#reserving |= Reservation.sequence;
    this.#usesSequence = false;
    this.#asksSequence = false;
  }

  #isReported(name: string): boolean {
    const tracked = trackedName(name);
    return tracked !== undefined && this.#client.parameters.get(tracked) !== undefined;
  }

  /** A unit that needs no server: its replies. Undefined if it needs one. */
  answer(unit: Unit): Buffer | undefined {
    const standby = this.#database.pool.welcome?.get("in_hot_standby") === "on";
    return this.#begin.answer(unit, standby);
  }

  /** The unit that waits for a server is cancelled. */
  onCancelled(): void {
    this.#begin.fail();
  }

  // ---- the server ----

  /** Makes a server that was just given to the client the client's own, in the write before its statement. Returns whether that sends settings. */
  prepare(server: Server, output: Output): boolean {
    const { id, parameters } = this.#client;
    const { tracked } = server.parameters;
    let from: ParameterVector = tracked;
    let sends = false;
    if (server.taintedBy !== undefined && server.taintedBy !== id) {
      this.#send(server, output, resetAll);
      from = afterResetAll(server);
      server.taintedBy = undefined;
      sends = true;
    }
    if (from !== tracked || !tracked.equals(parameters)) {
      for (const query of settingsQueries(from, parameters)) {
        this.#send(server, output, query);
        sends = true;
      }
      tracked.replaceUntracked(untrackedOf(parameters, server), server.connection.parameters);
    }
    // What another client's nextval() has left must look as if it had never been.
    const foreign = server.sequencesOf !== undefined && server.sequencesOf !== id;
    if (foreign && (this.#asksSequence || this.#database.asksSequences)) {
      this.#send(server, output, discardSequences);
      server.sequencesOf = undefined;
    }
    this.#claimSequences(server);
    this.#begin.send(server, output);
    return sends;
  }

  #send(server: Server, output: Output, query: Buffer): void {
    server.replies.push(Request.query, Handling.swallow);
    server.unnamed = undefined;
    output.append(query, 0, query.length, server.transport);
  }

  /**
   * The statement that is being sent resets settings with which the client began, but the server did not: what has to
   * follow it, before the client hears that the server is ready.
   */
  takeResets(server: Server): Buffer | undefined {
    const resets = this.#resets;
    if (resets === undefined) return undefined;
    this.#resets = undefined;
    const calls: string[] = [];
    for (const [name, value] of this.#initial.entries()) {
      if (server.connection.parameters.get(name) === value) continue;
      const reset = resets.find((one) => one.name === undefined || one.name === name.toLowerCase());
      if (reset !== undefined) calls.push(setConfig(name, value, reset.local));
    }
    return calls.length === 0 ? undefined : encodeQuery(`SELECT ${calls.join(", ")}`);
  }

  /** Follows a Query or Sync whose ReadyForQuery is to be that of `query`. */
  follow(server: Server, output: Output, query: Buffer): void {
    server.replies.push(Request.query, Handling.swallow, unheard, true);
    server.unnamed = undefined;
    output.append(query, 0, query.length, server.transport);
  }

  // ---- replies ----

  onParameter(name: string, value: string): void {
    if (trackedName(name) === undefined) (this.#reports ??= []).push(encodeParameterStatus(name, value));
  }

  /** What the client has to be told of its settings before it hears that the server is ready. */
  reportsDue(server: Server): Buffer | undefined {
    const reports = this.#reports ?? [];
    this.#reports = undefined;
    const { parameters } = this.#client;
    for (const [name, value] of server.parameters.tracked.entries()) {
      if (!server.connection.parameters.has(name) || parameters.get(name) === value) continue;
      parameters.set(name, value);
      reports.push(encodeParameterStatus(name, value));
    }
    return reports.length === 0 ? undefined : Buffer.concat(reports);
  }

  onDiscarded(): void {
    this.#setReservations(this.#reservations & ~Reservation.sequence);
  }

  // ---- the end of a transaction ----

  /** Nothing is owed and no transaction is open: whether the client keeps its server, perhaps only until the ledger has answered. */
  keeps(server: Server): boolean {
    if (this.#touched === 0 && this.#reserving === 0 && !this.#catalogChanged)
      return this.#reservations !== 0;
    if (this.#catalogChanged) {
      this.#catalogChanged = false;
      this.#database.classification.refresh();
    }
    if (this.#defaultsAltered) {
      this.#defaultsAltered = false;
      this.#database.defaultsAltered();
    }
    if (this.#reserving !== 0) {
      const reserving = this.#reserving;
      this.#reserving = 0;
      if ((reserving & unresettable) !== 0) server.closeReason ??= "state that cannot be reset";
      this.#setReservations(this.#reservations | reserving);
    }
    if (this.#touched === 0) return this.#reservations !== 0;
    this.#askLedger(server);
    return true;
  }

  #askLedger(server: Server): void {
    const touches = this.#touched;
    this.#touched = 0;
    if (this.#opaque) server.taintedBy = this.#client.id;
    this.#opaque = false;
    this.#asked = touches;
    const reader = new LedgerReader(touches);
    let failed = false;
    server.replies.push(Request.query, Handling.swallow, {
      errorReply: undefined,
      onRow: (bytes) => reader.take(bytes),
      onError: () => {
        failed = true;
      },
      onDone: () => {
        this.#asked = 0;
        const findings = failed ? undefined : reader.findings();
        if (findings === undefined) this.#ledgerFailed(server, touches);
        else this.#apply(server, findings);
      },
      onFailed: () => undefined,
    });
    server.unnamed = undefined;
    server.transport.write(this.#database.ledgerQueries.get(touches));
  }

  /** It was cancelled in the client's place, or a time limit of the client's was too short for it. */
  #ledgerFailed(server: Server, touches: number): void {
    if (++this.#ledgerFailures < ledgerAttemptsMax) {
      this.#touched |= touches;
      return;
    }
    this.#ledgerFailures = 0;
    server.closeReason ??= "session state could not be read";
    this.#setReservations(this.#reservations | Reservation.opaque_setting);
  }

  #apply(server: Server, findings: Findings): void {
    this.#ledgerFailures = 0;
    let found = findings.reservations;
    if (findings.settings !== undefined && !this.#applySettings(server, findings)) {
      found |= Reservation.opaque_setting;
      server.closeReason ??= "settings that cannot be set again";
    }
    if (findings.prepared !== undefined && findings.prepared.size > 0) found |= Reservation.prepare;
    let kept = this.#reservations;
    for (const [part, reservation] of foundIn) if ((findings.touches & part) !== 0) kept &= ~reservation;
    this.#setReservations(kept | found);
  }

  /** Returns false if the settings cannot be made on another server. */
  #applySettings(server: Server, { settings, privileged }: Findings): boolean {
    const { parameters } = this.#client;
    const reported = server.connection.parameters;
    const others = new Map<string, string>();
    let portable = !privileged || reported.get("is_superuser") === "on";
    for (const [name, value] of settings ?? []) {
      if (reported.has(name)) continue;
      others.set(name, value);
      // Read in the client's encoding; the words of settings are ASCII nearly always.
      if (!isAscii(value) && parameters.get("client_encoding") !== "UTF8") portable = false;
    }
    const user = server.parameters.otherUser;
    if (user !== undefined) others.set("session_authorization", user);
    parameters.replaceUntracked(others, reported);
    server.parameters.tracked.replaceUntracked(others, reported);
    parameters.shareBy(this.#database.pool.vectors);
    server.parameters.tracked.shareBy(this.#database.pool.vectors);
    return portable;
  }

  #setReservations(reservations: number): void {
    const before = this.#reservations;
    if (before === reservations) return;
    this.#reservations = reservations;
    this.#database.count(before, reservations);
    const added = reservations & ~before;
    if (added !== 0 && this.#database.wantsNotice()) this.#notice = reservedNotice(namesOf(added));
  }

  /** What the client is told now that all is answered. */
  takeNotice(): Buffer | undefined {
    const notice = this.#notice;
    this.#notice = undefined;
    return notice;
  }

  /** The server is free now: somebody may want it who waits for nothing. */
  onReleased(): void {
    this.#database.classification.load();
  }

  /** The client is gone, or its server. */
  end(): void {
    this.#setReservations(0);
    this.#touched = 0;
    this.#reserving = 0;
  }
}

function slower(one: Pace | undefined, other: Pace): Pace {
  return one === undefined || other.fastMs > one.fastMs ? other : one;
}

/** What a server has after RESET ALL, which leaves alone as whom it acts. */
function afterResetAll(server: Server): ParameterVector {
  const { tracked } = server.parameters;
  const vector = Vector.of(server.connection.parameters);
  const identity = new Map<string, string>();
  for (const name of ["session_authorization", "role"]) {
    const value = tracked.get(name);
    if (value !== undefined) identity.set(name, value);
  }
  vector.replaceUntracked(identity, server.connection.parameters);
  return vector;
}

function untrackedOf(parameters: ParameterVector, server: Server): Map<string, string> {
  const others = new Map<string, string>();
  for (const [name, value] of parameters.entries()) {
    if (!server.connection.parameters.has(name)) others.set(name, value);
  }
  return others;
}

function isAscii(text: string): boolean {
  return Buffer.byteLength(text) === text.length;
}
