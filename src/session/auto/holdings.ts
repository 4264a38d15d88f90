/**
 * What one client in auto mode holds on its server, as far as that is known: what its statements may have touched,
 * what the ledger has found there, and the reservations that follow from both.
 *
 *     statement ─▶ touch, reserve ─▶ (transaction ends) settle ─▶ ledger asked ─▶ findings ─▶ reservations
 */
import type { Transport } from "../../base/transport.ts";
import { userOf } from "../../pool/defaults.ts";
import { isAscii, isFollowed, valueless } from "../../pool/parameters.ts";
import type { ForeignNames, Server } from "../../pool/server.ts";
import { askUnseen } from "../../pool/unseen.ts";
import { reservedNotice } from "../replies.ts";
import type { ClientStatements } from "../statements.ts";
import { Causes, type HeldFor } from "./causes.ts";
import type { AutoClient } from "./client.ts";
import type { AutoDatabase } from "./database.ts";
import type { Knowledge } from "./knowledge.ts";
import { type Findings, LedgerReader } from "./ledger.ts";
import type { ClientListening } from "./listening/client-listening.ts";
import { foundIn, namesOf, Reservation, Touch, unresettable } from "./reservations.ts";

/** How often the ledger is asked again before it is given up. */
const ledgerAttemptsMax = 3;

/** Functions that one client may name between two looks of the ledger before nobody knows what they do. */
const calledMax = 1000;

/** What was known of the client's and the server's prepared statements when the ledger was asked. */
interface Asked {
  readonly raw: boolean;
  readonly rawChanges: number;
  readonly foreignNames: ForeignNames | undefined;
  readonly sharedCount: number;
}

/** Refused by a server on which anybody has used a temporary table (localbuf.c check_temp_buffers), which it does not tell. */
const onlyBefore = "temp_buffers";

export class Holdings {
  readonly #client: AutoClient;
  readonly #database: AutoDatabase;
  readonly #statements: ClientStatements;
  /** Parts of the state that may have changed since the ledger looked. */
  #touched = 0;
  /** Parts that the ledger could not read when it looked last: each time it looks, it looks there as well. */
  #unread = 0;
  /** Code has run that may have set parameters of any name. */
  #opaque = false;
  /** A statement has set a parameter whose name cannot be known. */
  #namesHidden = false;
  /** How many errors there had been when a RESET ALL was sent, behind which no such statement was. */
  #errorsBeforeReset: number | undefined;
  /** Functions that statements have named whose bodies nobody has read. */
  #called: Set<string> | undefined;
  #reservations = 0;
  /** Reservations that statements on their way ask for. */
  #reserving = 0;
  /** Reservations whose cause a statement on its way ends, unless it fails; and how many errors there had been before it. */
  #ending = 0;
  #errorsBefore = 0;
  #ledgerFailures = 0;
  /** What the ledger was asked for and has not answered. */
  #asked = 0;
  #notice: Buffer | undefined;
  readonly #listening: ClientListening;
  readonly #causes = new Causes();

  constructor(
    client: AutoClient,
    database: AutoDatabase,
    statements: ClientStatements,
    listening: ClientListening,
  ) {
    this.#listening = listening;
    this.#client = client;
    this.#database = database;
    this.#statements = statements;
  }

  /** Nothing is held, nothing may have been touched, and the ledger owes no answer. */
  get none(): boolean {
    const held = this.#touched | this.#reserving | this.#reservations | this.#asked;
    return held === 0 && !this.#listening.native;
  }

