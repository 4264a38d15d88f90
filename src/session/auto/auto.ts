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

import type { Transport } from "../../base/transport.ts";
import type { Pace } from "../../pool/pace.ts";
import { ParameterVector, trackedName } from "../../pool/parameters.ts";
import { unheard } from "../../pool/request-outcome.ts";
import type { Server } from "../../pool/server.ts";
import { Frontend, TransactionStatus } from "../../wire/constants.ts";
import type { Output } from "../output.ts";
import type { ClientStatements } from "../statements.ts";
import { completesUnit, isShareable, type Unit } from "../unit.ts";
import type { HeldFor } from "./causes.ts";
import type { AutoClient } from "./client.ts";
import { ClientTexts } from "./client-texts.ts";
import type { AutoDatabase } from "./database.ts";
import { HeldBegin } from "./held-begin.ts";
import { Home } from "./homes.ts";
import { type Knowledge, Mark, type Reset } from "./knowledge.ts";
import { ClientListening } from "./listening/client-listening.ts";
import { passingReservations } from "./passing.ts";
import { mayRunOnStandby } from "./read-only.ts";
import { ParameterReports } from "./reports.ts";
import { Reservation, Touch } from "./reservations.ts";
import { Hold } from "./sequences.ts";
import { lsnQuery, queryBehindResets, takeIdleTimeout } from "./settings.ts";
import { isSettledIn, sendOwn, settleIn } from "./settle-in.ts";
import type { Signals } from "./signals.ts";
import { type SpecialParts, specialParts } from "./special.ts";
import { ClientTimeouts, isLimited } from "./timeouts.ts";
import { UnitRoute } from "./unit-route.ts";

/** So much of a statement's text is kept until it is known whether it has made a reservation. */
const causeBytesMax = 400;

export class AutoSession {
  readonly client: AutoClient;
  readonly #database: AutoDatabase;
  readonly #statements: ClientStatements;
  readonly #output: Output;
  /** The version of the settings with which the session began: RESET returns to them. */
  readonly #initial: object;
  readonly #texts: ClientTexts;
  readonly listening: ClientListening;
  readonly route: UnitRoute;
  readonly #home: Home;
  /** The client keeps a server that it may do without, and has sent nothing since that was decided. */
  keepsLoosely = false;
  /** Exist once a statement was seen that is more than plain. */
  #parts: SpecialParts | undefined;
  /** Exist once the client's settings have limits; and the version that was looked at. */
  #timeouts: ClientTimeouts | undefined;
  #timedVersion: object | undefined;
  #catalogChanged: Knowledge["changesCatalog"];
  #defaultsAltered = false;
  /** Settings that the statements on their way reset. */
  #resets: Reset[] | undefined;
  readonly reports: ParameterReports;
  /** The statement at hand is SHOW pgsluice.lsn. */
  #showsLsn: Knowledge["showsLsn"];
  #namesPrepared = false;
  /** SQL has named prepared statements before, and will again. */
  #hasNamedPrepared = false;
  #listsPrepared = false;
  /** The last statement that was seen is a COPY FROM STDIN: the server answers its Execute although nothing ends the batch. */
  copiesIn = false;
  /** The last statement that was seen may end the transaction that is open. */
  mayEnd = false;
  /** The server that the client has got was sent the client's BEGIN. */
  begins = false;
  /** A BEGIN that no server knows of yet. */
  readonly heldBegin: HeldBegin;
  /**
   * A statement was seen that is more than plain, and the session was not at rest since: there is something to ask at each
   * step. Else none of the parts is asked: what is looked at for each unit has to come into the processor's caches.
   */
  special = false;
  /** The same of what is said of transactions. */
  #begun = false;

  constructor(client: AutoClient, database: AutoDatabase, statements: ClientStatements, output: Output) {
    this.#output = output;
    this.client = client;
    this.reports = new ParameterReports(client.parameters);
    this.route = new UnitRoute(client.names, client.parameters);
    this.#database = database;
    this.#statements = statements;
    this.listening = new ClientListening(client.peer, database.listeners);
    this.#texts = new ClientTexts(client.parameters, database, statements);
    this.#initial = client.parameters.version;
    this.heldBegin = new HeldBegin(statements);
    this.#readLimits();
    this.#home = new Home(client, database);
  }

