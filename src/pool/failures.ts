/** What clients are told when no server can be had: the server's own refusal, or PgBouncer's words. */
import { Failure, OperationError } from "../base/errors.ts";
import { ConnectError } from "../client/errors.ts";
import type { ErrorFields } from "../wire/fields.ts";

/** PgBouncer cuts the server's text about here. */
const cachedTextMax = 100;

/** Code of the one failure that the source of connect options may have and that clients are told as it is. */
const databaseRemoved = "pool.database_removed";

/** Code of all failures to connect that are not the server's own refusal. */
export const unreached = "pool.connect_failed";

/** Code of the server's own refusal. */
const refused = "pool.server_refused";

/** Code of {@link mistake}. */
export const internal = "server.internal";

/** The text that says which address was tried and what happened there. */
export function reasonOf(failure: Failure): string {
  return failure.cause instanceof Error ? failure.cause.message : failure.message;
}

/** What became of the attempt in PgBouncer's words, which say little: `connect failed`, `login failed`. */
export function outcomeOf(failure: Failure): string {
  return failure.code === refused ? "login failed" : failure.message;
}

export function poolerShutdown(): OperationError {
  return new OperationError("pooler is shutting down", {
    code: "pool.shutdown",
    sqlstate: "57P03",
    source: "internal",
    retrySafe: true,
  });
}

/** In PgBouncer's words: SHUTDOWN WAIT_FOR_SERVERS, and this client needs another server. */
export function serverShuttingDown(): OperationError {
  return new OperationError("server shutting down", {
    code: "pool.server_shutdown",
    sqlstate: "57P01",
    source: "internal",
    retrySafe: true,
  });
}

/**
 * What a failed connect means to a client: the server's own refusal in its own words, or PgBouncer's words
 * for the rest. Which address was tried is for the log, not for clients.
 */
export function connectFailure(error: unknown): Failure {
  const refusal = error instanceof ConnectError ? error.serverError : undefined;
  if (refusal !== undefined) {
    return new OperationError(refusal.message, {
      code: refused,
      sqlstate: refusal.code,
      source: "server",
      retrySafe: true,
      ...(refusal.detail === undefined ? {} : { detail: refusal.detail }),
      ...(refusal.hint === undefined ? {} : { hint: refusal.hint }),
      cause: error,
    });
  }
  if (error instanceof OperationError && error.code === databaseRemoved) return error;
  const timedOut = error instanceof ConnectError && error.code === "client.connect_timeout";
  const loginFailed = error instanceof ConnectError && error.code === "client.login_failed";
  const message = timedOut ? "connect timeout" : loginFailed ? "server login failed" : "connect failed";
  return new OperationError(message, {
    code: unreached,
    sqlstate: error instanceof ConnectError ? error.sqlstate : "08006",
    source: "server",
    retrySafe: true,
    cause: error,
  });
}

/** The server said more after its login than it was asked, its last `words` perhaps, so that nobody can tell what state it is in. */
export function uncleanLogin(words: ErrorFields | undefined): OperationError {
  return new OperationError(words?.message ?? "server login failed", {
    code: words === undefined ? unreached : refused,
    sqlstate: words?.code ?? "08P01",
    source: "server",
    retrySafe: true,
  });
}

/** While a failed login is not tried again (`server_login_retry`). */
export function cachedFailure(failure: Failure): OperationError {
  const text = failure.message.slice(0, cachedTextMax);
  return new OperationError(`server login has been failing, cached error: ${text} (server_login_retry)`, {
    code: "pool.server_login_failing",
    sqlstate: failure.sqlstate,
    source: "server",
    retrySafe: true,
  });
}

/** The client has waited for `failover_timeout`; `detail`: why there is none. */
export function noPrimary(detail: string = ""): OperationError {
  return new OperationError("there is no primary to run this on (failover_timeout)", {
    code: "pool.no_primary",
    sqlstate: "57P03",
    source: "server",
    retrySafe: true,
    ...(detail === "" ? {} : { detail }),
    hint: "SHOW NODES of the console tells the state of each node.",
  });
}

/** The client has logged in meanwhile, or would have: no node answers at all. In pgpool-II's words and with its SQLSTATE. */
export function noNode(reasons: string): OperationError {
  return new OperationError("pgsluice is not accepting any new connections", {
    code: "pool.no_node",
    sqlstate: "08S01",
    source: "server",
    retrySafe: true,
    detail: `all backend nodes are down, pgsluice requires at least one valid node: ${reasons}`,
    hint: "Repair the backend nodes. They are asked all the time, so nothing has to be started again.",
  });
}

/** A login to a database that is not served without some of its nodes; the shape is that of pgpool-II's parallel query mode. */
export function requiredNodeDown(database: string, nodes: string): OperationError {
  return new OperationError(`pgsluice does not serve database "${database}" while a required node is down`, {
    code: "pool.required_node_down",
    sqlstate: "08S01",
    source: "server",
    retrySafe: true,
    detail: nodes,
    hint: "Repair the node, or take it from required_nodes. Nodes are asked all the time, so nothing has to be started again.",
  });
}

/** Nothing was sent to a server, because none could be had for `failover_timeout`. */
export function isNoPrimary({ code }: Failure): boolean {
  return code === "pool.no_primary";
}

/** The node that the client's server is on is not the primary any more, or nobody can tell that it is. */
export function primaryChanged(reason: string): OperationError {
  return new OperationError(`the connection to the primary was given up: ${reason}`, {
    code: "pool.primary_changed",
    sqlstate: "08006",
    source: "server",
  });
}

/** A standby is not to be read from any more. Told to whoever cannot read elsewhere. */
export function standbyLost(node: string, state: string): OperationError {
  return new OperationError(`the connection to standby "${node}" was given up: it is ${state}`, {
    code: "pool.standby_lost",
    sqlstate: "08006",
    source: "server",
  });
}

/** The connection ended before it was known whether what the client had sent was committed. */
export function fateUnknown(failure: Failure): OperationError {
  return new OperationError(
    "connection to the primary was lost: whether the last statement was committed is not known",
    {
      code: "pool.fate_unknown",
      sqlstate: "08007",
      source: "server",
      detail: failure.message,
      hint: "Look for its effects before you repeat it.",
      cause: failure,
    },
  );
}

/** As many clients wait as may (`max_waiting_clients`). */
export function tooManyWaiting(): OperationError {
  return new OperationError("too many clients are waiting for a server (max_waiting_clients)", {
    code: "pool.too_many_waiting",
    sqlstate: "53300",
    source: "internal",
    retrySafe: true,
  });
}

/** The client has waited for `query_wait_timeout`. */
export function queryWaitTimeout(): OperationError {
  return new OperationError("query_wait_timeout", {
    code: "pool.query_wait_timeout",
    sqlstate: "53300",
    source: "internal",
    retrySafe: true,
  });
}

/** A mistake of ours while replies were read or a unit was sent. It ends this server and whoever has it: nobody else. */
export function mistake(cause: unknown): OperationError {
  return new OperationError("internal error", {
    code: internal,
    sqlstate: "XX000",
    source: "internal",
    cause,
  });
}
