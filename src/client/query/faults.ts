/** Failures of statements that are the caller's or a value's, not the session's. */
import { AssertionError } from "../../base/assert.ts";
import { OperationError, PeerError } from "../../base/errors.ts";

/**
 * A value that cannot be decoded, columns that are not those asked for, or what a codec of the caller's throws,
 * whatever it is, end a query and not the session. A message that is none, and a mistake of ours, end the session.
 */
export function isValueFault(error: unknown): boolean {
  if (error instanceof PeerError) return error.code === "client.bad_value";
  return !(error instanceof AssertionError);
}

export function takenTwice(): OperationError {
  return new OperationError("the rows of a query can be taken once: awaited or iterated, not both", {
    code: "client.query_taken",
    sqlstate: "55000",
    source: "internal",
  });
}

export function useCopy(): OperationError {
  return new OperationError("COPY with STDIN or STDOUT is run by copyFrom and copyTo", {
    code: "client.copy_misused",
    sqlstate: "0A000",
    source: "internal",
  });
}

/** Calls a listener of the caller's. What it throws must not end the session: it becomes a warning of the process. */
export function warnIfThrows<Value>(listener: (value: Value) => void, value: Value): void {
  try {
    listener(value);
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error), "ListenerWarning");
  }
}
