/** What statements do to their session, and what of them refuses to run in a transaction block. */
import { describe, expect, test } from "vitest";
import { Catalog, explain, type SessionEffect } from "../../../src/sql/index.ts";
import { knownTags } from "../../../src/sql/statement-table.ts";
import { classified } from "./classifier-kit.ts";
import { ddlStatements, otherStatements } from "./statements.ts";

test("every statement of the grammar is understood", () => {
  const tags = new Set<string>();
  for (const text of [...ddlStatements, ...otherStatements]) {
    const { statements, kind } = classified(text);
    expect(statements, text).toHaveLength(1);
    expect(kind === "ddl", text).toBe(ddlStatements.includes(text));
    expect(kind, text).not.toBe("unknown");
    for (const { tag } of statements) tags.add(tag);
  }
  // CREATE GROUP and CREATE USER are CREATE ROLE, CREATE LANGUAGE is kept for old dumps.
  expect(knownTags().filter((tag) => !tags.has(tag))).toEqual([]);
});

const session = "session";
const effects: readonly (readonly [string, ...SessionEffect[]])[] = [
  ["SET work_mem = '4MB'", { kind: "set_parameter", name: "work_mem", values: ["4MB"], scope: session }],
  ["SET LOCAL a.B = 1", { kind: "set_parameter", name: "a.b", values: ["1"], scope: "local" }],
  [
    "SET search_path TO a, \"B\", 'c d'",
    { kind: "set_parameter", name: "search_path", values: ["a", "B", "c d"], scope: session },
  ],
  ["SET x = true", { kind: "set_parameter", name: "x", values: ["true"], scope: session }],
  ["SET x = 'é'", { kind: "set_parameter", name: "x", values: ["é"], scope: session }],
  ["SET x = ''", { kind: "set_parameter", name: "x", values: [""], scope: session }],
  ["SET x = 0", { kind: "set_parameter", name: "x", values: ["0"], scope: session }],
  ["SET TIME ZONE 'UTC'", { kind: "set_parameter", name: "timezone", values: ["UTC"], scope: session }],
  ["SET TIME ZONE LOCAL", { kind: "reset", name: "timezone", scope: session }],
  [
    "SET TIME ZONE INTERVAL '1' HOUR",
    { kind: "set_parameter", name: "timezone", values: null, scope: session },
  ],
  ["SET NAMES 'utf8'", { kind: "set_parameter", name: "client_encoding", values: ["utf8"], scope: session }],
  ["SET SCHEMA 's'", { kind: "set_parameter", name: "search_path", values: ["s"], scope: session }],
  ["SET x TO DEFAULT", { kind: "reset", name: "x", scope: session }],
  ["RESET x", { kind: "reset", name: "x", scope: session }],
  ["RESET ALL", { kind: "reset_all" }],
  ["DISCARD ALL", { kind: "discard", target: "all" }],
  ["DISCARD TEMP", { kind: "discard", target: "temp" }],
  ["DISCARD PLANS", { kind: "discard", target: "plans" }],
  ["DISCARD SEQUENCES", { kind: "discard", target: "sequences" }],
  ["SET ROLE r", { kind: "set_role", role: "r", scope: session, reset: false }],
  ["SET ROLE NONE", { kind: "set_role", role: null, scope: session, reset: false }],
  ["SET LOCAL ROLE r", { kind: "set_role", role: "r", scope: "local", reset: false }],
  ["RESET ROLE", { kind: "set_role", role: null, scope: session, reset: true }],
  ["SET SESSION AUTHORIZATION r", { kind: "set_session_authorization", user: "r", scope: session }],
  ["RESET SESSION AUTHORIZATION", { kind: "set_session_authorization", user: null, scope: session }],
  [
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, NOT DEFERRABLE",
    { kind: "set_transaction", modes: { isolation: "serializable", readOnly: true, deferrable: false } },
  ],
  ["SET TRANSACTION SNAPSHOT 'x'", { kind: "set_transaction_snapshot", snapshot: "x" }],
  [
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    { kind: "set_session_characteristics", modes: { readOnly: false } },
  ],
  [
    "SELECT set_config('A', 'b', false), set_config('c', NULL, 'f')",
    { kind: "set_config", name: "a", value: "b", scope: session },
    { kind: "set_config", name: "c", value: null, scope: session },
  ],
  ["SELECT set_config($1, $2, true)", { kind: "set_config", name: null, value: null, scope: "local" }],
  ["SELECT setseed(0.5)", { kind: "set_seed" }],
  ["SET SEED TO 0.5", { kind: "set_seed" }],
  [
    "PREPARE p (int, text[]) AS SELECT $1",
    {
      kind: "prepare",
      name: "p",
      parameterTypes: ["pg_catalog.int4", "text[]"],
      statement: { start: 27, end: 36 },
    },
  ],
  ["EXECUTE p(1)", { kind: "execute", name: "p" }],
  ["EXPLAIN EXECUTE p", { kind: "execute", name: "p" }],
  ["DEALLOCATE p", { kind: "deallocate", name: "p" }],
  ["DEALLOCATE ALL", { kind: "deallocate", name: null }],
  ["LISTEN c", { kind: "listen", channel: "c" }],
  ["UNLISTEN *", { kind: "unlisten", channel: null }],
  ["NOTIFY c, 'x'", { kind: "notify", channel: "c" }],
  ["SELECT pg_notify('c', $1)", { kind: "notify", channel: "c" }],
  ["SELECT pg_notify($1, $2)", { kind: "notify", channel: null }],
  [
    "DECLARE c BINARY NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
    { kind: "declare_cursor", name: "c", withHold: true, scroll: false, binary: true },
  ],
  [
    "DECLARE c CURSOR FOR SELECT 1",
    { kind: "declare_cursor", name: "c", withHold: false, scroll: undefined, binary: false },
  ],
  ["CLOSE c", { kind: "close_cursor", name: "c" }],
  ["CLOSE ALL", { kind: "close_cursor", name: null }],
  ["FETCH 5 FROM c", { kind: "fetch", name: "c", move: false }],
  ["MOVE c", { kind: "fetch", name: "c", move: true }],
  ["CREATE TEMP TABLE t ()", { kind: "temp_object", action: "create", object: "table", name: "t" }],
  ["CREATE TABLE pg_temp.t ()", { kind: "temp_object", action: "create", object: "table", name: "t" }],
  ["CREATE TEMP TABLE t AS SELECT 1", { kind: "temp_object", action: "create", object: "table", name: "t" }],
  ["SELECT 1 INTO TEMP t", { kind: "temp_object", action: "create", object: "table", name: "t" }],
  ["CREATE TEMP VIEW v AS SELECT 1", { kind: "temp_object", action: "create", object: "view", name: "v" }],
  ["CREATE TEMP SEQUENCE s", { kind: "temp_object", action: "create", object: "sequence", name: "s" }],
  [
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    { kind: "temp_object", action: "create", object: "function", name: "f" },
  ],
  [
    "DROP TABLE pg_temp.a, b, s.c",
    { kind: "temp_object", action: "drop", object: "table", name: "a" },
    { kind: "drop_object", object: "table", names: ["b"] },
  ],
  ["CREATE TABLE t ()"],
  ["SELECT pg_advisory_lock(1)", { kind: "advisory_lock", scope: session, action: "lock" }],
  ["SELECT pg_try_advisory_lock_shared(1, 2)", { kind: "advisory_lock", scope: session, action: "lock" }],
  ["SELECT pg_advisory_xact_lock(1)", { kind: "advisory_lock", scope: "transaction", action: "lock" }],
  ["SELECT pg_advisory_unlock(1)", { kind: "advisory_lock", scope: session, action: "unlock" }],
  ["SELECT pg_advisory_unlock_all()", { kind: "advisory_lock", scope: session, action: "unlock_all" }],
  ["SELECT nextval('s')", { kind: "sequence", operation: "nextval", sequence: "s", implicit: false }],
  ["SELECT currval($1)", { kind: "sequence", operation: "currval", sequence: null, implicit: false }],
  ["SELECT lastval()", { kind: "sequence", operation: "lastval", sequence: null, implicit: false }],
  ["SELECT setval('s', 1)", { kind: "sequence", operation: "setval", sequence: "s", implicit: false }],
  ["SELECT lo_open(1, 2)", { kind: "large_object", descriptor: true }],
  ["SELECT lo_create(1)", { kind: "large_object", descriptor: false }],
  ["SELECT pg_export_snapshot()", { kind: "export_snapshot" }],
  ["SELECT pg_replication_origin_session_setup('a')", { kind: "replication_origin", action: "setup" }],
  ["SELECT pg_replication_origin_session_reset()", { kind: "replication_origin", action: "reset" }],
  ["SELECT pg_replication_origin_xact_reset()", { kind: "replication_origin", action: "local" }],
  [
    "SELECT pg_create_physical_replication_slot('a', true, true)",
    { kind: "replication_slot", action: "create" },
  ],
  ["SELECT pg_drop_replication_slot('a')", { kind: "replication_slot", action: "drop" }],
  ["SELECT pg_backup_start('a')", { kind: "backup", action: "start", certain: false }],
  ["SELECT pg_backup_stop()", { kind: "backup", action: "stop", certain: true }],
  [
    "SELECT lsn, labelfile FROM pg_backup_stop(wait_for_archive => false) AS x",
    { kind: "backup", action: "stop", certain: true },
  ],
  ["SELECT * FROM pg_backup_stop() WHERE false", { kind: "backup", action: "stop", certain: false }],
  ["SELECT * FROM pg_backup_stop(), t", { kind: "backup", action: "stop", certain: false }],
  ["SELECT pg_backup_stop() FROM t", { kind: "backup", action: "stop", certain: false }],
  ["SELECT pg_backup_stop() LIMIT 0", { kind: "backup", action: "stop", certain: false }],
  ["LOAD 'x'", { kind: "load", file: "x" }],
  ["COPY t FROM STDIN", { kind: "copy", direction: "from", with: "client" }],
  ["COPY (SELECT 1) TO STDOUT", { kind: "copy", direction: "to", with: "client" }],
  ["COPY t FROM '/x'", { kind: "copy", direction: "from", with: "file" }],
  ["COPY t TO PROGRAM 'x'", { kind: "copy", direction: "to", with: "program" }],
  ["LOCK t", { kind: "lock_table" }],
  ["DO 'x'", { kind: "do" }],
  ["CALL p()", { kind: "call" }],
  ["SELECT 1"],
];

