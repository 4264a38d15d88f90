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
import { appendWhole } from "./statement-messages.ts";
import type { AnswerListener } from "./statement-outcomes.ts";

const syncMessage = encodeFrontend({ kind: "Sync" });
/** Nothing is called so: shared statements are numbered from 1. Its reply tells what has become of the messages before it. */
const closeOfNothing = encodeClose("statement", `${statementNamePrefix}0`);

/** What the client has: bodies of Parse by their names, and Query messages that make the rest. */
interface OwnStatements {
  readonly bodies: Iterable<readonly [string, Buffer]>;
  readonly queries: Iterable<Buffer>;
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
  /** Those of them that it has said it cannot make. Nothing can have dropped what was never there. */
  readonly #refused = new Set<string>();
  readonly #stale = new Set<string>();
  /**
   * SQL may have dropped some of them since, or does it before anything else is sent that names one: what is missing then was made
   * and is gone, as far as anybody can tell.
   */
  mayBeDropped = false;
  /** Something was sent that runs statements, since the names were made there. */
  ran = false;
  /** What was sent within a batch and is not answered yet: nobody knows until then whether the names are there. */
  #entry: RawEntry | undefined;

  /** `owner`: whose names they are; `made`: what servers have of the shared statements. */
  constructor(owner: AnswerListener, made: MadeStatements) {
    this.#owner = owner;
    this.#made = made;
  }

  /** What the client's names mean is something else now. */
  change(): void {
    this.version++;
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
    // Where something is on its way, nobody knows whether there will be a transaction.
    const guarded = server.replies.settled && server.replies.status === TransactionStatus.inTransaction;
    const send = (request: Request, message: Buffer, outcome?: RequestOutcome): void => {
      server.replies.push(request, Handling.swallow, outcome);
      appendWhole(output, server, message);
    };
    const close = (names: Iterable<string>): void => {
      for (const name of names) send(Request.close, encodeClose("statement", name));
      if (!within) send(Request.sync, syncMessage);
    };
    if (alone && server.prepared.size > 0) {
      this.#made.closeAll(server, output, batch);
      if (!within) send(Request.sync, syncMessage);
    }
    if (this.active) return;
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
    const guard = (requests: readonly OwnRequest[]): void => {
      if (guarded && own.names.size > 0) for (const [request, message] of requests) send(request, message);
    };
    guard(savepointBegin);
    // One that cannot be made any more must not keep the others from being made, nor fail the client's transaction.
    for (const [name, body] of bodies) {
      send(Request.parse, parseMessage(name, body), { ...unheard, ...this.#proving(name) });
      send(Request.sync, syncMessage);
      guard(savepointBack);
    }
    for (const query of own.queries) {
      send(Request.query, query, unheard);
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
        if (refused) this.#refused.add(name);
      },
    };
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
