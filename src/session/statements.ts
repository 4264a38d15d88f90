/**
 * One client's prepared statements while its servers change: its names for statements that all clients
 * share, and the text of its unnamed statement.
 *
 * Before a Bind or Describe reaches a server that lacks the statement, the Parse that makes it is sent
 * first, in the same write, and its reply is swallowed. A Parse for a statement that the server has already,
 * and every Close of a statement, is answered here. Each change is undone if the server refused the message
 * or skipped it after an error, so that client and pooler never disagree about which names exist.
 */
import { protocolViolation } from "../base/errors.ts";
import {
  parseMessage,
  type SharedStatement,
  type StatementRegistry,
  statementNamePrefix,
  withName,
} from "../pool/prepared.ts";
import { Handling, Request, type RequestOutcome } from "../pool/replies.ts";
import type { Server } from "../pool/server.ts";
import { headerBytes } from "../wire/constants.ts";
import { encodeErrorResponse } from "../wire/encode-backend.ts";
import { encodeClose } from "../wire/encode-frontend.ts";
import type { Output } from "./output.ts";

const statementTarget = 0x53; // S, in Describe and Close

export class ClientStatements {
  readonly #registry: StatementRegistry;
  readonly #named = new Map<string, SharedStatement>();
  /** Body of the Parse message that made the unnamed statement, byte for byte in latin1. */
  #unnamed: string | undefined;

  constructor(registry: StatementRegistry) {
    this.#registry = registry;
  }

  /** Statements this client has named. */
  get size(): number {
    return this.#named.size;
  }

  /** The client sent a simple Query, which drops the unnamed statement (docs 54.2.3). */
  onQuery(server: Server): void {
    this.#unnamed = undefined;
    server.unnamed = undefined;
  }

  /** DEALLOCATE ALL or DISCARD ALL, or the client is gone. */
  clear(): void {
    for (const statement of this.#named.values()) this.#registry.release(statement);
    this.#named.clear();
    this.#unnamed = undefined;
  }

  /** Forwards Parse. */
  parse(server: Server, output: Output, buffer: Buffer, start: number, end: number): void {
    const nameEnd = endOfName(buffer, start + headerBytes, end);
    const name = buffer.toString("latin1", start + headerBytes, nameEnd);
    const body = buffer.subarray(nameEnd + 1, end);
    if (name === "") this.#parseUnnamed(server, output, buffer, start, end, body);
    else if (this.#named.has(name)) this.#parseAgain(server, output, name, body);
    else this.#parseNamed(server, output, name, body);
  }

  /** Forwards Bind. */
  bind(server: Server, output: Output, buffer: Buffer, start: number, end: number): void {
    const nameStart = endOfName(buffer, start + headerBytes, end) + 1;
    this.#use(server, output, Request.bind, buffer, start, end, nameStart);
  }

  /** Forwards Describe. */
  describe(server: Server, output: Output, buffer: Buffer, start: number, end: number): void {
    if (buffer[start + headerBytes] === statementTarget) {
      this.#use(server, output, Request.describe, buffer, start, end, start + headerBytes + 1);
      return;
    }
    server.replies.push(Request.describe, Handling.forward);
    output.append(buffer, start, end, server.transport);
  }

  /** Forwards Close of a portal; answers Close of a statement. */
  close(server: Server, output: Output, buffer: Buffer, start: number, end: number): void {
    if (buffer[start + headerBytes] !== statementTarget) {
      server.replies.push(Request.close, Handling.forward);
      output.append(buffer, start, end, server.transport);
      return;
    }
    const nameEnd = endOfName(buffer, start + headerBytes + 1, end);
    const name = buffer.toString("latin1", start + headerBytes + 1, nameEnd);
    const statement = this.#named.get(name);
    if (name === "") this.#unnamed = undefined;
    this.#named.delete(name);
    const outcome =
      statement === undefined ? undefined : new NamedClose(this.#named, this.#registry, name, statement);
    server.replies.push(Request.close, Handling.synthesise, outcome);
  }

  #parseUnnamed(
    server: Server,
    output: Output,
    buffer: Buffer,
    start: number,
    end: number,
    body: Buffer,
  ): void {
    const text = body.toString("latin1");
    this.#unnamed = text;
    server.unnamed = text;
    server.replies.push(Request.parse, Handling.forward, new UnnamedParse(server, text, this));
    output.append(buffer, start, end, server.transport);
  }

  /** The unnamed statement with this text was not made after all. */
  forgetUnnamed(text: string): void {
    if (this.#unnamed === text) this.#unnamed = undefined;
  }

  #parseNamed(server: Server, output: Output, name: string, body: Buffer): void {
    const statement = this.#registry.acquire(body);
    this.#named.set(name, statement);
    const outcome = new NamedParse(this.#named, this.#registry, name, statement, server);
    if (server.prepared.get(statement.name) !== undefined) {
      outcome.made = false;
      server.replies.push(Request.parse, Handling.synthesise, outcome);
      return;
    }
    makeRoom(server, output, statement);
    server.replies.push(Request.parse, Handling.forward, outcome);
    appendWhole(output, server, statement.parseMessage);
  }

  /**
   * The name is taken: PostgreSQL says 42P05, and fails the transaction. So that the server does both, it is
   * made to prepare a statement that it has; the text it answers with is replaced by one with the client's name.
   */
  #parseAgain(server: Server, output: Output, name: string, body: Buffer): void {
    const existing = this.#named.get(name) as SharedStatement; // asked by the caller
    this.#ensure(server, output, existing);
    const text = Buffer.from(name, "latin1").toString("utf8");
    server.replies.push(Request.parse, Handling.forward, {
      errorReply: {
        sqlstate: "42P05",
        bytes: encodeErrorResponse({
          severity: "ERROR",
          code: "42P05",
          message: `prepared statement "${text}" already exists`,
        }),
      },
      onDone: () => undefined,
      onFailed: () => undefined,
    });
    appendWhole(output, server, parseMessage(existing.name, body));
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
  ): void {
    const nameEnd = endOfName(buffer, nameStart, end);
    if (nameEnd === nameStart) {
      this.#ensureUnnamed(server, output);
      server.replies.push(request, Handling.forward);
      output.append(buffer, start, end, server.transport);
      return;
    }
    const name = buffer.toString("latin1", nameStart, nameEnd);
    const statement = this.#named.get(name);
    if (statement === undefined) {
      // The server knows no such name either, and says 26000 in its own words.
      server.replies.push(request, Handling.forward);
      if (!name.startsWith(statementNamePrefix)) output.append(buffer, start, end, server.transport);
      else appendWhole(output, server, withName(buffer, start, end, nameStart, `"${name}"`));
      return;
    }
    this.#ensure(server, output, statement);
    server.replies.push(request, Handling.forward);
    appendWhole(output, server, withName(buffer, start, end, nameStart, statement.name));
  }

  #ensure(server: Server, output: Output, statement: SharedStatement): void {
    if (server.prepared.get(statement.name) !== undefined) return;
    makeRoom(server, output, statement);
    server.replies.push(Request.parse, Handling.swallow, new InjectedParse(server, statement.name));
    appendWhole(output, server, statement.parseMessage);
  }

  #ensureUnnamed(server: Server, output: Output): void {
    const text = this.#unnamed;
    if (server.unnamed === text) return;
    server.unnamed = text;
    if (text === undefined) {
      server.replies.push(Request.close, Handling.swallow);
      appendWhole(output, server, encodeClose("statement", ""));
      return;
    }
    server.replies.push(Request.parse, Handling.swallow, new UnnamedParse(server, text, undefined));
    appendWhole(output, server, parseMessage("", Buffer.from(text, "latin1")));
  }
}

