/** Failures of statements that are the caller's or a value's, not the session's. */
import { Failure, OperationError } from "../../base/errors.ts";

/** A value that cannot be decoded, or columns that are not those asked for, end a query and not the session. */
export function isValueFault(error: unknown): error is Failure {
  return error instanceof OperationError || (error instanceof Failure && error.code === "client.bad_value");
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
