/**
 * One client's prepared statements while its servers change: its names for statements that all clients share, and the text of its unnamed one.
 *
 * Before a Bind or Describe reaches a server that lacks the statement, the Parse that makes it is sent first, in the same write, and
 * its reply is swallowed. A Parse for a statement that the server has already (outside of a transaction, which may have failed) and
 * every Close of a statement is answered here. A change of names is pending until its reply is in, and is dropped if the server
 * refused the message or skipped it after an error: so client, pooler and server never disagree about which names exist. Behind a
 * pending change in the same batch nothing runs unless it succeeds; but a message of a later batch has to wait until it is known
 * what its name means.
 */
import {
  parseMessage,
  type SharedStatement,
  type StatementRegistry,
  statementNamePrefix,
  withName,
} from "../pool/prepared.ts";
import { Handling, Request } from "../pool/replies.ts";
import type { RequestOutcome } from "../pool/request-outcome.ts";
import { type ForeignNames, type Server, unnamedUnknown } from "../pool/server.ts";
import { Frontend, headerBytes } from "../wire/constants.ts";
import type { Framer } from "../wire/framer.ts";
import type { FoundStatements } from "./auto/ledger.ts";
import { ClientNames } from "./client-names.ts";
import { type AskedStatements, takeFound } from "./found-statements.ts";
import { MadeStatements } from "./made-statements.ts";
import type { Output } from "./output.ts";
import { RawNames } from "./raw-names.ts";
import type { SqlStatements } from "./sql-statements.ts";
import {
  appendWhole,
  endOfName,
  inNamesOfClient,
  mayDropStatements,
  nameAt,
  nameIn,
  nameOf,
  nameStartOf,
  namesInBody,
  namesInSql,
  namesStatement,
  saysPlanIsStale,
  spelledAt,
  withQuotedName,
} from "./statement-messages.ts";
import { DroppingQuery, NameChange, type NameNotes, nameTaken } from "./statement-outcomes.ts";
import type { Unit } from "./unit.ts";
import { UnnamedStatement } from "./unnamed-statement.ts";

/** What is sent in the batch of this number, and not answered yet. */
type Uncertain = (RequestOutcome & { readonly batch: number }) | undefined;

export class ClientStatements implements NameNotes {
  readonly #registry: StatementRegistry;
  readonly #names: ClientNames;
  /** What servers have of the shared statements. */
  readonly made: MadeStatements;
  readonly #unnamed: UnnamedStatement = new UnnamedStatement(this);
  /** Batches that the client has ended, by Sync or by a Query or FunctionCall of its own. */
  #batch = 0;
  /** A Query that is not answered yet and may drop all statements. */
  #dropping: RequestOutcome | undefined;
  /** What a message waits for. */
  #awaited: RequestOutcome | undefined;
  readonly #client: { advanceSoon(): void };
  #ended = false;
  /** On the server that the client has. These two exist once SQL has had to do with prepared statements. */
  rawNames: RawNames | undefined;
  #sql: SqlStatements | undefined;
  /** The name that was used last, as it was spelled, for who has several for one statement. */
  #lastUsed = "";
  /** What servers call that statement. */
  #lastUsedName = "";

  /** `client` is told when that is known for which a message had to wait; while a reply is being read. */
  constructor(registry: StatementRegistry, client: { advanceSoon(): void }) {
    this.#registry = registry;
    this.#names = new ClientNames(registry);
    this.made = new MadeStatements(registry.statistics, this);
    this.#client = client;
  }

  /** Statements this client has named, by the replies that are in. */
  get size(): number {
    return this.#names.size;
  }