describe("effects", () => {
  test.each(effects)("%s", (...row) => {
    const [text, ...expected] = row as [string, ...SessionEffect[]];
    expect(classified(text).effects).toEqual(expected);
  });
});

test.each([
  "SELECT set_config('a', $1, false)",
  "SELECT set_config('a', 'b', $1)",
  "SELECT set_config('a', 'b', false) FROM t",
  "SELECT set_config('a', 'b', false) WHERE false",
  "SELECT set_config('a', 'b', false) LIMIT 0",
  "SELECT set_config('a', 'b', false), generate_series(1, 0)",
  "SELECT upper(set_config('a', 'b', false))",
  "SELECT set_config(value => 'b', is_local => false, setting_name => 'a')",
])("it is opaque what this sets: %s", (text) => {
  const found = classified(text);
  expect(found.opaque).toBe("setting_not_constant");
  expect(found.effects).toEqual([]);
});

test("the statement inside of PREPARE is found", () => {
  for (const head of [
    "PREPARE p AS ",
    'prepare "as (" (int) as\n',
    "PREPARE /* as */ p -- as\n (numeric(1,2)) AS ",
    'SELECT 1; PREPARE "é" AS ',
  ]) {
    const [effect] = classified(`${head}SELECT 'as' ; `).effects;
    expect(effect).toMatchObject({
      kind: "prepare",
      statement: { start: Buffer.byteLength(head), end: Buffer.byteLength(`${head}SELECT 'as'`) },
    });
  }
});

