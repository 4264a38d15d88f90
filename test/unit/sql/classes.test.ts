/** Statement by statement: what kind, who may share it, where it may run. */
import { describe, expect, test } from "vitest";
import { classified } from "./classifier-kit.ts";

/** Text, kind, shareable, opaque, route. */
type Row = readonly [string, string, true | string, false | string, string];

const reads: readonly Row[] = [
  ["SELECT 1", "read", true, false, "any"],
  ["SELECT * FROM t WHERE id = $1", "read", true, false, "any"],
  [
    "select a.b, c from s.t as a left join u using (x) where a.y in (select z from w)",
    "read",
    true,
    false,
    "any",
  ],
  ["VALUES (1), (2)", "read", true, false, "any"],
  ["TABLE t", "read", true, false, "any"],
  ["WITH x AS (SELECT 1) SELECT * FROM x", "read", true, false, "any"],
  ["SELECT count(*), max(a) FROM t GROUP BY b HAVING count(*) > 1", "read", true, false, "any"],
  ["SELECT now(), current_date", "read", true, false, "any"],
  ["SELECT current_setting('x')", "read", true, false, "any"],
  ["SELECT random()", "read", "volatile_function", false, "any"],
  ["SELECT gen_random_uuid()", "read", "volatile_function", false, "any"],
  ["SELECT pg_sleep(1)", "read", "volatile_function", false, "any"],
  ["SELECT pg_catalog.clock_timestamp()", "read", "volatile_function", false, "any"],
  ["SELECT pg_backend_pid()", "read", "session_state", false, "session_state"],
  ["SELECT * FROM pg_cursors", "read", "session_state", false, "session_state"],
  ["SELECT * FROM pg_catalog.pg_locks", "read", "session_state", false, "session_state"],
  ["SELECT * FROM pg_stat_database", "read", true, false, "node_local"],
  ["SELECT * FROM pg_class", "read", true, false, "any"],
  ["SELECT pg_is_in_recovery()", "read", "volatile_function", false, "node_local"],
  ["SELECT txid_current()", "read", "volatile_function", false, "transaction_id"],
  ["SELECT * FROM t TABLESAMPLE system (1)", "read", true, false, "any"],
  ["SHOW work_mem", "read", "session_state", false, "session_state"],
  ["EXPLAIN SELECT 1", "read", "not_a_read", false, "any"],
  ["EXPLAIN INSERT INTO t VALUES (1)", "read", "not_a_read", false, "any"],
  ["EXPLAIN (ANALYZE off) DELETE FROM t", "read", "not_a_read", false, "any"],
  ["COPY t TO STDOUT", "read", "session_effect", false, "any"],
  ["FETCH 10 FROM c", "read", "session_effect", false, "session_state"],
  ["DECLARE c CURSOR FOR SELECT 1", "read", "session_effect", false, "any"],
];

const writes: readonly Row[] = [
  ["INSERT INTO t VALUES (1)", "write", "not_a_read", false, "writes"],
  ["UPDATE t SET a = 1", "write", "not_a_read", false, "writes"],
  ["DELETE FROM t", "write", "not_a_read", false, "writes"],
  ["MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "write", "not_a_read", false, "writes"],
  ["UPDATE pg_settings SET setting = 'x'", "write", "not_a_read", "relation_write", "writes"],
  ["UPDATE pg_catalog.pg_settings SET setting = 'x'", "write", "not_a_read", "relation_write", "writes"],
  ["TRUNCATE t", "write", "not_a_read", false, "writes"],
  ["WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "write", "not_a_read", false, "writes"],
  ["SELECT 1 FROM t FOR UPDATE", "write", "locking", false, "locks"],
  ["SELECT * FROM (SELECT 1 FROM t FOR SHARE) AS x", "write", "locking", false, "locks"],
  ["SELECT nextval('s')", "write", "session_effect", false, "writes"],
  ["SELECT pg_notify('a', 'b')", "write", "session_effect", false, "writes"],
  ["SELECT lo_unlink(1)", "write", "session_effect", false, "writes"],
  ["SELECT pg_reload_conf()", "write", "volatile_function", false, "writes"],
  [
    "SELECT query_to_xml('select 1', true, true, '')",
    "write",
    "volatile_builtin",
    "volatile_builtin",
    "volatile_function",
  ],
  ["SELECT mine(1)", "write", "unknown_function", "unknown_function", "unknown"],
  ["EXPLAIN ANALYZE DELETE FROM t", "write", "not_a_read", false, "writes"],
  ["COPY t FROM STDIN", "write", "session_effect", false, "writes"],
  ["COPY t TO '/tmp/x'", "write", "session_effect", false, "writes"],
  ["DO 'begin end'", "write", "do", "do", "writes"],
  ["CALL p()", "write", "call", "call", "writes"],
  ["EXECUTE p", "write", "execute", "execute", "session_state"],
];

const others: readonly Row[] = [
  ["", "empty", "not_a_read", false, "any"],
  [" ; -- nothing\n /* at /* all */ */ ;", "empty", "not_a_read", false, "any"],
  ["BEGIN", "transaction", "not_a_read", false, "any"],
  ["SAVEPOINT a", "transaction", "not_a_read", false, "any"],
  ["PREPARE TRANSACTION 'x'", "transaction", "not_a_read", false, "writes"],
  ["SET work_mem = '1MB'", "utility", "session_effect", false, "any"],
  ["SET TIME ZONE INTERVAL '1' HOUR", "utility", "setting_not_constant", "setting_not_constant", "any"],
  ["DISCARD ALL", "utility", "session_effect", false, "any"],
  ["LISTEN a", "utility", "session_effect", false, "session_state"],
  ["NOTIFY a", "utility", "session_effect", false, "writes"],
  ["LOCK TABLE t", "utility", "session_effect", false, "locks"],
  ["LOAD 'x'", "utility", "session_effect", false, "session_state"],
  ["VACUUM", "utility", "not_a_read", false, "utility"],
  ["CREATE TABLE t (a int)", "ddl", "ddl", "ddl", "ddl"],
  ["SELECT 1 INTO x", "ddl", "ddl", "ddl", "ddl"],
  ["DROP FUNCTION f", "ddl", "ddl", "ddl", "ddl"],
  ["SELECT 1; SELECT 2", "read", "several_statements", false, "any"],
  ["BEGIN; INSERT INTO t VALUES (1); COMMIT", "write", "several_statements", false, "writes"],
  ["SELEC 1", "unknown", "unparsable", "unparsable", "unknown"],
];

describe.each([
  ["reads", reads],
  ["writes", writes],
  ["others", others],
] as const)("%s", (_name, rows) => {
  test.each(rows)("%s", (text, kind, shareable, opaque, route) => {
    const found = classified(text);
    expect([found.kind, found.shareable, found.opaque, found.route]).toEqual([
      kind,
      shareable,
      opaque,
      route,
    ]);
  });
});
