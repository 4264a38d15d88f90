/** A session without a transport, and replies to feed it: for tests of the exchange and its queries. */
import { type Command, Exchange } from "../../../src/client/query/exchange.ts";
import type { Outgoing } from "../../../src/client/query/outgoing.ts";
import { Query, type QueryHost } from "../../../src/client/query/query.ts";
import type { Result } from "../../../src/client/query/result.ts";
import type { RowOptions } from "../../../src/client/query/rows.ts";
import { StatementCache } from "../../../src/client/query/statements.ts";
import { TypeRegistry } from "../../../src/client/types/registry.ts";
import { decodeFrontend } from "../../../src/wire/decode-frontend.ts";
import { encodeBackend } from "../../../src/wire/encode-backend.ts";
import type { BackendMessage } from "../../../src/wire/messages.ts";

export interface BenchQuery {
  readonly values?: unknown[];
  readonly ending?: "ready" | "result";
  readonly signal?: AbortSignal;
  readonly columns?: RowOptions["columns"];
  readonly types?: TypeRegistry;
}

/** A session without a transport: what it sends is kept, what it is sent comes from the test. */
export class Bench implements QueryHost {
  readonly statements: StatementCache;
  readonly exchange: Exchange;
  /** Types of the messages sent since the last look. */
  sent = "";
  /** Names of statements that were given, used and closed, such as `parse s1`, `bind s1`, `close s1`. */
  names: string[] = [];
  cancels = 0;
  resumed: Command[] = [];

  constructor(options: { cacheSize?: number; usesBefore?: number } = {}) {
    this.statements = new StatementCache(options.cacheSize ?? 100, options.usesBefore ?? 1);
    this.exchange = new Exchange({
      tracing: false,
      onMessage: () => {},
      onOutput: () => this.#collect(),
      onNotice: () => {},
      onNotification: () => {},
      onParameter: () => {},
    });
  }

  get idle(): boolean {
    return this.exchange.transactionStatus === 0x49;
  }

  #collect(): void {
    const bytes = this.exchange.outgoing.take();
    for (let start = 0; start < bytes.length; start += 1 + bytes.readUInt32BE(start + 1)) {
      this.sent += String.fromCharCode(bytes[start] as number);
      const message = decodeFrontend(bytes, start, start + 1 + bytes.readUInt32BE(start + 1));
      if (message.kind === "Parse") this.names.push(`parse ${message.name}`.trim());
      if (message.kind === "Bind") this.names.push(`bind ${message.statement}`.trim());
      if (message.kind === "Close") this.names.push(`close ${message.name}`);
    }
  }

  takeSent(): string {
    const sent = this.sent;
    this.sent = "";
    return sent;
  }

  isAlone(command: Command): boolean {
    return this.exchange.isAlone(command);
  }
  withdraw(command: Command): boolean {
    return this.exchange.withdraw(command);
  }
  cancel(): void {
    this.cancels++;
  }
  pause(): void {}
  resume(command: Command): void {
    this.resumed.push(command);
  }
  write(messages: (out: Outgoing) => void): void {
    messages(this.exchange.outgoing);
    this.#collect();
  }

  /** Asks for a query that is still to be awaited or iterated over. */
  start(text: string, options: BenchQuery = {}): Query<unknown> {
    const query = new Query<unknown>(this, {
      statement: this.statements.use(text),
      values: options.values ?? [],
      rows: {
        rowMode: "array",
        format: "text",
        columns: options.columns,
        types: options.types ?? TypeRegistry.builtin,
      },
      signal: options.signal,
      ending: options.ending ?? "ready",
    });
    this.exchange.submit(query);
    return query;
  }

  query(text: string, options: BenchQuery = {}): Promise<Result<unknown>> {
    const outcome = this.start(text, options).then((result) => result);
    outcome.catch(() => {});
    return outcome;
  }

  receive(...messages: BackendMessage[]): void {
    for (const message of messages) this.exchange.receive(encodeBackend(message));
  }
}

export const parsed: BackendMessage = { kind: "ParseComplete" };
export const bound: BackendMessage = { kind: "BindComplete" };
export const ready: BackendMessage = { kind: "ReadyForQuery", status: 0x49 };
export const inTransaction: BackendMessage = { kind: "ReadyForQuery", status: 0x54 };
export const done: BackendMessage = { kind: "CommandComplete", tag: "SELECT 1" };
export const row = (value: string): BackendMessage => ({ kind: "DataRow", values: [Buffer.from(value)] });
export const described: BackendMessage = {
  kind: "RowDescription",
  columns: [
    { name: "a", tableOid: 0, attributeNumber: 0, typeOid: 23, typeSize: 4, typeModifier: -1, format: 0 },
  ],
};
export const error = (code: string, routine = "test"): BackendMessage => ({
  kind: "ErrorResponse",
  fields: { severity: "ERROR", code, message: "no", routine },
});
export const answer = (value: string): BackendMessage[] => [
  parsed,
  bound,
  described,
  row(value),
  done,
  ready,
];