test.each([
  "VACUUM",
  "CREATE DATABASE d",
  "CREATE INDEX CONCURRENTLY ON t (a)",
  "DROP INDEX CONCURRENTLY i",
  "REINDEX (CONCURRENTLY) TABLE t",
  "REINDEX DATABASE d",
  "ALTER SYSTEM SET a = b",
  "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
  "COMMIT PREPARED 'x'",
  "CLUSTER",
])("refuses a transaction block: %s", (text) => {
  expect(classified(text).outsideTransactionOnly).toBe(true);
});

test.each(["ANALYZE", "CREATE INDEX ON t (a)", "REINDEX TABLE t", "CLUSTER t", "PREPARE TRANSACTION 'x'"])(
  "does not refuse it: %s",
  (text) => {
    expect(classified(text).outsideTransactionOnly).toBe(false);
  },
);

test("a comment may speak to the pooler", () => {
  expect(classified("/* pgsluice: primary */ SELECT 1").hints).toEqual([
    { name: "primary", value: undefined },
  ]);
  expect(classified("SELECT 1 -- pgsluice: node=b, cache=10s").hints).toEqual([
    { name: "node", value: "b" },
    { name: "cache", value: "10s" },
  ]);
  expect(classified("SELECT '/* pgsluice: primary */'").hints).toEqual([]);
});

test("what may be kept is what depends on the data alone", () => {
  for (const text of ["SELECT upper(a) FROM t", "SELECT to_char(a, 'x'), count(*) FROM t"]) {
    expect(classified(text).cacheable, text).toBe(true);
  }
  for (const text of ["SELECT now()", "SELECT current_date", "SELECT random()", "SELECT * FROM pg_class"]) {
    expect(classified(text).cacheable, text).toBe(false);
  }
});

test("an explanation has a reason for every no", () => {
  expect(
    explain(classified("SELECT pg_advisory_lock(1), mine(2) FROM s.t FOR UPDATE"), Catalog.assumed),
  ).toMatchObject({
    kind: "write",
    statements: ["SelectStmt"],
    route: "primary",
    routeReason: "locks",
    shareable: false,
    shareableReason: "locking",
    opaque: true,
    opaqueReason: "unknown_function",
    multiplexed: false,
    reservations: ["advisory_lock"],
    functions: [
      { name: "pg_advisory_lock", volatility: "volatile" },
      { name: "mine", volatility: "unknown", reason: "unknown_function" },
    ],
    relations: ["s.t"],
  });
});
