/**
 * What random sessions in auto mode say, by area: everything that leaves something in a session, shows what is there, or takes it
 * away. `$me` is the number of the client. Each client has tables, sequences, channels and lock numbers of its own, and names of
 * prepared statements, temporary tables and cursors that others have, too, for something else.
 */
import { Buffer } from "node:buffer";

export interface RandomStatement {
  readonly sql: string;
  /** Its parameters. */
  readonly values?: readonly string[];
  /**
   * Only by Query: PostgreSQL 18.4 itself crashes on some order of extended messages around DO and CALL; and what columns a
   * FETCH has is asked at its Parse, when its cursor may not be there yet.
   */
  readonly simple?: true;
  /** Not with fewer servers than clients: it keeps its server beyond what a clean-up ends. */
  readonly roomy?: true;
  /** Concerns other clients: only while none of them does anything. */
  readonly alone?: true;
}

type Given = string | RandomStatement;

const roomy = (sql: string, values?: readonly string[]): RandomStatement => ({
  sql,
  roomy: true,
  ...(values === undefined ? {} : { values }),
});
const alone = (sql: string): RandomStatement => ({ sql, alone: true });
const simple = (sql: string): RandomStatement => ({ sql, simple: true });

const longText = "0123456789".repeat(30_000);

const given = {
  reads: [
    "select 1",
    "select $me as me",
    "select count(*) from t$me",
    "select a from t$me order by a limit 3",
    "select generate_series(1, 5)",
    "select repeat('x', 9000)",
    { sql: "select $1::int + 1", values: ["41"] },
    { sql: "select a from t$me where a = $1", values: ["1"] },
    "select pg_sleep(0.002)",
    "select fz_pure(20)",
    "select fz_reads('t$me')",
    alone("select count(*), max(a) from everyones"),
    alone("insert into everyones values ($me)"),
  ],
  writes: [
    "insert into t$me values (1)",
    "insert into t$me values (2) returning a",
    { sql: "insert into t$me values ($1)", values: ["7"] },
    "update t$me set a = a + 1",
    "delete from t$me",
    "truncate t$me",
    "insert into d$me values (1)",
    "set constraints all immediate",
    "lock table t$me in share mode",
    "create table u$me (a int)",
    "drop table u$me",
    "select * from u$me",
    "analyze t$me",
    "vacuum t$me",
    "select lo_open(lo_create(0), 131072)",
    "explain (costs off) select * from t$me",
  ],
  errors: [
    "select 1/0",
    "nonsense",
    "",
    "select * from nowhere",
    "insert into t$me values (-1)",
    "insert into t$me values ('x')",
    "select 1/(a - 1) from generate_series(1, 3) a",
    "select fz_fail('work_mem', '9MB')",
    { sql: "select $1::int", values: ["x"] },
    "set work_mem = 'much'",
    "set nothing_such = 1",
    "copy t$me from '/nowhere'",
    "copy (select 1/0) to stdout",
  ],
  transactions: [
    "begin",
    "begin",
    "begin isolation level repeatable read",
    "start transaction read only",
    "commit",
    "commit",
    "commit and chain",
    "rollback",
    "rollback and chain",
    "end",
    "savepoint s",
    "rollback to s",
    "release s",
    "set transaction isolation level repeatable read",
    "set transaction read only",
    "show transaction_isolation",
    "show transaction_read_only",
    "select txid_current_if_assigned() is null",
  ],
  settings: [
    "set work_mem = '1$meMB'",
    "set local work_mem = '2$meMB'",
    "show work_mem",
    "reset work_mem",
    "set work_mem to default",
    "set timezone = 'Asia/Tokyo'",
    "show timezone",
    "set application_name = 'client $me'",
    "show application_name",
    "reset application_name",
    "set datestyle = 'German, DMY'",
    "select date '2020-03-04'",
    "set extra_float_digits = 0",
    "select 0.1::float8 + 0.2::float8",
    "set statement_timeout = '4$mes'",
    "show statement_timeout",
    "select set_config('work_mem', '3$meMB', false)",
    "select set_config('work_mem', '4$meMB', true)",
    { sql: "select set_config('statement_timeout', $1, false)", values: ["55s"] },
    "set my.custom = 'c$me'",
    "set local my.custom = 'l$me'",
    "select coalesce(nullif(current_setting('my.custom', true), ''), 'none')",
    "set standard_conforming_strings = off",
    "set standard_conforming_strings = on",
    "set client_encoding = 'LATIN1'",
    "reset client_encoding",
    "set session characteristics as transaction read only",
    "set session characteristics as transaction read write",
    "set default_transaction_isolation = 'repeatable read'",
    "reset all",
    "select name, setting from pg_settings where name in ('work_mem', 'TimeZone', 'DateStyle') order by 1",
    roomy("select set_config($1, $2, false)", ["work_mem", "31MB"]),
  ],
  // With what all use in it: what cannot be parsed any more is not listed (docs/semantics.md).
  paths: [
    "set search_path = sp$me, public",
    "set local search_path = sp$me, public",
    "show search_path",
    "reset search_path",
    alone("table here"),
    "select current_schemas(false)",
    alone("insert into here values ('more')"),
    "create table sp$me.u$me (b text)",
    "select * from u$me",
  ],
  roles: [
    "set role fz_role",
    "set local role fz_role",
    "reset role",
    "reset role",
    "set role none",
    "select current_user, session_user",
    "set session authorization fz_role",
    "reset session authorization",
    "reset session authorization",
    "select fz_set('role', 'fz_role')",
    "select a from closed",
  ],
  prepared: [
    "prepare s1 as select 'sql $me' as one",
    "prepare s2(int) as select $1 + $me as two",
    "prepare s1 as insert into t$me values (3)",
    "execute s1",
    "execute s2(4)",
    "explain (costs off) execute s1",
    "deallocate s1",
    "deallocate s2",
    "deallocate all",
    simple("select name, statement, from_sql from pg_prepared_statements order by 1"),
    "select fz_prepare('fp', 'select $me')",
    "execute fp",
    "deallocate fp",
    "discard plans",
    roomy("prepare s1 as select 'two'; select 2"),
  ],
  temporary: [
    "create temp table tt (a int)",
    "create temp table tt (a int) on commit drop",
    "insert into tt values ($me)",
    "select * from tt",
    "drop table tt",
    "create temp view tv as select $me as mine",
    "select * from tv",
    "drop view tv",
    "select fz_temp()",
    "discard temp",
    "select 5 as five into temp tt",
    "copy tt to stdout",
  ],
  locks: [
    "select pg_advisory_lock($me)",
    "select pg_try_advisory_lock($me, 1)",
    "select pg_advisory_xact_lock($me)",
    "select pg_advisory_unlock($me)",
    "select pg_advisory_unlock($me, 1)",
    "select pg_advisory_unlock_all()",
    "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and classid in (0, $me)",
    "select fz_lock($me)",
  ],
  cursors: [
    "declare c cursor for select generate_series(1, 4)",
    "declare c cursor with hold for select generate_series(1, 4)",
    "declare p1 cursor with hold for select 'held $me'",
    simple("fetch 2 from c"),
    simple("fetch all from c"),
    simple("move 1 in c"),
    "close c",
    "close p1",
    "close all",
    "select name, is_holdable from pg_cursors where name <> '' order by 1",
    "select fz_cursor()",
    simple("fetch 1 from hc"),
    "close hc",
  ],
  sequences: [
    "select nextval('s$me')",
    "select setval('s$me', 40)",
    "select nextval('s$me'), currval('s$me')",
    simple("begin; select nextval('s$me'); select currval('s$me'), lastval(); commit"),
    "insert into q$me default values",
    "insert into q$me default values returning a",
    "alter sequence s$me restart",
    "select fz_next('s$me')",
    roomy("select currval('s$me')"),
    roomy("select lastval()"),
    "discard sequences",
  ],
  channels: [
    "listen c$me",
    "unlisten c$me",
    "notify c$me, 'from $me'",
    "select pg_notify('c$me', 'called')",
    { sql: "select pg_notify('c$me', $1)", values: ["bound"] },
    "select c from pg_listening_channels() c where c <> 'fence' order by 1",
    "select fz_listen('c$me')",
    alone("listen news"),
    alone("unlisten news"),
    alone("notify news, 'from $me'"),
    alone("select pg_notify('news', 'called by $me')"),
  ],
  opaque: [
    "select fz_set('work_mem', '5$meMB')",
    "select fz_set('my.hidden', 'h$me')",
    "select coalesce(nullif(current_setting('my.hidden', true), ''), 'none')",
    "select fz_set('search_path', 'sp$me, public')",
    "select fz_caught('work_mem', '6$meMB')",
    "select fz_all($me)",
    simple("call fz_commit('work_mem', '7$meMB', '8$meMB')"),
    "insert into sets$me values ('9$meMB')",
    "select * from view_sets",
    "select 'odd'::fz_domain",
    simple("do $$ begin raise notice 'noticed'; end $$"),
    simple("do $$ begin set work_mem = '11MB'; end $$"),
    simple("do $$ begin perform fz_temp(); perform fz_lock($me); end $$"),
    simple("do $$ begin execute 'listen c$me'; end $$"),
    "show work_mem",
  ],
  // Not DEALLOCATE ALL: it is not noticed where the server has had no statement (docs/semantics.md); scripts have it.
  hostile: [
    ...[
      "prepare fp as select 'run $me'",
      "deallocate fp",
      "set work_mem = '14MB'",
      "set local work_mem = '15MB'",
      "set my.hidden = 'run $me'",
      "set timezone = 'America/Lima'",
      "set search_path = sp$me, public",
      "set role fz_role",
      "reset role",
      "set session authorization fz_role",
      "reset session authorization",
      "reset work_mem",
      "set default_transaction_read_only = on",
      "set default_transaction_read_only = off",
      "create temp table tt (a int)",
      "insert into tt values (8)",
      "drop table if exists tt",
      "discard temp",
      "discard plans",
      "select pg_advisory_lock($me)",
      "select pg_advisory_unlock($me)",
      "select pg_advisory_unlock_all()",
      "listen c$me",
      "unlisten c$me",
      "notify c$me, 'ran'",
      "declare hc cursor with hold for select 'run'",
      "close hc",
      "select nextval('s$me')",
      "set transaction read only",
      "commit",
    ].map((sql) => `select fz_run('${sql.replaceAll("'", "''")}')`),
    simple(
      "do $$ begin execute 'prepare fp as select 1'; raise 'undone'; exception when others then null; end $$",
    ),
    simple("do $$ begin set timezone = 'Asia/Tokyo'; raise 'failed'; end $$"),
    simple("do $$ begin perform nextval('s$me'); set role fz_role; end $$"),
    simple("call fz_halves($me)"),
    "insert into late$me values ('16MB')",
    "set constraints all deferred",
    "select fz_defined('work_mem')",
    "select fz_as_owner()",
    "select current_user, current_setting('work_mem'), current_setting('TimeZone')",
    "execute fp",
    "select * from tt",
    simple("fetch all from hc"),
    "select name from pg_prepared_statements where from_sql order by 1",
    "select current_schemas(false)",
  ],
  large: [
    "select repeat('x', 200000)",
    "select length(repeat('y', 3000000))",
    "select g, repeat(md5(g::text), 20) from generate_series(1, 300) g",
    { sql: "select length($1), md5($1)", values: [longText] },
    { sql: "select $1::text", values: [longText.slice(0, 70_000)] },
    `select length('${longText.slice(0, 90_000)}')`,
    `select 1 /* ${longText.slice(0, 20_000)} */`,
    `set my.custom = '${longText.slice(0, 5000)}'`,
    // No process has such a number, see normalise.ts.
    "insert into t$me select generate_series(5000001, 5003000) returning a",
    "select sum(a) from t$me",
    simple("copy (select g, repeat('c', 50) from generate_series(1, 2000) g) to stdout"),
  ],
  discards: [{ sql: "discard all" }, "discard plans", "discard sequences", "discard temp", "unlisten *"],
  processes: [roomy("select pg_backend_pid()"), roomy("select setseed(0.$me); select random()")],
} satisfies Readonly<Record<string, readonly Given[]>>;

