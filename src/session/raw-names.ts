/**
 * A client's prepared statements under the client's own names on the server that it has, so that SQL finds them (auto
 * mode). They are made there when SQL is about to name any: between batches, each for itself; or within a batch, where
 * nothing but Parse and Close can be put in between, and an error skips what comes behind it.
 */
import { parseMessage, statementNamePrefix } from "../pool/prepared.ts";
import { Handling, Request } from "../pool/replies.ts";
import { type RequestOutcome, unheard } from "../pool/request-outcome.ts";
import type { ForeignNames, Server } from "../pool/server.ts";
import { TransactionStatus } from "../wire/constants.ts";
import { encodeClose, encodeFrontend } from "../wire/encode-frontend.ts";
import type { MadeStatements } from "./made-statements.ts";
import type { Output } from "./output.ts";
import type { OwnRequest } from "./own-requests.ts";
import { savepointBack, savepointBegin, savepointEnd } from "./raw-savepoint.ts";
import { appendWhole, missingStatement, nameOf } from "./statement-messages.ts";
import type { AnswerListener } from "./statement-outcomes.ts";

const syncMessage = encodeFrontend({ kind: "Sync" });
/** Nothing is called so: shared statements are numbered from 1. Its reply tells what has become of the messages before it. */
const closeOfNothing = encodeClose("statement", `${statementNamePrefix}0`);
/** Longer errors are not kept. */
const errorBytesMax = 1024;

/** What the client has: bodies of Parse by their names, and Query messages that make the rest, by theirs. */
interface OwnStatements {
  readonly bodies: Iterable<readonly [string, Buffer]>;
  readonly queries: Iterable<readonly [string, Buffer]>;
  /** Names of both. */
  readonly names: ReadonlySet<string>;
  /** Some of it is on its way: no server has been left with that, and it may not come about. */
  readonly changing: boolean;
}

export class RawNames {
  /** The server that the client has, has its statements under its own names. */
  active = false;
  /** How often something was sent that makes one there. */
  changes = 0;
  /** Counts the changes of what the client's names mean. */
  version = 0;
  /** What was noted on a server because the ledger has found it there, exactly. */
  found: ForeignNames | undefined;
  readonly #owner: AnswerListener;
  readonly #made: MadeStatements;
  /** Names for which the server has not said that it has them. */
  readonly #unproven = new Set<string>();
  /** Those of them that it has said it cannot make, and in which ErrorResponse. Nothing can have dropped what was never there. */
  readonly #refused = new Map<string, Buffer | undefined>();
  readonly #stale = new Set<string>();
  /**
   * SQL may have dropped some of them since, or does it before anything else is sent that names one: what is missing then was made
   * and is gone, as far as anybody can tell.
   */
  mayBeDropped = false;
  /** The last SQL that may have dropped some was seen to do nothing else with them. */
  drops = false;
  /** Something was sent that runs statements, since the names were made there. */
  ran = false;
  /** What was sent within a batch and is not answered yet: nobody knows until then whether the names are there. */
  #entry: RawEntry | undefined;

  /** `owner`: whose names they are; `made`: what servers have of the shared statements. */
  constructor(owner: AnswerListener, made: MadeStatements) {
    this.#owner = owner;
    this.#made = made;
  }

  /** What the client's names mean is something else now; what `name` means then is on its server. */
  change(name?: string): void {
    this.version++;
    if (name === undefined) return;
    this.#unproven.delete(name);
    this.#refused.delete(name);
  }

  /** They mean nothing any more. */
  clear(): void {
    this.version++;
    this.#unproven.clear();
    this.#refused.clear();
  }

  get entry(): RawEntry | undefined {
    return this.#entry;
  }

  /** Whether the names on a server are this client's, as they are now. */
  left({ owner, version }: ForeignNames): boolean {
    return owner === this.#owner && version === this.version;
  }

