/**
 * Prepared statements that clients share.
 *
 * A statement is known by the body of its Parse message (text and parameter types), so a thousand clients
 * that prepare the same query share one entry here and one prepared statement per server. On a server it is
 * called `pgsluice_<id>`; each client keeps its own names for it. Statements that no client names any more
 * are kept for a while, because the next client will prepare the same ones.
 */
import { assert } from "../base/assert.ts";
import { LruMap } from "../base/lru.ts";
import { indexOfNul } from "../wire/c-string.ts";
import { Frontend } from "../wire/constants.ts";
import { mayEndTransaction } from "./fate.ts";
import type { RequestOutcome } from "./request-outcome.ts";
import { Statistics } from "./statistics.ts";

/** Names on servers begin with this; a client's own name that does is kept apart from them. */
export const statementNamePrefix = "pgsluice_";

/** How many statements without a client are remembered, for each pool. */
const unreferencedMax = 500;
/** Longer statements are forgotten as soon as no client names them. */
const unreferencedBytesMax = 16 * 1024;

/** One shared statement: what it is called on servers, and the Parse message that makes it. */
export class SharedStatement {
  readonly name: string;
  /** Text, number of types and types, as in the body of Parse behind the name. */
  readonly body: Buffer;
  readonly key: string;
  /** It may commit a transaction. */
  readonly endsTransaction: boolean;
  references = 0;
  /** What its users have found out about its text. */
  kept: object | undefined;

  constructor(id: number, body: Buffer, key: string) {
    this.name = `${statementNamePrefix}${id}`;
    this.body = body;
    this.key = key;
    this.endsTransaction = mayEndTransaction(body, 0, body.indexOf(0) + 1);
  }

  /** The Parse message that makes this statement on a server. */
  get parseMessage(): Buffer {
    return parseMessage(this.name, this.body);
  }
}

/**
 * What a server has of the shared statements, by their names there; false: it has to be parsed again. What is sent is noted at once, and
 * until it is answered it may still be skipped behind an error in the sender's batch: others rely on it only if they can run again.
 */
export class PreparedNotes extends LruMap<string, boolean> {
  /** By name: what was sent last that changes it, if that is not answered yet. */
  readonly changes: Map<string, RequestOutcome> = new Map();
  /** The same of the unnamed statement. */
  unnamedChange: RequestOutcome | undefined;
}

/**
 * Numbers for the names of shared statements. Pools whose clients use each other's servers have one together: the servers of a standby
 * keep what they were sent for clients of a pool that was forgotten meanwhile.
 */
export class StatementIds {
  #last = 0;

  next(): number {
    return ++this.#last;
  }
}

export class StatementRegistry {
  /** Where Parse and Bind messages that name a statement are counted. */
  readonly statistics: Statistics;
  readonly #referenced = new Map<string, SharedStatement>();
  readonly #unreferenced = new LruMap<string, SharedStatement>(unreferencedMax);
  readonly #ids: StatementIds;
  #taken: SharedStatement | undefined;

  constructor(statistics: Statistics = new Statistics(), ids: StatementIds = new StatementIds()) {
    this.statistics = statistics;
    this.#ids = ids;
  }

  /** Statements that some client names. */
  get size(): number {
    return this.#referenced.size;
  }

  /** A statement without a text, whose name is taken wherever it is made: that never fails. */
  get taken(): SharedStatement {
    this.#taken ??= new SharedStatement(this.#ids.next(), Buffer.alloc(3), "");
    return this.#taken;
  }

  /** The statement with this Parse body; the caller owns one reference. */
  acquire(body: Buffer): SharedStatement {
    const key = body.toString("latin1");
    let statement = this.#referenced.get(key);
    if (statement === undefined) {
      statement = this.#unreferenced.peek(key);
      if (statement === undefined) statement = new SharedStatement(this.#ids.next(), Buffer.from(body), key);
      else this.#unreferenced.delete(key);
      this.#referenced.set(key, statement);
    }
    statement.references++;
    return statement;
  }

  /** The statement with this Parse body, if it is known. */
  find(body: Buffer): SharedStatement | undefined {
    const key = body.toString("latin1");
    return this.#referenced.get(key) ?? this.#unreferenced.peek(key);
  }

  release(statement: SharedStatement): void {
    assert(statement.references > 0, "a statement is released as often as it was acquired");
    statement.references--;
    if (statement.references > 0) return;
    this.#referenced.delete(statement.key);
    if (statement.body.length <= unreferencedBytesMax) this.#unreferenced.set(statement.key, statement);
  }
}

/** A Parse message with `name` before `body`. */
export function parseMessage(name: string, body: Buffer): Buffer {
  const message = Buffer.allocUnsafe(6 + name.length + body.length);
  message[0] = Frontend.parse;
  message.writeInt32BE(message.length - 1, 1);
  message.write(name, 5, "latin1");
  message[5 + name.length] = 0;
  body.copy(message, 6 + name.length);
  return message;
}

/**
 * The message in `buffer[start, end)` with the NUL-terminated name at `nameStart` replaced: Bind, Describe
 * and Close carry names that mean something else on the server.
 */
export function withName(
  buffer: Buffer,
  start: number,
  end: number,
  nameStart: number,
  name: string,
): Buffer {
  const nameEnd = indexOfNul(buffer, nameStart);
  assert(nameEnd >= nameStart && nameEnd < end, "a name ends inside its message");
  const length = end - start - (nameEnd - nameStart) + name.length;
  const message = Buffer.allocUnsafe(length);
  buffer.copy(message, 0, start, nameStart);
  message.write(name, nameStart - start, "latin1");
  buffer.copy(message, nameStart - start + name.length, nameEnd, end);
  // The span may be the first part of a longer message: its length word speaks of the whole.
  message.writeInt32BE(buffer.readInt32BE(start + 1) + length - (end - start), 1);
  return message;
}