export type Area = keyof typeof given;

export const areas = Object.keys(given) as readonly Area[];

export function statementsOf(area: Area): readonly RandomStatement[] {
  return given[area].map((statement: Given) =>
    typeof statement === "string" ? { sql: statement } : statement,
  );
}

/** What all clients may say at once: reads in the same words. */
export const chorus: readonly RandomStatement[] = [
  { sql: "select 1" },
  { sql: "select generate_series(1, 5)" },
  { sql: "select repeat('x', 9000)" },
  { sql: "select repeat('x', 100000)" },
  { sql: "select $1::int + 1", values: ["41"] },
  { sql: "select a from here where a = $1", values: ["public"] },
  { sql: "select count(*) from here" },
  { sql: "select 1/(a - 1) from generate_series(0, 3) a" },
  { sql: "select pg_sleep(0.002)" },
  { sql: "select * from gate order by a" },
];

/** Who listens in another encoding than UTF8 keeps its server. */
export const setsEncoding = (sql: string): boolean => /client_encoding = /.test(sql);

/** These would take from a client what its fence needs. */
export const isFenceless = (sql: string): boolean => /unlisten \*|discard all/.test(sql);

/** Ends what would keep a server, and leaves what follows a client to another one. */
export const cleanUp: readonly string[] = [
  "rollback",
  "close all; select pg_advisory_unlock_all(); discard temp",
  // Alone: behind a function that may be anything, while the catalogs are not read, it is not sure that nothing is left to ask for.
  "discard sequences",
];

/** Number of set_config(text, text, boolean) in pg_proc.dat. */
export const setConfigOid = 2078;
export const setConfigValues = (name: string, value: string): Buffer[] =>
  [name, value, "f"].map((text) => Buffer.from(text));