  /** As {@link none}; `unanswered`: not counting what statements on their way touch and ask for, before which nothing was sent. */
  nothingHeld(unanswered: boolean): boolean {
    const sent = unanswered ? 0 : this.#touched | this.#reserving;
    return (sent | this.#reservations | this.#asked) === 0 && !this.#listening.native;
  }

  /** What was on its way has not happened. */
  forget(): void {
    this.#touched = 0;
    this.#reserving = 0;
    this.#ending = 0;
    this.#opaque = false;
    this.#errorsBeforeReset = undefined;
    this.#causes.forget();
  }

  /** The ledger was asked and has not answered. */
  get asking(): boolean {
    return this.#asked !== 0;
  }

  /**
   * The ledger is about to tell which statements are prepared, without anything more being sent: code that nobody saw may have
   * dropped what would be made again, under the client's names, before what comes next.
   */
  awaitsPrepared({ replies }: Server): boolean {
    const { raw } = this.#statements;
    if (raw || !this.#statements.preparedBySql() || !replies.betweenUnits || replies.copyIn) return false;
    const parts = replies.settled ? this.#asked : this.#asked | this.#touched;
    return (parts & Touch.prepared) !== 0;
  }

  /** For what the client keeps its server beyond a transaction. */
  get heldFor(): readonly HeldFor[] {
    return this.#causes.held;
  }

  /** Something is left on the server that the next client must not find. */
  get leavesTraces(): boolean {
    const held = this.#touched | this.#reservations | this.#reserving;
    return held !== 0 || this.#listening.native;
  }

  has(reservation: number): boolean {
    return (this.#reservations & reservation) !== 0;
  }

  // ---- statements on their way ----

  /** A statement of which this is known may touch these parts. `server`: a Query goes there, and begins a transaction of its own. */
  touch(parts: number, knowledge: Knowledge, server?: Server): void {
    const { opaque, hidesNames, calledNames } = knowledge;
    if (hidesNames || calledNames.length > 0) this.#errorsBeforeReset = undefined;
    else if (knowledge.resetsAll && server !== undefined) this.#errorsBeforeReset = server.replies.errorCount;
    this.#touched |= parts;
    this.#opaque ||= opaque;
    this.#namesHidden ||= hidesNames;
    if (!this.#database.catalogsKnown) for (const name of calledNames) (this.#called ??= new Set()).add(name);
    if ((this.#called?.size ?? 0) > calledMax) this.#namesHidden = true;
  }

  reserve(reservations: number): void {
    this.#reserving |= reservations;
    this.#ending &= ~reservations;
  }

  /** A statement is on its way that ends the cause of these, if it succeeds. `errors`: how many the server has told of so far. */
  mayEnd(reservations: number, errors: number): void {
    this.#ending |= reservations & (this.#reservations | this.#reserving);
    this.#errorsBefore = errors;
  }

  /** The statement that touches these parts, and asks for these reservations. */
  notice(touches: number, { toldTouches }: Knowledge, reserves: number, text: string): void {
    this.#causes.notice({ touches, toldTouches, reserves, text });
  }

  /** Parts of the state where there may be something whose end is of interest. */
  lookedFor(): number {
    let parts = this.#touched | this.#asked;
    if (this.#listening.listens) parts |= Touch.channels;
    const held = this.#reservations | this.#reserving;
    for (const [part, reservation] of foundIn) if ((held & reservation) !== 0) parts |= part;
    return parts;
  }

  /** DISCARD SEQUENCES or DISCARD ALL was carried out. */
  onDiscarded(tag: string): void {
    if (tag === "DISCARD ALL") this.#namesHidden = false;
    this.drop(Reservation.sequence);
  }

  /** The reasons for these reservations are gone. */
  drop(reservations: number): void {
    this.#reserving &= ~reservations;
    this.#setReservations(this.#reservations & ~reservations);
  }

  // ---- the end of a transaction ----

  /**
   * Nothing is owed and no transaction is open: whether the server is kept, perhaps only until the ledger has answered.
   * `held`: it is kept for sequences in any case, which is not decided here.
   */
  settle(server: Server, client: Transport, held: boolean): boolean {
    const kept = this.#settle(server, held);
    if (this.#notice !== undefined) client.write(this.#notice);
    this.#notice = undefined;
    return kept;
  }

  #settle(server: Server, held: boolean): boolean {
    // It ends what a statement has set under any name.
    if (this.#errorsBeforeReset === server.replies.errorCount) this.#namesHidden = false;
    this.#errorsBeforeReset = undefined;
    if (this.#ending !== 0) {
      if (server.replies.errorCount === this.#errorsBefore) this.drop(this.#ending);
      this.#ending = 0;
    }
    if (this.#reserving !== 0) {
      const reserving = this.#reserving;
      this.#reserving = 0;
      if ((reserving & unresettable) !== 0) server.closeReason ??= "state that cannot be reset";
      this.#setReservations(this.#reservations | reserving);
    }
    if (this.#touched !== 0) {
      this.#askLedger(server);
      return true;
    }
    const kept = (this.#reservations & ~(Reservation.listen | Reservation.sequence)) !== 0;
    if (kept || held) {
      this.#causes.forget();
      return kept;
    }
    const utf8 = this.#client.parameters.get("client_encoding") === "UTF8";
    const listens = this.#listening.keeps(server, utf8);
    const { reserved } = this.#listening;
    const others = this.#reservations & ~Reservation.listen;
    this.#setReservations(reserved ? others | Reservation.listen : others);
    this.#causes.forget();
    return listens;
  }

  #askLedger(server: Server): void {
    const touches = this.#touched | this.#unread;
    this.#touched = 0;
    if (this.#opaque) server.taintedBy = this.#client.id;
    this.#opaque = false;
    this.#asked = touches;
    this.#causes.asked();
    const reader = new LedgerReader(touches);
    const { raw, rawNames } = this.#statements;
    const { foreignNames, prepared } = server;
    const sent = { raw, rawChanges: rawNames?.changes ?? 0, foreignNames, sharedCount: prepared.size };
    const { pool, ledgerQueries, catalogsKnown } = this.#database;
    if ((touches & Touch.defaults) !== 0) pool.defaults.doubt(server);
    const onAnswered = (failed: boolean): void => {
      this.#asked = 0;
      const findings = failed ? undefined : reader.findings();
      if (findings === undefined) this.#ledgerFailed(server, touches);
      else this.#apply(server, findings, sent);
      pool.defaults.decide(server);
    };
    const query = ledgerQueries.get(touches, userOf(server), catalogsKnown);
    const onLost = (): void => pool.defaults.decide(server);
    askUnseen(server, query, onAnswered, (bytes) => reader.take(bytes), onLost);
  }

  /** It was cancelled in the client's place, or a time limit of the client's was too short for it. */
  #ledgerFailed(server: Server, asked: number): void {
    // Whoever may set up an origin need not be allowed to ask whether there is one: it is held on to.
    const touches = asked & ~Touch.origin;
    if (touches === 0) return;
    this.#unread = touches;
    if (++this.#ledgerFailures < ledgerAttemptsMax) {
      this.#touched |= touches;
      return;
    }
    this.#ledgerFailures = 0;
    server.closeReason ??= "session state could not be read";
    this.#setReservations(this.#reservations | Reservation.opaque_setting);
  }

  /** `sent`: what the server was thought to have when it was asked. */
  #apply(server: Server, findings: Findings, sent: Asked): void {
    this.#ledgerFailures = 0;
    this.#unread = 0;
    let found = findings.reservations;
    const { fingerprint } = findings;
    if (fingerprint !== undefined && !this.#database.pool.defaults.see(fingerprint))
      this.#database.defaultsAltered();
    if (findings.settings !== undefined && !this.#applySettings(server, findings)) {
      found |= Reservation.opaque_setting;
      server.closeReason ??= "settings that cannot be set again";
    }
    if (this.#called !== undefined && findings.settings !== undefined) {
      // They may have been read since the statements came, and were not asked for then.
      const known = this.#database.classification.hidingFunctions;
      for (const name of [...findings.hidingFunctions, ...known])
        this.#namesHidden ||= this.#called.has(name);
      this.#called = undefined;
    }
    if (this.#namesHidden) found |= Reservation.opaque_setting;
    // A server that has run nothing but a read listens to nothing for the client, which is heard elsewhere.
    if (findings.channels !== undefined && !this.#listening.shared) this.#listening.found(findings.channels);
    if (findings.sharedCount !== undefined && findings.sharedCount !== sent.sharedCount)
      this.#onSharedDropped(server, findings.sharedCount);
    if (findings.prepared !== undefined) {
      const preparesOne = (text: string): boolean => this.#database.preparesOne(text);
      const { portable, whole } = this.#statements.found(server, findings.prepared, sent, preparesOne);
      if (!portable) found |= Reservation.prepare;
      // More was sent before the answer: what SQL has dropped is still to be found.
      if (sent.raw && !whole) this.#touched |= Touch.prepared;
    }
    if ((found & unresettable) !== 0) server.closeReason ??= "state that cannot be reset";
    let kept = this.#reservations;
    for (const [part, reservation] of foundIn) if ((findings.touches & part) !== 0) kept &= ~reservation;
    this.#setReservations(kept | found);
    this.#causes.answered();
  }

  /** Code that nobody has seen has dropped shared statements: `left` are there. */
  #onSharedDropped(server: Server, left: number): void {
    if (left > 0) {
      server.closeReason ??= "prepared statements were dropped by their names on the server";
      return;
    }
    // By DEALLOCATE ALL, as it seems, and that was about all that the client has.
    server.forgetStatements();
    if (!this.#statements.raw) this.#statements.clear();
  }

  /** Returns false if the settings cannot be made on another server. */
  #applySettings(server: Server, { settings, privileged }: Findings): boolean {
    const { parameters, defaults } = this.#client;
    const reported = server.connection.parameters;
    const others = new Map<string, string>();
    const own = new Map<string, string>();
    let portable = !privileged || reported.get("is_superuser") === "on";
    for (const [name, found] of settings ?? []) {
      if (isFollowed(name, reported)) continue;
      const begun = server.defaults?.undeclared.get(name) ?? defaults.value(name);
      // An empty text has been set in place of what the session began with.
      const value = found === valueless && begun !== undefined ? "" : found;
      if (server.defaults?.undeclared.get(name) !== value) others.set(name, value);
      if (!defaults.isDefault(name, value, server)) {
        own.set(name, value);
        if (name === onlyBefore) portable = false;
      }
      // Read in the client's encoding; the words of settings are ASCII nearly always.
      if (!isAscii(value) && parameters.get("client_encoding") !== "UTF8") portable = false;
    }
    const user = server.parameters.otherUser;
    if (user !== undefined) for (const all of [others, own]) all.set("session_authorization", user);
    parameters.replaceUntracked(own, reported);
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
    for (const name of namesOf(before & ~reservations)) this.#causes.end(name);
    const nowMs = this.#database.clock.now();
    const added = namesOf(reservations & ~before).map((name) => this.#causes.begin(name, nowMs));
    if (added.length > 0 && this.#database.wantsNotice()) this.#notice = reservedNotice(added);
  }

  /** The client is gone, or its server. */
  end(): void {
    this.#listening.end();
    this.#setReservations(0);
    this.#touched = 0;
    this.#unread = 0;
    this.#reserving = 0;
    this.#ending = 0;
  }
}
