/** Which SQLSTATE a failure reaches a client with, and which under `sqlstate_compat = "pgbouncer"`. */
import { expect, test } from "vitest";
import { type Failure, OperationError } from "../../../src/base/errors.ts";
import { poolerShutdown, queryWaitTimeout } from "../../../src/pool/failures.ts";
import { closedFast, exceededLimit, pqexecDisallowed } from "../../../src/session/limits.ts";
import {
  adminForcedDisconnect,
  administratorShutdown,
  encryptionRequired,
  errorReply,
} from "../../../src/session/replies.ts";
import { decodeBackend } from "../../../src/wire/decode-backend.ts";

const none = {
  idleMs: 0,
  idleTransactionMs: 0,
  queryMs: 0,
  transactionMs: 0,
  queryWaitMs: undefined,
  fastClose: false,
};
const limits = { ...none, idleMs: 1, idleTransactionMs: 1, queryMs: 1 };
const idle = {
  waiting: false,
  silentMs: 1,
  runningMs: undefined,
  transactionMs: undefined,
  inTransaction: false,
};
const relayed = (code: string, sqlstate: string): OperationError =>
  new OperationError("text", { code, sqlstate, source: "server" });

test.each<[string, Failure | undefined, string, string]>([
  ["a wait for a server", queryWaitTimeout(), "53300", "08P01"],
  ["a shutdown", administratorShutdown(), "57P01", "08P01"],
  ["KILL", adminForcedDisconnect(), "57P01", "08P01"],
  ["a login during a shutdown", poolerShutdown(), "57P03", "08P01"],
  ["a login without TLS", encryptionRequired(), "28000", "08P01"],
  ["client_idle_timeout", exceededLimit(limits, idle), "57P05", "08P01"],
  ["idle_transaction_timeout", exceededLimit(limits, { ...idle, inTransaction: true }), "25P03", "08P01"],
  [
    "transaction_timeout",
    exceededLimit({ ...none, transactionMs: 1 }, { ...idle, transactionMs: 1 }),
    "25P04",
    "08P01",
  ],
  ["server_fast_close", closedFast(), "57P01", "08P01"],
  ["disable_pqexec", pqexecDisallowed(), "0A000", "08P01"],
  ["query_timeout", exceededLimit(limits, { ...idle, runningMs: 1 }), "57014", "08P01"],
  ["a server's refusal", relayed("pool.server_refused", "28P01"), "28P01", "28P01"],
  ["a value that a server refuses", relayed("session.startup_parameter", "22023"), "22023", "22023"],
  ["RELOAD that fails", relayed("console.reload_failed", "F0000"), "F0000", "F0000"],
])("sqlstate_compat: %s", (_situation, failure, postgres, pgbouncer) => {
  if (failure === undefined) throw new Error("the limit is exceeded");
  const codes = [false, true].map((asPgbouncer) => {
    const reply = errorReply("FATAL", failure, asPgbouncer);
    const message = decodeBackend(reply, 0, reply.length);
    return message.kind === "ErrorResponse" ? message.fields.code : message.kind;
  });
  expect(codes).toEqual([postgres, pgbouncer]);
});
