/** Every row of docs/semantics.md is proven: by tests that are there, and scripts that are compared in auto mode. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { compares } from "../../differential/differences.ts";
import { loadScripts } from "../../kit/differential/load.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const behaviour = "test/behaviour";
const all = new Map(loadScripts(`${root}test/differential`).map((script) => [script.name, script]));

/** A test by its file in test/behaviour and the beginning of its title. */
type Proof = readonly [file: string, title: string];

interface Row {
  /** The first column, without its backticks. */
  readonly row: string;
  readonly tests?: readonly Proof[];
  /** Scripts of test/differential, which run with one server and with many. */
  readonly scripts?: readonly string[];
}

const here = (title: string): Proof => ["semantics", title];

const rows: readonly Row[] = [
  {
    row: "currval, lastval",
    tests: [
      ["auto", "nobody sees another's, and who asks in vain holds nothing"],
      ["auto", "where there are servers enough everybody has its own values"],
    ],
    scripts: ["sequences/currval", "sequences/next-client"],
  },
  { row: "now()", tests: [here("now() (%i)")], scripts: ["transactions/now"] },
  {
    row: "pg_backend_pid()",
    tests: [["auto-pids", "as long as there are servers enough, a client is told the id"]],
    scripts: ["identity/backend-pid-told"],
  },
  {
    row: "pg_blocking_pids, pg_locks.pid",
    tests: [["auto-pids", "node-postgres, postgres.js: the process id of the driver is that of the views"]],
    scripts: ["identity/blocking-pids", "identity/locks-view"],
  },
  {
    row: "pg_cancel_backend, pg_terminate_backend",
    tests: [["auto-pids", "a client is cancelled where it runs, not where its number says"]],
    scripts: ["identity/cancel-other", "identity/terminate-other"],
  },
  {
    row: "LISTEN, UNLISTEN, pg_listening_channels()",
    tests: [["auto-listen", "in a transaction LISTEN and UNLISTEN take effect at its end"]],
    scripts: ["notify/channels", "notify/function-listens", "notify/listen-rolled-back"],
  },
  {
    row: "Notifications",
    tests: [
      ["auto-listen", "nothing is lost and nothing doubled"],
      ["auto-listen", "if it is lost its clients are told"],
    ],
    scripts: ["notify/commit-order", "notify/in-transaction-held-back"],
  },
  { row: "The pid of a notification", tests: [here("the pid of a notification (%i)")] },
  {
    row: "pg_notification_queue_usage()",
    tests: [here("pg_notification_queue_usage()")],
    scripts: ["notify/usage"],
  },
  {
    row: "inet_client_addr(), inet_client_port()",
    tests: [here("inet_client_addr(), inet_client_port()")],
  },
  { row: "pg_stat_activity", tests: [here("pg_stat_activity: servers")] },
  {
    row: "Transaction ids (pg_current_xact_id(), txid_current())",
    tests: [here("transaction ids (%i)")],
    scripts: ["transactions/xid"],
  },
  {
    row: "Isolation levels, READ ONLY, DEFERRABLE",
    tests: [here("isolation levels, READ ONLY, DEFERRABLE (%i)")],
    scripts: ["transactions/isolation", "transactions/read-only", "parameters/session-characteristics"],
  },
  {
    row: "statement_timeout, lock_timeout, transaction_timeout",
    tests: [here("statement_timeout, lock_timeout, transaction_timeout (%i)")],
    scripts: ["timeouts/statement", "timeouts/lock", "timeouts/transaction"],
  },
  {
    row: "idle_in_transaction_session_timeout, transaction_timeout with no statement behind BEGIN yet",
    tests: [here("idle_in_transaction_session_timeout (%i)")],
    scripts: [
      "timeouts/idle-in-transaction-local",
      "timeouts/idle-in-transaction-held",
      "timeouts/transaction-held",
    ],
  },
  {
    row: "idle_session_timeout",
    tests: [
      here("idle_session_timeout (%i)"),
      ["auto-timeouts", "idle_session_timeout is not for a client in a transaction"],
    ],
    scripts: ["timeouts/idle-session", "timeouts/idle-session-default"],
  },
  {
    row: "Parameters that nobody has declared (a.b)",
    tests: [here("parameters that nobody has declared (%i)")],
    scripts: ["parameters/startup-custom"],
  },
  {
    row: "Those that a function, a procedure or DO sets under a name that it puts together, for longer than the transaction",
    scripts: ["parameters/names-made-at-run-time", "parameters/reset-of-names-made-at-run-time"],
  },
  {
    row: "Settings beyond ASCII",
    scripts: ["parameters/values-beyond-ascii", "parameters/names-beyond-ascii"],
  },
  {
    row: "A setting that cannot be made any more, as its role or text search configuration was dropped, or a right was revoked",
    tests: [here("a setting that cannot be made any more")],
  },
  {
    row: "Functions, views, triggers and rules that are made or changed beside the pooler",
    tests: [here("what is made beside the pooler")],
  },
  { row: "pg_settings.source", tests: [here("pg_settings.source (%i)")] },
  {
    row: "What is behind a RESET (SET … TO DEFAULT, DISCARD ALL) in the same Query or batch",
    scripts: ["parameters/reset-in-one-query"],
  },
  {
    row: "A reported parameter (TimeZone, DateStyle, …) that a reload of PostgreSQL's configuration changes (ALTER SYSTEM, pg_reload_conf())",
    tests: [["auto-defaults", "what a reload of the server's configuration changes"]],
  },
  {
    row: "ALTER ROLE … SET, ALTER DATABASE … SET",
    scripts: ["parameters/role-defaults-change", "parameters/database-defaults"],
  },
  {
    row: "pg_prepared_statements",
    tests: [
      ["auto", "a client is told of its own statements only"],
      ["auto-prepared", "pg_prepared_statements: what cannot be parsed any more is not listed"],
    ],
    scripts: ["prepared/list", "prepared/list-with-results"],
  },
  {
    row: "SQL's PREPARE",
    tests: [
      here("SQL's PREPARE (%i)"),
      ["auto-reservations", '["prepare", ["prepare p as select \'é\'"], "deallocate p"]'],
    ],
    scripts: ["prepared/sql-prepare", "prepared/sql-prepare-mixed"],
  },
  {
    row: "SQL that names what the protocol has prepared (EXECUTE s after a Parse of s)",
    tests: [
      ["auto", "SQL runs and drops what the protocol has prepared, and the other way round"],
      here("SQL that names what cannot be parsed any more"),
    ],
    scripts: [
      "prepared/execute-what-cannot-be-parsed",
      "prepared/execute-in-batches-what-cannot-be-parsed",
      "prepared/drop-what-cannot-be-parsed",
      "prepared/explain-execute",
      "prepared/sql-names-in-a-batch",
      "prepared/sql-names-skipped-parse",
    ],
  },
  {
    row: "cached plan must not change result type (0A000)",
    tests: [here("cached plan must not change result type (%i)")],
  },
  {
    row: "A Parse under a name of a text that the server has already",
    tests: [here("a Parse of a text that the server has already")],
  },
  {
    row: "The name of a prepared statement in an error",
    tests: [here("the name of a prepared statement in an error")],
    scripts: ["prepared/names-in-errors"],
  },
  {
    row: "Describe of a prepared statement in a transaction that has failed",
    scripts: ["transactions/describe-when-failed"],
  },
  {
    row: "Ending one's side of the connection without a Terminate, and reading on (a half-close, as nc does it)",
    tests: [
      ["cancel", "acceptance 73: has it finished if so configured (cancel_on_client_disconnect)"],
      ["pooling-traffic", "a client that says goodbye in the same write as its last statement"],
    ],
  },
  {
    row: "SET temp_buffers",
    tests: [here("SET temp_buffers: reserves the server, and is refused")],
    scripts: ["parameters/temp-buffers"],
  },
  { row: "Event triggers ON login", tests: [here("event triggers ON login: run when a server is opened")] },
  {
    row: "Names that PostgreSQL makes up for cursors (<unnamed portal 1>)",
    tests: [here("names that PostgreSQL makes up for cursors: count on")],
  },
  {
    row: "setseed(), SET seed",
    tests: [here("setseed(), SET seed (%s)")],
  },
  {
    row: "pg_replication_origin_session_setup",
    tests: [["auto-reservations", "%s: %j, until %s"]],
  },
  {
    row: "pg_backup_start",
    tests: [
      ["auto-reservations", "%s: %j, until %s"],
      ["auto-reservations", "backup: what only parses, may not run or fails does not end it"],
    ],
  },
  { row: "LOAD in DO or in a function", tests: [here("LOAD in DO")] },
  {
    row: "Numbers of a sequence with CACHE",
    tests: [here("numbers of a sequence with CACHE")],
    scripts: ["sequences/cached"],
  },
];

function tableRows(): string[] {
  const [table = ""] =
    /^\| \| In auto mode.*(?:\n\|.*)*/m.exec(readFileSync(`${root}docs/semantics.md`, "utf8")) ?? [];
  const [, , ...lines] = table.split("\n");
  return lines.map((line) => (line.split(" | ")[0] ?? "").replace(/^\| /, "").replaceAll("`", ""));
}

test("the table's rows are these, in this order", () => {
  expect(rows.map(({ row }) => row)).toEqual(tableRows());
});

test.each(rows)("$row: what proves it is there", ({ tests = [], scripts = [] }) => {
  expect(tests.length + scripts.length).toBeGreaterThan(0);
  for (const [file, title] of tests) {
    const path = `${root}${behaviour}/${file}.test.ts`;
    expect(existsSync(path), path).toBe(true);
    expect(readFileSync(path, "utf8").includes(title), `${path} has a test "${title}"`).toBe(true);
  }
  for (const name of scripts) {
    const script = all.get(name);
    expect(script, name).toBeDefined();
    if (script !== undefined) expect(compares("auto", script), `${name} is compared in auto mode`).toBe(true);
  }
});
