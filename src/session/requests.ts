/**
 * Sends a client's messages to the server it holds: notes each in the server's reply queue, and gives those
 * that name prepared statements the names that the server knows.
 */
import { unreachable } from "../base/assert.ts";
import { mayEndTransaction } from "../pool/fate.ts";
import { Handling, Request } from "../pool/replies.ts";
import type { Server } from "../pool/server.ts";
import { Frontend, headerBytes, TransactionStatus } from "../wire/constants.ts";
import type { AutoSession } from "./auto/auto.ts";
import { sendBehind } from "./auto/settle-in.ts";
import type { Output } from "./output.ts";
import type { ClientStatements } from "./statements.ts";

export class Requests {
  readonly #output: Output;
  /** Undefined: names are passed on as they are. */
  readonly #statements: ClientStatements | undefined;
  readonly #auto: AutoSession | undefined;

  constructor(output: Output, statements: ClientStatements | undefined, auto: AutoSession | undefined) {
    this.#output = output;
    this.#statements = statements;
    this.#auto = auto;
  }

  /** Forwards one message, or the first part of one. Throws PeerError 08P01 if a name in it has no end. */
  forward(server: Server, type: number, buffer: Buffer, start: number, end: number): void {
    const auto = this.#auto;
    if (auto?.special === true && auto.signals?.due === true) {
      const message = auto.signals.redirect(server, type, buffer, start, end);
      if (message !== undefined) {
        this.#forward(server, type, message, 0, message.length);
        return;
      }
    }
    this.#forward(server, type, buffer, start, end);
  }

  #forward(server: Server, type: number, buffer: Buffer, start: number, end: number): void {
    const { replies } = server;
    let following: Buffer | undefined;
    switch (type) {
      case Frontend.query: {
        // In auto mode the statement's class tells.
        if (this.#auto?.mayEnd !== false) noteFate(server, buffer, start + headerBytes, end);
        const outcome = this.#statements?.onQuery(server, buffer, start, end);
        following = this.#auto?.takeResets(server);
        replies.push(Request.query, Handling.forward, outcome, following !== undefined);
        break;
      }
      case Frontend.parse:
      case Frontend.bind:
      case Frontend.describe:
      case Frontend.close:
        this.#forwardNaming(server, type, buffer, start, end);
        return;
      case Frontend.execute:
        if (this.#statements !== undefined) this.#statements.made.executed = true;
        if (this.#statements?.rawNames !== undefined) this.#statements.rawNames.ran = true;
        replies.push(Request.execute, Handling.forward);
        break;
      case Frontend.sync:
        this.#statements?.onBatchEnd();
        following = this.#auto?.takeResets(server);
        replies.push(Request.sync, Handling.forward, undefined, following !== undefined);
        break;
      case Frontend.functionCall:
        this.#statements?.onBatchEnd();
        replies.push(Request.functionCall, Handling.forward);
        break;
      case Frontend.copyDone:
      case Frontend.copyFail:
        replies.push(Request.copyEnd, Handling.forward);
        break;
      case Frontend.copyData:
      case Frontend.flush:
        break;
      default:
        unreachable(type as never, "message of a client");
    }
    this.#output.append(buffer, start, end, server.transport);
    if (following !== undefined) sendBehind(server, this.#output, following);
  }

  /** An error or notice of the server for the client: as the client has to read it. */
  reword(server: Server, message: Buffer): Buffer {
    return this.#statements?.reword(server, message) ?? message;
  }

  #forwardNaming(server: Server, type: NamingType, buffer: Buffer, start: number, end: number): void {
    const statements = this.#statements;
    if (statements === undefined) {
      // What the name stands for is not known here.
      if (type === Frontend.bind) server.endsTransaction = true;
      server.replies.push(requestOf[type], Handling.forward);
      this.#output.append(buffer, start, end, server.transport);
      return;
    }
    switch (type) {
      case Frontend.parse:
        noteFate(server, buffer, buffer.indexOf(0, start + headerBytes) + 1, end);
        statements.parse(server, this.#output, buffer, start, end);
        return;
      case Frontend.bind:
        statements.bind(server, this.#output, buffer, start, end);
        return;
      case Frontend.describe:
        statements.describe(server, this.#output, buffer, start, end);
        return;
      case Frontend.close:
        statements.close(server, this.#output, buffer, start, end);
    }
  }
}

/** In a transaction: whether the text may end it. */
function noteFate(server: Server, buffer: Buffer, start: number, end: number): void {
  if (server.replies.status !== TransactionStatus.inTransaction) return;
  server.endsTransaction ||= mayEndTransaction(buffer, start, end);
}

type NamingType =
  | typeof Frontend.parse
  | typeof Frontend.bind
  | typeof Frontend.describe
  | typeof Frontend.close;

const requestOf: Readonly<Record<NamingType, Request>> = {
  [Frontend.parse]: Request.parse,
  [Frontend.bind]: Request.bind,
  [Frontend.describe]: Request.describe,
  [Frontend.close]: Request.close,
};
