/**
 * Pipeline mode as libpq has it: statements are sent without waiting for each other's results, and those up
 * to a Sync are one implicit transaction. After an error the rest of them, up to the Sync, is not run.
 */
import { type Failure, OperationError } from "../../base/errors.ts";
import type { ColumnCodecs, PipelinedOptions } from "../connection-options.ts";
import type { DecodedRow } from "../types/decoded-row.ts";
import { type Command, unexpected } from "./exchange.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Query } from "./query.ts";

/** What a pipeline needs of its connection. */
export interface PipelineHost {
  submit(command: Command): void;
  pipelined(text: string, values: readonly unknown[], options: PipelinedOptions): Query<unknown>;
  flush(): void;
  leave(): void;
}

export class Pipeline {
  readonly #host: PipelineHost;
  #unsynced = false;
  #closed = false;

  /** @internal */
  constructor(host: PipelineHost) {
    this.#host = host;
  }

  /**
   * Sends a statement. Its result comes as soon as the server sends it (see {@link flush}), before the
   * implicit transaction has been committed: only {@link sync} says that. Arrays and objects among the
   * parameters become SQL arrays and JSON, whatever the parameter's type. Behind an error the query rejects
   * with OperationError `client.pipeline_aborted` (25P02).
   */
  query<Columns extends ColumnCodecs>(
    text: string,
    values: readonly unknown[] | undefined,
    options: PipelinedOptions & { readonly columns: Columns; readonly rowMode?: "object" | undefined },
  ): Query<DecodedRow<Columns>>;
  query(
    text: string,
    values: readonly unknown[] | undefined,
    options: PipelinedOptions & { readonly rowMode: "array" },
  ): Query<unknown[]>;
  query(
    text: string,
    values: readonly unknown[] | undefined,
    options: PipelinedOptions & { readonly rowMode: "text" },
  ): Query<(string | null)[]>;
  query(
    text: string,
    values: readonly unknown[] | undefined,
    options: PipelinedOptions & { readonly rowMode: "raw" },
  ): Query<(Buffer | null)[]>;
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: PipelinedOptions,
  ): Query<Row>;
  query(text: string, values: readonly unknown[] = [], options: PipelinedOptions = {}): Query<unknown> {
    this.#checkOpen();
    this.#unsynced = true;
    return this.#host.pipelined(text, values, options);
  }

  /** Asks the server to send what it has, without ending the implicit transaction. */
  flush(): void {
    this.#checkOpen();
    this.#host.flush();
  }

  /**
   * Ends the implicit transaction. Resolves when the server has committed it, or has passed over what an error
   * left of it (whose statements have rejected). Rejects if the commit itself fails.
   */
  async sync(): Promise<void> {
    this.#checkOpen();
    this.#unsynced = false;
    await this.#sync();
  }

  #sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#host.submit(new Sync(resolve, reject));
    });
  }

  /** Sync, if it is owed; then the connection takes other statements again. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (this.#unsynced) await this.#sync();
    } finally {
      this.#host.leave();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new OperationError("the pipeline is closed", {
      code: "client.pipeline_closed",
      sqlstate: "55000",
      source: "internal",
    });
  }
}

class Sync implements Command {
  readonly ending = "ready";
  readonly exclusive = false;
  readonly syncOnly = true;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  #failure: Failure | undefined;

  constructor(resolve: () => void, reject: (error: unknown) => void) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  write(out: Outgoing): void {
    out.sync();
  }

  message(type: number): boolean {
    throw unexpected(type);
  }

  fail(error: Failure): void {
    this.#failure ??= error;
  }

  end(): "done" {
    if (this.#failure === undefined) this.#resolve();
    else this.#reject(this.#failure);
    return "done";
  }
}