  /** The client sent a simple Query, which drops the unnamed statement (docs 54.2.3) unless it is skipped. */
  onQuery(server: Server, buffer: Buffer, start: number, end: number): RequestOutcome | undefined {
    const drop = this.#unnamed.query(server, this.#batch);
    server.unnamed = unnamedUnknown;
    this.onBatchEnd();
    if (this.#names.none || !mayDropStatements(buffer, start, end)) return drop;
    this.#dropping = new DroppingQuery(drop, this);
    return this.#dropping;
  }

  /** The client ended a batch: Sync, or a FunctionCall. */
  onBatchEnd(): void {
    this.#batch++;
    if (this.rawNames !== undefined) this.rawNames.ran = true;
    this.made.executed = false;
  }

  /**
   * Whether a message has to wait, because it is not known yet what its name means, or whether the server has the statement: the last
   * change of that was sent in an earlier batch. Throws PeerError 08P01 if a name has no end.
   */
  mustWait(message: Framer): boolean {
    const { uncertain } = this.#unnamed;
    const certain = !this.namesPending && !this.made.pending && this.#dropping === undefined;
    if (certain && uncertain === undefined) return false;
    this.#awaited = this.#certaintyFor(message, uncertain);
    return this.#awaited !== undefined;
  }

  #certaintyFor(message: Framer, uncertain: Uncertain): RequestOutcome | undefined {
    const { type, buffer, start, end } = message;
    const names = this.namesPending && namesInSql(type, buffer, start, end);
    const bySql = names ? this.#uncertainName() : undefined;
    if (bySql !== undefined) return bySql;
    const nameStart = nameStartOf(type, buffer, start, end);
    if (nameStart === undefined) return undefined;
    const nameEnd = endOfName(buffer, nameStart, end);
    if (nameEnd === nameStart) {
      const asks = type === Frontend.bind || type === Frontend.describe;
      return (asks ? this.#earlier(uncertain) : undefined) ?? this.#byBound(type, this.unnamed);
    }
    const name = nameAt(buffer, nameStart, nameEnd);
    const existing = this.find(name);
    const parses = type === Frontend.parse;
    const statement =
      existing ?? (parses ? this.#registry.find(buffer.subarray(nameEnd + 1, end)) : undefined);
    const sent = this.made.pendingChange(statement);
    // What says that a name is taken may be skipped as well.
    const taken =
      parses && this.#has(name, existing) ? this.made.pendingChange(this.#registry.taken) : undefined;
    const own = this.#earlier(this.#names.changeOf(name)) ?? this.#earlier(this.rawNames?.entry);
    const made = this.#earlier(sent) ?? this.#earlier(taken);
    return own ?? made ?? this.#dropping ?? this.#byBound(type, statement?.key);
  }

  /** What a Bind of SQL waits for that names statements, or drops them. */
  #byBound(type: number, body: string | undefined): RequestOutcome | undefined {
    const names = type === Frontend.bind && this.namesPending && body !== undefined && namesInBody(body);
    return names ? this.#uncertainName() : undefined;
  }

  /** What tells what one of the client's names means, or whether they are on the server. */
  #uncertainName(): RequestOutcome | undefined {
    for (const change of this.#names.changes) if (change.batch !== this.#batch) return change;
    return this.#earlier(this.rawNames?.entry);
  }

  #earlier(outcome: Uncertain): RequestOutcome | undefined {
    return outcome !== undefined && outcome.batch !== this.#batch ? outcome : undefined;
  }

