/** Why a client that listens is ended. */
import { type Failure, OperationError } from "../../../base/errors.ts";

/** As PostgreSQL ends a session that is told to, which is what has become of the part of it that listened. */
export function listeningLost(cause: Failure): OperationError {
  return new OperationError("terminating connection because the connection that listened for it was lost", {
    code: "session.listener_lost",
    sqlstate: "57P01",
    source: "server",
    detail: "Notifications may have been missed.",
    hint: "Connect again, listen, and look for what was notified meanwhile.",
    cause,
  });
}

/** The SQLSTATE with which PostgreSQL refuses a NOTIFY when its own queue is full (async.c PreCommit_Notify). */
export function tooManyNotifications(): OperationError {
  return new OperationError("terminating connection because it does not take its notifications", {
    code: "session.notifications",
    sqlstate: "54000",
    source: "client",
    hint: "Read from the connection while it listens.",
  });
}

/** No server would listen for the client, or it is on another host than the shared listener. */
export function entryFailed(): OperationError {
  return new OperationError("server does not listen for this client", {
    code: "session.listen_refused",
    sqlstate: "57P01",
    source: "server",
    hint: "Servers and the shared listener of a pool have to be connected to the same host.",
  });
}