  /**
   * From now on the server has them, until the client gives it back. `alone`: and nobody else's. `batch`: the number of
   * the one that is being sent, or comes next.
   */
  enter(server: Server, output: Output, own: OwnStatements, alone: boolean, batch: number): void {
    // Whatever it is, it fails, and so would what is sent here.
    if (server.replies.status === TransactionStatus.failed) return;
    const within = !server.replies.betweenUnits;
    const send = sending(server, output);
    const close = (names: Iterable<string>): void => {
      for (const name of names) send(Request.close, encodeClose("statement", name));
      if (!within) send(Request.sync, syncMessage);
    };
    if (alone && server.prepared.size > 0) {
      this.#made.closeAll(server, output, batch);
      if (!within) send(Request.sync, syncMessage);
    }
    if (this.active) {
      // The client may have seen to it that they can be made by now.
      if (this.#refused.size === 0 || within || !server.replies.answered) return;
      this.changes++;
      this.#make(server, output, own, (name) => this.#refused.has(name));
      return;
    }
    this.active = true;
    this.ran = false;
    this.changes++;
    const { foreignNames } = server;
    const bodies = [...own.bodies];
    const names = new Set([...own.names, ...(foreignNames?.names ?? [])]);
    if (foreignNames !== undefined) {
      if (!own.changing && this.left(foreignNames)) return;
      // The client's own, as they were when it had this server before. Unseen code may just have made others.
      server.foreignNames = undefined;
      close(within ? this.#replaceable(foreignNames, own, bodies) : foreignNames.names);
    }
    if (within) {
      // If one of them cannot be made any more, the client is told so, and what is behind it in the batch is skipped.
      for (const [name, body] of bodies) send(Request.parse, parseMessage(name, body));
      // Also if it is none: a name that loses its meaning in this batch keeps it if all is skipped, and is not there.
      send(Request.close, closeOfNothing, this.#entering(server, names, batch));
      return;
    }
    this.#make(server, output, own, () => true);
  }

  /**
   * Between batches: each for itself. One that cannot be made any more must not keep the others from being made, nor fail the client's
   * transaction; SQL that names it is told why ({@link whyMissing}).
   */
  #make(server: Server, output: Output, own: OwnStatements, wanted: (name: string) => boolean): void {
    const { replies } = server;
    const send = sending(server, output);
    // Where something of the client's is on its way, nobody knows whether there will be a transaction.
    const guarded = replies.answered && replies.status === TransactionStatus.inTransaction;
    const guard = (requests: readonly OwnRequest[]): void => {
      if (guarded && own.names.size > 0) for (const [request, message] of requests) send(request, message);
    };
    guard(savepointBegin);
    for (const [name, body] of own.bodies) {
      if (!wanted(name)) continue;
      send(Request.parse, parseMessage(name, body), {
        ...this.#proving(name),
        onError: (error) => this.#refuse(name, error),
      });
      send(Request.sync, syncMessage);
      guard(savepointBack);
    }
    for (const [name, query] of own.queries) {
      if (!wanted(name)) continue;
      send(Request.query, query, this.#provingQuery(name));
      server.unnamed = undefined;
      guard(savepointBack);
    }
    guard(savepointEnd);
  }

  /** Within a batch what the client has prepared in SQL cannot be made, and stays where it was found. */
  #replaceable(
    { owner, names }: ForeignNames,
    own: OwnStatements,
    bodies: readonly (readonly [string, Buffer])[],
  ): string[] {
    const bySql = new Set(owner === this.#owner ? own.names : []);
    for (const [name] of bodies) bySql.delete(name);
    return [...names].filter((name) => !bySql.has(name));
  }

  /** Whether the server may lack it although it was to be made. */
  mayLack(name: string): boolean {
    return this.#unproven.has(name);
  }

  #proving(name: string): RequestOutcome {
    this.#unproven.add(name);
    return {
      errorReply: undefined,
      onDone: () => {
        this.#unproven.delete(name);
        this.#refused.delete(name);
      },
      onFailed: (refused) => {
        if (!refused) return;
        this.#unproven.add(name);
        if (!this.#refused.has(name)) this.#refused.set(name, undefined);
      },
    };
  }

  /** As {@link #proving}, of a Query, which is done also if the server refuses what is in it. */
  #provingQuery(name: string): RequestOutcome {
    const proving = this.#proving(name);
    let refused = false;
    return {
      ...unheard,
      onError: (error) => {
        refused = true;
        this.#refuse(name, error);
      },
      onDone: () => {
        if (!refused) proving.onDone();
      },
    };
  }

  #refuse(name: string, error: Buffer): void {
    this.#refused.set(name, error.length > errorBytesMax ? undefined : Buffer.from(error));
  }

  /**
   * The ErrorResponse that PostgreSQL would give in place of this one, by which the server says that it has not got a statement that it
   * could not make. Not if it may be meant for SQL that only drops it.
   */
  whyMissing(error: Buffer): Buffer | undefined {
    if (this.#refused.size === 0 || this.drops) return undefined;
    const name = missingStatement(error);
    return name === undefined ? undefined : this.#refused.get(nameOf(name));
  }

  /** The server has the name for a plan that is out of date: it is made again before it is used. */
  distrust(name: string): void {
    this.#stale.add(name);
  }

  /** Whether a Parse of the name has to be told that it is taken, although the server may lack it. */
  saysTaken(name: string): boolean {
    if (this.#refused.has(name)) return true;
    return this.#unproven.has(name) && !(this.mayBeDropped && this.ran);
  }

  /** A Bind or Describe is about to use the name: if it could not be made, the client is told why; if it is out of date, it is made anew. */
  prove(server: Server, output: Output, name: string, body: Buffer): void {
    if (!this.#stale.delete(name) && !this.saysTaken(name)) return;
    server.replies.push(Request.close, Handling.swallow);
    appendWhole(output, server, encodeClose("statement", name));
    server.replies.push(Request.parse, Handling.swallow, this.#proving(name));
    appendWhole(output, server, parseMessage(name, body));
  }

  #entering(server: Server, names: ReadonlySet<string>, batch: number): RawEntry {
    const entry = new RawEntry(batch, (done) => {
      if (this.#entry !== entry) return;
      this.#entry = undefined;
      if (!done) {
        // Some of them may be there.
        this.active = false;
        if (names.size > 0) server.foreignNames = { owner: this.#owner, version: -1, names };
      }
      this.#owner.answered(entry);
    });
    this.#entry = entry;
    return entry;
  }

  /** The client gives its server back. `names`: which are there, if that is certain. */
  leave(server: Server, names: ReadonlySet<string> | undefined): void {
    this.mayBeDropped = false;
    this.drops = false;
    if (!this.active) return;
    this.#stale.clear();
    this.active = false;
    this.#entry = undefined;
    const certain = names !== undefined && this.#unproven.size === 0;
    this.#unproven.clear();
    this.#refused.clear();
    if (names?.size === 0) server.foreignNames = undefined;
    else this.#note(server, names ?? new Set(), certain ? this.version : -1);
  }

  /** The server has these names, and no others of the client's. */
  noteFound(server: Server, names: ReadonlySet<string>): void {
    this.#note(server, names, -1);
    this.found = server.foreignNames;
  }

  /** The server has these names. `version`: of what they mean. */
  #note(server: Server, names: ReadonlySet<string>, version: number): void {
    server.foreignNames = { owner: this.#owner, version, names };
  }
}

type Sending = (request: Request, message: Buffer, outcome?: RequestOutcome) => void;

function sending(server: Server, output: Output): Sending {
  return (request, message, outcome) => {
    server.replies.push(request, Handling.swallow, outcome);
    appendWhole(output, server, message);
  };
}

/** The last of what is sent to make the names within a batch. */
class RawEntry implements RequestOutcome {
  readonly errorReply: undefined;
  readonly batch: number;
  readonly #answered: (done: boolean) => void;

  constructor(batch: number, answered: (done: boolean) => void) {
    this.batch = batch;
    this.#answered = answered;
  }

  onDone(): void {
    this.#answered(true);
  }

  onFailed(): void {
    this.#answered(false);
  }
}