/** The client's own Parse of a named statement. */
class NamedParse implements RequestOutcome {
  readonly errorReply: undefined;
  /** False if the server had the statement already, so that a failure takes nothing from it. */
  made = true;
  readonly #named: Map<string, SharedStatement>;
  readonly #registry: StatementRegistry;
  readonly #name: string;
  readonly #statement: SharedStatement;
  readonly #server: Server;

  constructor(
    named: Map<string, SharedStatement>,
    registry: StatementRegistry,
    name: string,
    statement: SharedStatement,
    server: Server,
  ) {
    this.#named = named;
    this.#registry = registry;
    this.#name = name;
    this.#statement = statement;
    this.#server = server;
  }

  onDone(): void {
    // The server holds it: noted when it was sent.
  }

  onFailed(): void {
    if (this.made) this.#server.prepared.delete(this.#statement.name);
    if (this.#named.get(this.#name) !== this.#statement) return;
    this.#named.delete(this.#name);
    this.#registry.release(this.#statement);
  }
}

/** The client's Close of a named statement, answered here. */
class NamedClose implements RequestOutcome {
  readonly errorReply: undefined;
  readonly #named: Map<string, SharedStatement>;
  readonly #registry: StatementRegistry;
  readonly #name: string;
  readonly #statement: SharedStatement;

  constructor(
    named: Map<string, SharedStatement>,
    registry: StatementRegistry,
    name: string,
    statement: SharedStatement,
  ) {
    this.#named = named;
    this.#registry = registry;
    this.#name = name;
    this.#statement = statement;
  }

  onDone(): void {
    this.#registry.release(this.#statement);
  }

  onFailed(): void {
    if (this.#named.has(this.#name)) this.#registry.release(this.#statement);
    else this.#named.set(this.#name, this.#statement);
  }
}

/** A Parse of our own, for a statement that this server lacks. */
class InjectedParse implements RequestOutcome {
  readonly errorReply: undefined;
  readonly #server: Server;
  readonly #name: string;

  constructor(server: Server, name: string) {
    this.#server = server;
    this.#name = name;
  }

  onDone(): void {
    // Noted when it was sent.
  }

  onFailed(): void {
    this.#server.prepared.delete(this.#name);
  }
}

/** A Parse of the unnamed statement, the client's or our own. */
class UnnamedParse implements RequestOutcome {
  readonly errorReply: undefined;
  readonly #server: Server;
  readonly #text: string;
  readonly #statements: ClientStatements | undefined;

  constructor(server: Server, text: string, statements: ClientStatements | undefined) {
    this.#server = server;
    this.#text = text;
    this.#statements = statements;
  }

  onDone(): void {
    // Noted when it was sent.
  }

  onFailed(): void {
    if (this.#server.unnamed === this.#text) this.#server.unnamed = undefined;
    this.#statements?.forgetUnnamed(this.#text);
  }
}

/** Notes that the server will hold the statement, and closes the one that has to go for it. */
function makeRoom(server: Server, output: Output, statement: SharedStatement): void {
  const evicted = server.prepared.set(statement.name, true);
  if (evicted === undefined) return;
  server.replies.push(Request.close, Handling.swallow);
  appendWhole(output, server, encodeClose("statement", evicted[0]));
}

function appendWhole(output: Output, server: Server, message: Buffer): void {
  output.append(message, 0, message.length, server.transport);
}

/** Where the NUL of the string at `start` is. Throws PeerError 08P01 in PostgreSQL's words (pqformat.c). */
function endOfName(buffer: Buffer, start: number, end: number): number {
  const zero = start < end ? buffer.indexOf(0, start) : -1;
  if (zero < 0 || zero >= end) throw protocolViolation("invalid string in message");
  return zero;
}
