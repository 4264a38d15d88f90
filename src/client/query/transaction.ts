/** A transaction block as a value: committed on purpose, rolled back whenever it is left otherwise. */
import { OperationError } from "../../base/errors.ts";
import type { Result } from "./result.ts";

export interface TransactionOptions {
  readonly isolation?: "read uncommitted" | "read committed" | "repeatable read" | "serializable" | undefined;
  readonly readOnly?: boolean | undefined;
  /** Only of use with serializable and read-only. */
  readonly deferrable?: boolean | undefined;
}

/** What a transaction needs of its connection. */
export interface TransactionHost {
  command(sql: string): PromiseLike<Result<unknown>>;
  /** False once the session is over, or is being closed: nothing is left to roll back. */
  usable(): boolean;
}

export function beginStatement(options: TransactionOptions): string {
  const modes: string[] = [];
  if (options.isolation !== undefined) modes.push(`ISOLATION LEVEL ${options.isolation.toUpperCase()}`);
  if (options.readOnly !== undefined) modes.push(options.readOnly ? "READ ONLY" : "READ WRITE");
  if (options.deferrable !== undefined) modes.push(options.deferrable ? "DEFERRABLE" : "NOT DEFERRABLE");
  return `BEGIN ${modes.join(", ")}`.trim();
}

/** `await using transaction = await connection.begin()`: rolls back at the end of the block unless committed. */
export class Transaction {
  readonly #host: TransactionHost;
  #open = true;

  /** @internal After BEGIN. */
  constructor(host: TransactionHost) {
    this.#host = host;
  }

  /** Neither committed nor rolled back, and its session is there. */
  get open(): boolean {
    return this.#open && this.#host.usable();
  }

  /**
   * Rejects with ServerError if the server refuses, and with OperationError
   * `client.transaction_rolled_back` (25P02) if an earlier error had already ended the transaction: then
   * PostgreSQL answers COMMIT with ROLLBACK, and no error.
   */
  async commit(): Promise<void> {
    const { command } = await this.#end("COMMIT");
    if (command !== "ROLLBACK") return;
    throw new OperationError("the transaction had failed, so COMMIT has rolled it back", {
      code: "client.transaction_rolled_back",
      sqlstate: "25P02",
      source: "internal",
    });
  }

  async rollback(): Promise<void> {
    await this.#end("ROLLBACK");
  }

  /** Rolls back unless it has been ended, or its session is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.open) return;
    try {
      await this.rollback();
    } catch (error) {
      // With the session the transaction is gone as well.
      if (this.#host.usable()) throw error;
    }
  }

  #end(sql: string): PromiseLike<Result<unknown>> {
    if (!this.#open) {
      throw new OperationError("the transaction has been ended already", {
        code: "client.transaction_ended",
        sqlstate: "25000",
        source: "internal",
      });
    }
    // If the connection does not take it now, the transaction stays open.
    const ending = this.#host.command(sql);
    this.#open = false;
    return ending;
  }
}