  /** A reply is in that something may have waited for. */
  answered(outcome: RequestOutcome): void {
    if (this.#dropping === outcome) this.#dropping = undefined;
    if (this.#awaited !== outcome) return;
    this.#awaited = undefined;
    this.#client.advanceSoon();
  }

  /** DEALLOCATE ALL or DISCARD ALL was carried out. What is pending comes after it. They do not drop the unnamed one (prepare.c). */
  clear(): void {
    this.#names.clear();
    this.#sql = undefined;
    this.rawNames?.clear();
  }

  /** The client is gone: replies that are still to come change nothing any more. */
  end(): void {
    this.#ended = true;
    this.clear();
  }

  /** A change of names was carried out. */
  commit(change: NameChange): void {
    this.#names.answer(change);
    this.answered(change);
    const { name, statement } = change;
    this.rawNames?.change(name);
    this.#names.set(name, this.#ended ? undefined : statement);
    if (this.#ended && statement !== undefined) this.#registry.release(statement);
  }

  /** A change of names was refused, or skipped. */
  drop(change: NameChange): void {
    this.#names.answer(change);
    this.answered(change);
    if (change.statement !== undefined) this.#registry.release(change.statement);
  }

  /** The server's error or notice for the client, in the client's names. */
  reword(server: Server, message: Buffer): Buffer {
    const why = this.rawNames?.whyMissing(message);
    if (why !== undefined) return why;
    if (saysPlanIsStale(message)) {
      // The client is told; who prepares the same text next is not.
      const statement = this.find(nameOf(this.#lastUsed));
      if (statement !== undefined && server.prepared.has(statement.name))
        server.prepared.set(statement.name, false);
    }
    return inNamesOfClient(message, (serverName) => {
      if (this.find(nameOf(this.#lastUsed))?.name === serverName) return this.#lastUsed;
      // It may just have been found that it is gone.
      return this.#names.of(serverName) ?? (serverName === this.#lastUsedName ? this.#lastUsed : undefined);
    });
  }

  /** The statement that `name` means to a message that is sent now. */
  find(name: string): SharedStatement | undefined {
    return this.#names.find(name);
  }

  /** Whether a message that is sent now finds something of this name, be it prepared in SQL. */
  #has(name: string, existing: SharedStatement | undefined = this.find(name)): boolean {
    if (existing !== undefined) return true;
    return this.#sql?.has(name) === true && this.#names.changeOf(name) === undefined;
  }

  /** As {@link find}, of the name in `buffer[start, end)`. */
  findAt(buffer: Buffer, start: number, end: number): SharedStatement | undefined {
    return this.#names.findAt(buffer, start, end);
  }

  /** The client's Parse with this body is answered here, since no server need know of it. Returns false if it must. */
  adopt(name: string, body: Buffer): boolean {
    if (this.#sql?.has(name) === true) return false;
    if (name === "") {
      this.#unnamed.set(body.toString("latin1"));
      return true;
    }
    if (this.find(name) !== undefined) return false;
    this.#registry.statistics.clientParseCount++;
    this.#names.set(name, this.#registry.acquire(body));
    this.rawNames?.change();
    return true;
  }

  /** What was sent last is for nobody any more, although it is not answered; and it has changed no names. */
  leaveUnit(): void {
    this.made.leave();
    this.#unnamed.leave();
    this.#dropping = undefined;
  }

  /** The client's Query is answered here: it drops the unnamed statement. */
  dropUnnamedStatement(): void {
    this.#unnamed.set(undefined);
  }

  /** SQL is about to name prepared statements: the server has the client's names, until it is given back. `alone`: and nobody else's. */
  enterRaw(server: Server, output: Output, alone: boolean): void {
    const bodies = this.#names.bodies();
    const names = new Set([...bodies.map(([name]) => name), ...(this.#sql?.names ?? [])]);
    const own = { bodies, queries: this.#sql?.queries() ?? [], names, changing: this.#names.changing };
    this.#raw().enter(server, output, own, alone, this.#batch);
  }

  /** Whether nobody knows yet what the client's names mean, or whether the server has them. */
  get namesPending(): boolean {
    return this.#names.changing || this.rawNames?.entry !== undefined;
  }

  /** The server it has, has its statements under its own names. */
  get raw(): boolean {
    return this.rawNames?.active === true;
  }

  /** SQL that is seen may drop some of the client's statements; `only`: and does nothing else with them. */
  mayBeDropped(only: boolean): void {
    this.#raw().mayBeDropped = true;
    this.#raw().drops = only;
  }

  #raw(): RawNames {
    this.rawNames ??= new RawNames(this, this.made);
    return this.rawNames;
  }

  /** SQL has prepared something. */
  preparedBySql(): boolean {
    return this.#sql !== undefined;
  }

  /** Whether a message names something that SQL has prepared. */
  namesSql(type: number, buffer: Buffer, start: number, end: number): boolean {
    if (this.#sql === undefined) return false;
    const name = nameIn(type, buffer, start, end);
    return name !== undefined && this.#sql.has(name);
  }

  /** Whether the names on a server are this client's, as they are now. */
  left(names: ForeignNames): boolean {
    return this.rawNames?.left(names) === true;
  }

  /** The client gives its server back. `known`: the ledger has answered, and it is certain which names are there. */
  leaveRaw(server: Server, known: boolean): void {
    if (this.rawNames === undefined) return;
    const names = this.raw ? new Set([...this.#names.known.keys(), ...(this.#sql?.names ?? [])]) : undefined;
    this.rawNames.leave(server, known ? names : undefined);
  }

  /**
   * What the server had that is not shared, when all was as it is told here. `portable`: all of it can be made on
   * another server; `whole`: nothing was on its way, and what SQL has dropped is forgotten.
   */
  found(
    server: Server,
    statements: FoundStatements,
    asked: AskedStatements,
    preparesOne: (text: string) => boolean,
  ): { readonly portable: boolean; readonly whole: boolean } {
    const notes = { names: this.#names, sql: this.#sql, rawNames: this.rawNames };
    const { sql, whole } = takeFound(notes, statements, asked, preparesOne);
    this.#sql = sql;
    // Code that nobody has seen has prepared something; what else the client has is not there.
    if (!this.raw && statements.size > 0) this.#raw().noteFound(server, new Set(statements.keys()));
    return { portable: this.#sql?.portable !== false, whole };
  }

  /** Body of the Parse that made the client's unnamed statement. */
  get unnamed(): string | undefined {
    return this.#unnamed.body;
  }

  /** Forwards Parse. */
  parse(server: Server, output: Output, buffer: Buffer, start: number, end: number): void {
    const nameEnd = endOfName(buffer, start + headerBytes, end);
    const name = nameAt(buffer, start + headerBytes, nameEnd);
    const body = buffer.subarray(nameEnd + 1, end);
    const existing = this.find(name);
    if (name !== "") this.#registry.statistics.clientParseCount++;
    if (name === "") {
      const outcome = this.#unnamed.parse(server, body.toString("latin1"), this.#batch);
      server.replies.push(Request.parse, Handling.forward, outcome);
      output.append(buffer, start, end, server.transport);
    } else if (this.#has(name, existing) && (!this.raw || this.rawNames?.saysTaken(name) === true)) {
      this.#parseAgain(server, output, spelledAt(buffer, start + headerBytes, nameEnd, name), existing, body);
    } else if (this.raw) this.#parseRaw(server, output, buffer, start, end, name, body);
    else this.#parseNamed(server, output, name, body);
  }

  /** Forwards Bind. */
  bind(
    server: Server,
    output: Output,
    buffer: Buffer,
    start: number,
    end: number,
    handling: Handling = Handling.forward,
  ): void {
    const nameStart = endOfName(buffer, start + headerBytes, end) + 1;
    this.#use(server, output, Request.bind, buffer, start, end, nameStart, handling);
  }

  /** What a Bind or Describe names is to be parsed again on this server, or is `missing` there. Returns false if it is nothing of ours. */
  distrust(server: Server, unit: Unit, i: number, missing: boolean): boolean {
    const name = nameIn(unit.type(i), unit.buffer(i), unit.start(i), unit.end(i)) ?? "";
    const statement = name === "" ? undefined : this.find(name);
    if (name === "" && missing) server.unnamed = unnamedUnknown;
    if (statement === undefined) return name === "" && missing;
    if (this.raw) this.#raw().distrust(name);
    else if (!server.prepared.has(statement.name)) return missing;
    else server.prepared.set(statement.name, false);
    return true;
  }

  /** Forwards Describe. */
  describe(server: Server, output: Output, buffer: Buffer, start: number, end: number): void {
    if (namesStatement(buffer, start, end)) {
      const nameStart = start + headerBytes + 1;
      this.#use(server, output, Request.describe, buffer, start, end, nameStart, Handling.forward);
      return;
    }
    server.replies.push(Request.describe, Handling.forward);
    output.append(buffer, start, end, server.transport);
  }

  /** Forwards Close of a portal; answers Close of a statement. */
  close(server: Server, output: Output, buffer: Buffer, start: number, end: number): void {
    if (!namesStatement(buffer, start, end)) {
      server.replies.push(Request.close, Handling.forward);
      output.append(buffer, start, end, server.transport);
      return;
    }
    const nameEnd = endOfName(buffer, start + headerBytes + 1, end);
    const name = nameAt(buffer, start + headerBytes + 1, nameEnd);
    let outcome: RequestOutcome | undefined;
    if (name === "") {
      outcome = this.#unnamed.close(this.#batch);
    } else if (this.#has(name)) {
      outcome = this.#names.send(new NameChange(this, name, undefined, this.#batch));
    }
    if (this.raw && name !== "") {
      server.replies.push(Request.close, Handling.forward, outcome);
      output.append(buffer, start, end, server.transport);
      return;
    }
    server.replies.push(Request.close, Handling.synthesise, outcome);
  }

  #parseRaw(
    server: Server,
    output: Output,
    buffer: Buffer,
    start: number,
    end: number,
    name: string,
    body: Buffer,
  ): void {
    const change = this.#names.send(new NameChange(this, name, this.#registry.acquire(body), this.#batch));
    this.#raw().changes++;
    server.replies.push(Request.parse, Handling.forward, change);
    output.append(buffer, start, end, server.transport);
  }

  #parseNamed(server: Server, output: Output, name: string, body: Buffer): void {
    const statement = this.#registry.acquire(body);
    const change = this.#names.send(new NameChange(this, name, statement, this.#batch));
    this.made.parse(server, output, statement, change, this.#batch);
  }

  /**
   * The name is taken: PostgreSQL says 42P05, and fails the transaction. So that the server does both, it is
   * made to prepare a statement that it has, and its answer is told with the client's name. If it lacks the client's, that
   * is one that can be made in any case. Should it be made, unseen code has dropped all before it: the client's name is free.
   */
  #parseAgain(
    server: Server,
    output: Output,
    spelled: string,
    existing: SharedStatement | undefined,
    body: Buffer,
  ): void {
    const held = existing !== undefined && server.prepared.get(existing.name) === true;
    const taken = held ? existing : this.#registry.taken;
    this.made.ensure(server, output, taken, this.#batch);
    this.#registry.statistics.serverParseCount++;
    const change = new NameChange(this, nameOf(spelled), this.#registry.acquire(body), this.#batch);
    server.replies.push(Request.parse, Handling.forward, nameTaken(server, taken.name, spelled, change));
    appendWhole(output, server, parseMessage(taken.name, body));
  }

  /** Forwards a message that names a statement at `nameStart`, with the name it has on the server. */
  #use(
    server: Server,
    output: Output,
    request: Request,
    buffer: Buffer,
    start: number,
    end: number,
    nameStart: number,
    handling: Handling,
  ): void {
    const nameEnd = endOfName(buffer, nameStart, end);
    if (nameEnd === nameStart) {
      this.#unnamed.ensure(server, output, this.#batch);
      server.replies.push(request, handling);
      output.append(buffer, start, end, server.transport);
      return;
    }
    const statement = this.#names.findAt(buffer, nameStart, nameEnd);
    if (this.raw || statement === undefined)
      return this.#useRaw(server, output, request, buffer, start, end, nameStart, statement);
    this.#lastUsed = this.#names.spelledAt(buffer, nameStart, nameEnd);
    this.#lastUsedName = statement.name;
    if (request === Request.bind) {
      this.#registry.statistics.bindCount++;
      server.endsTransaction ||= statement.endsTransaction;
    }
    this.made.ensure(server, output, statement, this.#batch);
    server.replies.push(request, handling);
    appendWhole(output, server, withName(buffer, start, end, nameStart, statement.name));
  }

  /** As {@link #use}, if the server has the client's names, or knows no such name either: it says 26000 in its own words. */
  #useRaw(
    server: Server,
    output: Output,
    request: Request,
    buffer: Buffer,
    start: number,
    end: number,
    nameStart: number,
    statement: SharedStatement | undefined,
  ): void {
    const nameEnd = endOfName(buffer, nameStart, end);
    const name = nameAt(buffer, nameStart, nameEnd);
    if (statement !== undefined) this.rawNames?.prove(server, output, name, statement.body);
    server.replies.push(request, Handling.forward);
    if (!name.startsWith(statementNamePrefix)) output.append(buffer, start, end, server.transport);
    else appendWhole(output, server, withQuotedName(buffer, start, end, nameStart, nameEnd));
  }
}