  get signals(): Signals | undefined {
    return this.#parts?.signals;
  }

  get #holdsNone(): boolean {
    return this.#parts === undefined || this.#parts.holdings.none;
  }

  /** A unit begins; nothing of it was noted. */
  beginUnit(): void {
    this.route.begin(this.status !== TransactionStatus.idle);
    if (!this.special) return;
    this.#home.beginUnit();
    this.#parts?.sequences.begin();
  }

  /** How long the gathered unit takes, if it may run between statements of others; else undefined. */
  shares(unit: Unit): Pace | undefined {
    const free = !this.special || this.#holdsNone;
    return free && this.reads(unit) ? this.route.pace : undefined;
  }

  /** The gathered unit does nothing but read. */
  reads(unit: Unit): boolean {
    return this.route.plain && this.status === TransactionStatus.idle && isShareable(unit);
  }

  /** The gathered unit may run on any node, as a transaction of its own or as the beginning of one that only reads. */
  readsAnywhere(unit: Unit): boolean {
    const { route, heldBegin } = this;
    const idle = this.status === TransactionStatus.idle;
    const opens = !idle && route.opens && heldBegin.repeatable(unit) !== undefined;
    if (!(opens || (route.reads && route.plain)) || !isShareable(unit)) return false;
    if (this.#asksServer || this.listening.listens || !this.#holdsNone) return false;
    return idle || (heldBegin.held && !route.keepsToPrimary && mayRunOnStandby(heldBegin.modes, this.client));
  }

  /** Its pool follows the primary. */
  get follows(): boolean {
    return this.#database.pool.settings.failoverTimeoutMs !== undefined;
  }

  /** Nothing of the session is on the client's server alone. `unanswered`: what it was sent last, and nothing before, is on its way. */
  holdsNothing(unanswered: boolean): boolean {
    return !this.#statements.raw && this.#parts?.holdings.nothingHeld(unanswered) !== false;
  }

  /** The client's server is gone with all that was on its way there, and held nothing for the client. */
  onLost(): void {
    this.#forgetNoted();
    this.reports.forget();
    this.#readLimits();
    // It may have been committed.
    this.route.settle(this.#database, undefined);
    this.#spread();
  }

  /** Whether a server has what the client has, and nothing that others have left. */
  fits(server: Server): boolean {
    return isSettledIn(server, this.client, this.#statements);
  }

  /** A Query of the client's was answered without having run for it. */
  onQueryAnswered(): void {
    this.#statements.dropUnnamedStatement();
  }

  /** Status of the transaction of a client that has no server. */
  get status(): TransactionStatus {
    return this.#begun ? this.heldBegin.status : TransactionStatus.idle;
  }

  /** The server owes one answer to a question of the pooler's own, and nothing else. */
  onlyAsks(server: Server): boolean {
    const asks = this.#parts?.holdings.asking === true || this.listening.leaving;
    return asks && server.replies.length === 1;
  }

  /** For what the client keeps its server, if it has one. */
  heldFor(server: Server | undefined): readonly HeldFor[] {
    const lasting = this.#parts?.holdings.heldFor ?? [];
    const passing = passingReservations(server, this.client.activity, this.heldBegin, this.#texts);
    return passing.length === 0 ? lasting : [...lasting, ...passing];
  }

  /** Something is left on the server that the next client must not find. */
  get leavesTraces(): boolean {
    return this.#parts?.holdings.leavesTraces === true;
  }

  /** What comes next has to wait: for notifications, or for the ledger. */
  holds(server: Server | undefined): boolean {
    return this.listening.holds(server) || (server && this.#parts?.holdings.awaitsPrepared(server)) === true;
  }

  // ---- statements on their way ----

  /** A message of the client, as it comes. `whole`: it is not only the first part. `server`: the one it is sent to, if there is one. */
  note(type: number, buffer: Buffer, start: number, end: number, whole: boolean, server?: Server): void {
    const bySql = this.#statements.namesSql(type, buffer, start, end);
    if (bySql) this.#see(this.#texts.unknown(), type, server);
    this.keepsLoosely = false;
    // What comes later in the batch may name statements in SQL; before it they are made in a better way. Not before what belongs to a COPY.
    if (!completesUnit(type) && server?.replies.betweenUnits === true && this.#mayNamePrepared) {
      this.special = true;
      this.#namesPrepared = true;
      this.#enterRaw(server, this.#output);
    }
    const knowledge = this.#texts.read(type, buffer, start, end, whole);
    if (knowledge !== undefined) this.#see(knowledge, type, server);
    if (!this.special) return;
    this.#texts.forget();
    this.#parts?.executions.note(type, buffer, start, knowledge, server);
  }

  /** What was read from the client. */
  #see(knowledge: Knowledge, type: number, server: Server | undefined): void {
    this.copiesIn = knowledge.copiesIn;
    this.mayEnd = (knowledge.marks & Mark.mayEnd) !== 0;
    this.route.see(knowledge);
    if (knowledge.pace === undefined && server !== undefined) this.#seeExclusive(server);
    if (knowledge.plain) return;
    if (knowledge.transaction !== undefined) {
      this.#begun ||= server === undefined;
      if (this.heldBegin.see(knowledge.transaction, server)) this.#database.passed.transaction++;
    }
    if (knowledge.special) this.#seeSpecial(knowledge, type, server);
  }

  #seeSpecial(knowledge: Knowledge, type: number, server: Server | undefined): void {
    this.special = true;
    const { holdings, sequences, signals } = this.#partsOf();
    let { touches } = knowledge;
    if (knowledge.settingNames?.every((name) => this.#isReported(name)) === true) touches &= ~Touch.settings;
    touches |= knowledge.releases & holdings.lookedFor();
    const alone = type === Frontend.query && server?.replies.status === TransactionStatus.idle;
    holdings.touch(touches, knowledge, alone && server.replies.answered && !this.#begun ? server : undefined);
    holdings.reserve(knowledge.reserves);
    const reserves = knowledge.reserves | (knowledge.asksSequence ? Reservation.sequence : 0);
    if ((touches | reserves) !== 0) {
      holdings.notice(touches, knowledge, reserves, this.#texts.text(causeBytesMax));
    }
    if (knowledge.copies) this.#texts.copy = this.#texts.text(causeBytesMax);
    if (knowledge.begins) this.heldBegin.begin(this.#texts.text(causeBytesMax), server);
    if (this.#catalogChanged !== "all")
      this.#catalogChanged = knowledge.changesCatalog ?? this.#catalogChanged;
    this.#defaultsAltered ||= knowledge.altersDefaults;
    for (const name of knowledge.customNames) this.#database.ledgerQueries.addName(name);
    if (knowledge.resets.length > 0) (this.#resets ??= []).push(...knowledge.resets);
    const concerns = sequences.see(knowledge, this.#texts);
    if (concerns && server !== undefined) this.#claimSequences(server, this.#output);
    this.#showsLsn ??= knowledge.showsLsn;
    if (this.#showsLsn !== undefined && server?.replies.betweenUnits === true)
      this.#enterLsn(server, this.#output);
    if (knowledge.asksPids) this.#home.ask(server);
    signals.due ||= knowledge.signals;
    if (knowledge.dropsPrepared) this.#statements.mayBeDropped(!knowledge.opaque);
    const opaque = knowledge.opaque && this.#statements.preparedBySql();
    const uses = knowledge.namesPrepared || knowledge.listsPrepared || opaque;
    if (uses || (knowledge.discardsAll && type !== Frontend.query)) {
      this.#namesPrepared = true;
      this.#hasNamedPrepared ||= uses;
      this.#listsPrepared ||= knowledge.listsPrepared;
      const runs = server !== undefined && !server.replies.copyIn && !server.replies.skipping;
      if (runs && !this.#texts.parsesTaken) this.#enterRaw(server, this.#output);
    }
  }

  /** As far as what was done before tells, if they are not there already; not while nobody knows what the client's names mean, if that is not needed. */
  get #mayNamePrepared(): boolean {
    if (this.#statements.raw) return false;
    if (this.#statements.preparedBySql()) return true;
    return this.#hasNamedPrepared && !this.#statements.namesPending;
  }

  #seeExclusive(server: Server): void {
    server.notifierPid = this.client.peer.announcedPid;
  }

  /** SQL means the client's own prepared statements. */
  #enterRaw(server: Server, output: Output): void {
    if (!this.#namesPrepared) return;
    this.#statements.enterRaw(server, output, this.#listsPrepared);
    this.#namesPrepared = false;
    this.#listsPrepared = false;
  }

  /** SHOW pgsluice.lsn is answered by the server, which is told before. `within`: before all of the unit, where it stands anywhere. */
  #enterLsn(server: Server, output: Output, within = false): void {
    if (this.#showsLsn === undefined) return;
    const mixed = this.#showsLsn === "among_others" || (within && this.route.writes);
    const query = lsnQuery(mixed ? null : this.route.token);
    this.#showsLsn = undefined;
    sendOwn(server, output, query, unheard);
  }

  #claimSequences(server: Server, output: Output): void {
    this.#parts?.sequences.claim(server, output, this.#database.clock.now());
  }

  #isReported(name: string): boolean {
    const tracked = trackedName(name);
    return tracked !== undefined && this.client.parameters.get(tracked) !== undefined;
  }

  /** The server that knows what the unit asks for, or else the client's home. */
  get preferredServer(): Server | undefined {
    return (this.special ? this.#parts?.sequences.preferredServer : undefined) ?? this.#home.server;
  }

  /** What it asks for one server alone knows: process ids, or values of sequences. */
  get #asksServer(): boolean {
    return this.special && (this.#home.asked || this.#parts?.sequences.asksServer === true);
  }

  /** The same; or it may be a transaction that others find there by its process id, and what is ahead is only a look into the catalogs. */
  get boundToServer(): boolean {
    return this.#asksServer || (this.route.exclusive && this.#home.server?.readsCatalogs === true);
  }

  /** The client is told this process id. */
  announce(pid: number): void {
    this.#home.announce(pid);
  }

  /** A unit that needs no server: its replies. Undefined if it needs one. */
  answer(unit: Unit): Buffer | undefined {
    // What was notified before a transaction or within it comes before the reply to BEGIN or COMMIT.
    if (!this.#begun || !this.heldBegin.sees || this.listening.listens) return undefined;
    const replies = this.heldBegin.answer(unit, this.#database.pool.welcome);
    if (replies !== undefined) this.route.keepHint();
    return replies && this.reports.before(replies);
  }

  /** The unit that waits for a server is cancelled: no server has heard of it, nor has one anything else of the client's to do. */
  onCancelled(): void {
    this.heldBegin.fail();
    this.#forgetNoted();
  }

  /** What was noted since the client's last server was left comes to nothing. */
  #forgetNoted(): void {
    this.signals?.settle();
    this.#parts?.holdings.forget();
    this.#resets = undefined;
    this.#namesPrepared = false;
    this.#listsPrepared = false;
  }

  // ---- the server ----

  /** Makes a server that was just given to the client the client's own, in the write before its statement. Returns whether that sends settings. */
  prepare(server: Server, output: Output): boolean {
    const sends = settleIn(server, output, this.client, this.#database, this.#statements);
    if (this.route.exclusive) server.notifierPid = this.client.peer.announcedPid;
    if (this.special) {
      this.#claimSequences(server, output);
      this.#home.enter(server);
      this.#enterRaw(server, output);
      this.#enterLsn(server, output, true);
    }
    this.begins = this.status !== TransactionStatus.idle;
    if (this.#begun && this.heldBegin.send(server, output)) this.#database.passed.transaction++;
    return sends;
  }

  /**
   * The statement that is being sent resets settings with which the client began, but the server did not: what has to
   * follow it, before the client hears that the server is ready.
   */
  takeResets(server: Server): Buffer | undefined {
    const resets = this.#resets;
    if (resets === undefined) return undefined;
    this.#resets = undefined;
    const initial = ParameterVector.ofVersion(this.#initial);
    return queryBehindResets(resets, initial, this.client.defaults.differenceOn(server), server);
  }

  // ---- replies ----

  /** DISCARD SEQUENCES or DISCARD ALL was carried out. */
  onDiscarded(tag: string): void {
    this.#parts?.sequences.onDiscarded();
    this.#parts?.holdings.onDiscarded(tag);
  }

  /** Everything that was sent to the server is answered. */
  onSettled(server: Server): void {
    if (this.special) this.signals?.settle(server);
  }

  // ---- the end of a transaction ----

  /**
   * Nothing is owed and no transaction is open: whether the client keeps its server, perhaps only until the ledger has
   * answered. `nowMs`: if it is known.
   */
  keeps(server: Server, client: Transport, nowMs?: number): boolean {
    this.route.settle(this.#database, nowMs);
    if (!this.special) {
      this.leave(server, true);
      return false;
    }
    const kept = this.#keeps(server, client);
    // Who reads the catalogs may ask for a server, also this client for its own: so all is decided by now.
    if (kept) this.#spread();
    return kept;
  }

  #keeps(server: Server, client: Transport): boolean {
    const { clock, pool } = this.#database;
    const { holdings, sequences } = this.#partsOf();
    const hold = sequences.hold(server, pool.looseHolders.wants(server), () => clock.now());
    if (hold === Hold.reserved) holdings.reserve(Reservation.sequence);
    else if (holdings.has(Reservation.sequence)) holdings.drop(Reservation.sequence);
    // Who is heard by the pool's listener, or will be, has to be without a server for the next unit.
    const held = hold !== Hold.none && !this.listening.leaving && !this.listening.shared;
    if (holdings.settle(server, client, held)) return true;
    if (held) {
      this.keepsLoosely = hold === Hold.loose && !this.listening.native;
      pool.looseHolders.add(this.client.peer);
      return true;
    }
    pool.looseHolders.remove(this.client.peer);
    this.leave(server, true);
    return false;
  }

  /** There is nothing to ask for at the next step, unless a statement is seen that is more than plain. */
  get #atRest(): boolean {
    const { listens, shared } = this.listening;
    const asks = this.#home.asked || this.signals?.due === true || this.#namesPrepared;
    const says = this.#resets !== undefined || this.#showsLsn !== undefined;
    const uses = this.#parts?.sequences.atRest === false;
    return this.#holdsNone && !listens && !shared && !uses && !asks && !says;
  }

  /** The client has the server no more, be it that it gives it back (`known`: what is there) or that it is gone. */
  leave(server: Server, known = false): void {
    if (this.special || this.#timeouts !== undefined) {
      this.#readLimits();
      if (this.#timeouts?.endsServer === true) takeIdleTimeout(server);
    }
    if (this.special) this.#statements.leaveRaw(server, known);
  }

  /** The client has no server: PostgreSQL's limits on idle sessions are kept here. */
  #readLimits(): void {
    const { client } = this;
    const { version } = client.parameters;
    if (version === this.#timedVersion) return;
    this.#timedVersion = version;
    if (this.#timeouts === undefined && isLimited(client))
      this.#timeouts = new ClientTimeouts(client, this.heldBegin, this.#database.timedClients);
    this.#timeouts?.refresh();
  }

  #partsOf(): SpecialParts {
    this.#parts ??= specialParts(this.client, this.#database, this.#statements, {
      listening: this.listening,
      home: this.#home,
    });
    return this.#parts;
  }

  /** What this client has done may concern others. */
  #spread(): void {
    const catalog = this.#catalogChanged;
    const defaults = this.#defaultsAltered;
    this.#catalogChanged = undefined;
    this.#defaultsAltered = false;
    if (catalog !== undefined) this.#database.catalogChanged(catalog);
    if (defaults) this.#database.defaultsAltered();
  }

  /** The server is free now: somebody may want it who waits for nothing. */
  onReleased(): void {
    if (this.special) {
      this.#spread();
      this.listening.flush();
      this.special = !this.#atRest;
    }
    if (this.#begun) this.#begun = this.heldBegin.sees || this.status !== TransactionStatus.idle;
    this.#database.classification.load();
  }

  /** The client is gone. */
  end(): void {
    this.#database.pool.looseHolders.remove(this.client.peer);
    this.#timeouts?.end();
    this.#parts?.holdings.end();
    this.#home.leave();
    this.signals?.settle();
  }
}
