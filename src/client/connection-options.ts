/** What a connection and its queries can be asked for, and why they refuse. */
import { OperationError } from "../base/errors.ts";
import type { ErrorFields } from "../wire/fields.ts";
import type { Result } from "./query/result.ts";
import type { ResultFormat, RowMode } from "./query/rows.ts";
import type { TypeCodec } from "./types/codec.ts";
import type { TypeRegistry } from "./types/registry.ts";

/** Codecs by column name: what a result must have, and what its rows are typed by. */
export type ColumnCodecs = Readonly<Record<string, TypeCodec>>;

/** What a statement in a pipeline may ask for; a signal is not part of it, because others travel behind. */
export interface PipelinedOptions {
  /** In which format values travel; what they become is the same. "text" if not given. */
  readonly format?: ResultFormat | undefined;
  /** "object" if not given. */
  readonly rowMode?: RowMode | undefined;
  /** The columns the result must have, with their types; anything else is an error before the first row. */
  readonly columns?: ColumnCodecs | undefined;
  /** Overrides the connection's types for this query. */
  readonly types?: TypeRegistry | undefined;
}

export interface QueryOptions extends PipelinedOptions {
  /** Cancels the query on the server; it rejects with the signal's reason. Nothing is sent behind it meanwhile. */
  readonly signal?: AbortSignal | undefined;
}

export interface ExecuteOptions<Row> {
  /** Cancels on the server; the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** "object" if not given. */
  readonly rowMode?: RowMode | undefined;
  /** Overrides the connection's types. */
  readonly types?: TypeRegistry | undefined;
  /** Hears each result as soon as it is there, also those before an error. */
  readonly onResult?: ((result: Result<Row>) => void) | undefined;
}

export interface ConnectionOptions {
  /** How values become JavaScript's and back; the built-in types if not given. */
  readonly types?: TypeRegistry | undefined;
  /** How often a text is run before it is prepared under a name; 5 if not given, Infinity for never. */
  readonly prepareThreshold?: number | undefined;
  /** Statements that are kept prepared; 100 if not given, 0 for none. */
  readonly statementCacheSize?: number | undefined;
  /** Hears notices and warnings of the server. What it throws becomes a warning of the process. */
  readonly onNotice?: ((notice: ErrorFields) => void) | undefined;
  /** Milliseconds that delivering a cancel request may take; 10,000 if not given. */
  readonly cancelTimeoutMs?: number | undefined;
}

/** As PQtransactionStatus: outside of a transaction, running a statement, in a block, in a failed one, no session. */
export type TransactionState = "idle" | "active" | "in-transaction" | "failed" | "unknown";

export const prepareThresholdDefault = 5;
export const statementCacheSizeDefault = 100;
export const cancelTimeoutMsDefault = 10_000;

export function pipelineOpen(): OperationError {
  return new OperationError("a pipeline is open on this connection: use it, or close it first", {
    code: "client.pipeline_open",
    sqlstate: "55000",
    source: "internal",
  });
}

export function connectionClosed(): OperationError {
  return new OperationError("the connection is closed", {
    code: "client.connection_closed",
    sqlstate: "08003",
    source: "internal",
  });
}

/** PostgreSQL would only warn, and the first COMMIT would then commit what the outer block has done. */
export function transactionOpen(): OperationError {
  return new OperationError("a transaction is open on this connection: end it first, or use SAVEPOINT", {
    code: "client.transaction_open",
    sqlstate: "25001",
    source: "internal",
  });
}
