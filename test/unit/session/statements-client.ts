/** A client's prepared statements in front of a fake server, and what was sent to it in readable form. */
import { StatementRegistry } from "../../../src/pool/prepared.ts";
import type { Server } from "../../../src/pool/server.ts";
import { Output } from "../../../src/session/output.ts";
import { Requests } from "../../../src/session/requests.ts";
import { ClientStatements } from "../../../src/session/statements.ts";
import { Framer, frontendRules } from "../../../src/wire/framer.ts";
import { FakeTransport, RecordingOwner } from "../pool/fakes.ts";
import { int16, int32, text, typed } from "../wire/bytes.ts";

export const parse = (name: string, sql: string): Buffer => typed("P", text(name), text(sql), int16(0));
export const bind = (name: string): Buffer => typed("B", text(""), text(name), int16(0), int16(0), int16(0));
export const describeStatement = (name: string): Buffer => typed("D", "S", text(name));
export const describePortal = (name: string): Buffer => typed("D", "P", text(name));
export const execute: Buffer = typed("E", text(""), int32(0));
export const closeStatement = (name: string): Buffer => typed("C", "S", text(name));
export const closePortal = (name: string): Buffer => typed("C", "P", text(name));
export const query = (sql: string): Buffer => typed("Q", text(sql));
export const sync: Buffer = typed("S");

export class StatementsClient extends RecordingOwner {
  readonly registry: StatementRegistry;
  readonly statements: ClientStatements;
  /** How often it was told that something is certain now. */
  certain = 0;
  readonly #output = new Output();
  readonly #requests: Requests;
  #server: Server | undefined;

  constructor(registry: StatementRegistry = new StatementRegistry()) {
    super();
    this.registry = registry;
    this.statements = new ClientStatements(registry, { advanceSoon: () => this.certain++ });
    this.#requests = new Requests(this.#output, this.statements, undefined);
  }

  onWords(message: Buffer): Buffer {
    return this.statements.reword(this.#server as Server, message);
  }

  override onDropped(): void {
    this.statements.clear();
  }

  /** Sends messages as a session does; synthesised replies that are due go to the client. */
  send(server: Server, ...messages: Buffer[]): void {
    server.owner = this;
    this.#server = server;
    for (const message of messages) {
      this.#requests.forward(server, message[0] as number, message, 0, message.length);
      if (server.replies.hasSynthesised) this.replies.push(server.replies.takeSynthesised());
    }
    this.#output.flush(server.transport);
  }

  mustWait(message: Buffer): boolean {
    const framer = new Framer(frontendRules(1_000_000));
    framer.feed(message);
    framer.next();
    return this.statements.mustWait(framer);
  }
}

/** What was written to a server since the last call: one line for each message, names and SQL in it. */
export function takeSent(transport: FakeTransport): string[] {
  return split(transport.takeWritten()).map(line);
}

export function split(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let start = 0; start < bytes.length; ) {
    const end = start + 1 + bytes.readInt32BE(start + 1);
    messages.push(bytes.subarray(start, end));
    start = end;
  }
  return messages;
}

/** The strings at the start of a message's body. */
export function strings(message: Buffer, count: number, start = 5): string[] {
  const found: string[] = [];
  let position = start;
  for (let i = 0; i < count; i++) {
    const end = message.indexOf(0, position);
    found.push(message.toString("latin1", position, end));
    position = end + 1;
  }
  return found;
}

function line(message: Buffer): string {
  const letter = String.fromCharCode(message[0] as number);
  switch (letter) {
    case "P":
      return ["Parse", ...strings(message, 2)].join(" ").trim();
    case "B":
      return ["Bind", ...strings(message, 2).slice(1)].join(" ").trim();
    case "D":
    case "C": {
      const what = letter === "D" ? "Describe" : "Close";
      return `${what} ${String.fromCharCode(message[5] as number)} ${strings(message, 1, 6)[0]}`.trim();
    }
    case "E":
      return "Execute";
    case "Q":
      return `Query ${strings(message, 1)[0]}`;
    default:
      return letter;
  }
}
