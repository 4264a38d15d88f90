/**
 * What `pgsluice explain` says of every kind of statement, as people read it: test/golden/explain.txt. After a change that
 * is meant, `npx vitest run --project unit test/unit/cli/explain.test.ts -u` writes it anew.
 */
import { expect, test } from "vitest";
import { explanationTable } from "../../../src/cli/explain.ts";
import { Catalog, explain, FunctionLists } from "../../../src/sql/index.ts";
import { classified } from "../sql/classifier-kit.ts";

const texts = [
  "",
  "selct 1",
  // reads
  "select 1",
  "select a, b from t where a = 1",
  "values (1), (2)",
  "table t",
  "with recursive n as (select 1 as i union all select i + 1 from n) select * from n",
  "select now()",
  "select random()",
  "select pg_backend_pid()",
  "select * from pg_stat_activity",
  "select * from pg_class",
  "select mine(1)",
  "select * from t for update",
  "select 1; select 2",
  "/* pgsluice: exclusive */ select 1",
  "explain select 1",
  "explain analyze delete from t",
  "show work_mem",
  // writes
  "insert into t values (1) returning a",
  "update t set a = 1",
  "delete from t",
  "merge into t using s on t.a = s.a when matched then delete",
  "with d as (delete from t returning *) select * from d",
  "select nextval('s')",
  // DDL
  "create table t (a int)",
  "create index concurrently i on t (a)",
  "create function f() returns int language sql as 'select 1'",
  "alter role app set work_mem = '1MB'",
  "truncate t",
  "grant select on t to app",
  // transactions
  "begin isolation level serializable read only deferrable",
  "commit and chain",
  "savepoint s",
  "rollback to s",
  "prepare transaction 'g'",
  "set transaction isolation level repeatable read",
  // settings
  'set search_path = a, "B c"',
  "set local work_mem = '1MB'",
  "reset work_mem",
  "reset all",
  "discard all",
  "select set_config('a.b', 'c', false)",
  "select set_config(name, setting, true) from pg_settings",
  "set session characteristics as transaction read only",
  "set role app",
  "set session authorization app",
  "set seed = 0.5",
  // prepared statements
  "prepare p (int) as select $1",
  "execute p (1)",
  "deallocate all",
  // notifications
  "listen c",
  "unlisten *",
  "notify c, 'x'",
  "select pg_notify('c', 'x')",
  // what keeps a server
  "create temp table x (a int)",
  "drop table x",
  "select pg_advisory_lock(1)",
  "select pg_advisory_xact_lock(1)",
  "select pg_advisory_unlock_all()",
  "declare c cursor with hold for select 1",
  "fetch 1 from c",
  "close c",
  "select currval('s')",
  "select lastval()",
  "select lo_open(1, 131072)",
  "load 'plpgsql'",
  "copy t from stdin",
  "copy t to stdout",
  "copy t to '/tmp/t'",
  "select pg_replication_origin_session_setup('o')",
  // code that is not in the text
  "do $$ begin end $$",
  "call p()",
  // the rest
  "lock table t",
  "vacuum t",
  "checkpoint",
];

test("every kind of statement", async () => {
  const explained = texts.map(
    (sql) =>
      `pgsluice explain ${JSON.stringify(sql)}\n${explanationTable(explain(classified(sql), Catalog.assumed))}`,
  );
  await expect(explained.join("\n")).toMatchFileSnapshot("../../golden/explain.txt");
});

test("whoever says no says why", () => {
  for (const sql of texts) {
    const found = explain(classified(sql), Catalog.assumed);
    const pairs = [
      [found.route === "any", found.routeReason],
      [found.shareable, found.shareableReason],
      [!found.opaque, found.opaqueReason],
      [found.multiplexed, found.multiplexedReason],
      [found.cacheable, found.cacheableReason],
    ] as const;
    for (const [yes, reason] of pairs) expect(yes, sql).toBe(reason === null);
  }
});

test("functions: how volatile, and by what that is known", () => {
  const own = Catalog.loaded([
    ["function", "app", "mine"],
    ["function_stable", "app", "looks"],
    ["function_quiet", "app", "counts"],
    ["function_plain", "app", "similarity"],
    ["function", "evil", "lower"],
  ]);
  const said = (sql: string, catalog: Catalog): string[] =>
    explain(classified(sql, catalog), catalog).functions.map(
      ({ name, volatility, reason }) => `${name} ${volatility}: ${reason}`,
    );
  expect(said("select pg_catalog.lower('A'), upper('a'), now(), random(), pg_backend_pid()", own)).toEqual([
    "pg_catalog.lower immutable: builtin",
    "upper immutable: builtin",
    "now stable: builtin",
    "random volatile: builtin, harmless",
    "pg_backend_pid stable: builtin, session",
  ]);
  expect(said("select mine(), app.looks(), counts(), similarity('a'), lower('A'), absent()", own)).toEqual([
    "mine volatile: catalog, user_function",
    "app.looks stable: catalog, user_function",
    "counts volatile: catalog, leaves the session as it was",
    "similarity stable: catalog, compiled",
    "lower volatile: catalog, user_function",
    "absent unknown: unknown_function",
  ]);
  expect(said("select lower('A'), mine(1), mine(1, 2), pg_catalog.lower('a')", Catalog.unknown)).toEqual([
    "lower unknown: catalog_not_loaded",
    "mine unknown: catalog_not_loaded",
    "pg_catalog.lower immutable: builtin",
  ]);
  const listed = own.with(new FunctionLists([/^mine$/], [/^upper$/]));
  expect(said("select mine(), upper('a')", listed)).toEqual([
    "mine volatile: read_only_function_list; catalog, user_function",
    "upper immutable: write_function_list; builtin",
  ]);
});
