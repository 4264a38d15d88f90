/** What a client is told whose login comes to nothing, in PgBouncer's words where it has some. */
import { OperationError } from "../base/errors.ts";

export function loginTimeout(): OperationError {
  return new OperationError("client_login_timeout", {
    code: "login.client_login_timeout",
    sqlstate: "57014",
    source: "client",
  });
}

export function noSuchDatabase(name: string): OperationError {
  return new OperationError(`no such database: ${name}`, {
    code: "login.no_such_database",
    sqlstate: "3D000",
    source: "client",
  });
}

/** A mistake of ours, which the log has told more about. */
export function internalFailure(): OperationError {
  return new OperationError("internal error", {
    code: "login.internal",
    sqlstate: "XX000",
    source: "internal",
  });
}
