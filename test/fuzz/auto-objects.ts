/** What is there before random clients in auto mode come, and what a stranger looks for when they have left. */

/** What a client of nobody's sees: nothing of those who were there before. */
export const probe: readonly string[] = [
  `select name, setting from pg_settings where name in ('work_mem', 'TimeZone', 'application_name', 'DateStyle',
     'extra_float_digits', 'statement_timeout', 'standard_conforming_strings', 'client_encoding', 'search_path', 'default_transaction_read_only',
     'default_transaction_isolation') order by 1`,
  `select current_user, session_user, coalesce(nullif(current_setting('my.custom', true), ''), 'none'),
     coalesce(nullif(current_setting('my.hidden', true), ''), 'none')`,
  "select name from pg_prepared_statements",
  "select name from pg_cursors where name <> ''",
  "select pg_listening_channels()",
  "select count(*) from pg_class where relnamespace = pg_my_temp_schema()",
  "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())",
  "select lastval()",
];

/** Made directly before the clients come. */
export function setUp(clients: number): string {
  const own = Array.from({ length: clients }, (_, me) => ownObjects.replaceAll("$me", String(me)));
  return [shared, ...own].join("\n");
}

/** By names that can be read: who sets others keeps the server, and nobody would share it. */
const setsNamed = ["work_mem", "search_path", "role", "my.hidden"]
  .map((name) => `if n = '${name}' then perform set_config('${name}', v, false); end if;`)
  .join(" ");

const shared = `
create table everyones (a int);
create table here (a text);
insert into here values ('public');
create table closed (a int);
create function fz_pure(a int) returns int language sql immutable as 'select a + 1';
create function fz_reads(t text) returns int language plpgsql stable as $$ declare n int; begin execute format('select count(*) from %I', t) into n; return n; end $$;
create function fz_set(n text, v text) returns void language plpgsql as $$ begin ${setsNamed} end $$;
create function fz_fail(n text, v text) returns void language plpgsql as $$ begin perform set_config('work_mem', v, false); raise exception 'failed'; end $$;
create function fz_caught(n text, v text) returns text language plpgsql as $$ begin begin perform set_config('work_mem', v, false); raise exception 'x'; exception when others then null; end; return current_setting(n); end $$;
create function fz_temp() returns void language plpgsql as $$ begin create temp table tt (a int); end $$;
create function fz_lock(k int) returns void language plpgsql as $$ begin perform pg_advisory_lock(k); end $$;
create function fz_cursor() returns void language plpgsql as $$ begin execute 'declare hc cursor with hold for select 1'; end $$;
create function fz_listen(c text) returns void language plpgsql as $$ begin execute format('listen %I', c); end $$;
create function fz_prepare(n text, q text) returns void language plpgsql as $$ begin execute format('prepare %I as %s', n, q); end $$;
create function fz_next(s text) returns int language plpgsql as $$ begin return nextval(s); end $$;
create function fz_all(k int) returns void language plpgsql as $$ begin perform fz_set('work_mem', '12MB'), fz_temp(), fz_lock(k), fz_cursor(), fz_listen('c' || k), fz_prepare('fp', 'select 42'); end $$;
create procedure fz_commit(n text, v text, w text) language plpgsql as $$ begin perform set_config('work_mem', v, false); commit; perform set_config('work_mem', w, false); rollback; end $$;
create function fz_trigger() returns trigger language plpgsql as $$ begin perform set_config('work_mem', new.v, false); return new; end $$;
create view view_sets as select set_config('statement_timeout', '77s', false) as done;
create function fz_checks(v text) returns bool language plpgsql as $$ begin perform set_config('my.custom', v, false); return true; end $$;
create domain fz_domain as text check (fz_checks(value));
create function fz_run(q text) returns text language plpgsql as $$ begin execute q; return 'done'; end $$;
create function fz_defined(n text) returns text language plpgsql set work_mem = '21MB' set search_path = public as $$ begin perform set_config('my.hidden', 'defined', false); return current_setting(n); end $$;
create function fz_as_owner() returns text language plpgsql security definer as $$ begin create temp table if not exists tt (a int); return current_user; end $$;
create procedure fz_halves(k int) language plpgsql as $$ begin create temp table if not exists tt (a int); perform pg_advisory_lock(k); commit; perform set_config('TimeZone', 'Asia/Tokyo', false); rollback; end $$;
create function fz_sleep(s int) returns text language plpgsql as $$ begin perform set_config('work_mem', '17MB', false); perform pg_sleep(s); return 'slept'; exception when query_canceled then perform set_config('my.hidden', 'cancelled', false); return 'cancelled'; end $$;
create table gate (a int);
insert into gate values (1);
create table evolving (a int);
insert into evolving values (1), (2);
create function fz_evolving() returns table (x int) language sql as 'select 1';
grant select on gate, evolving to fz_role;
grant usage, create on schema public to fz_role;
grant select on here to fz_role;`;

const ownObjects = `
create table t$me (a int check (a > -1));
create table d$me (a int unique deferrable initially deferred);
create sequence s$me;
create table q$me (a serial, b int default nextval('s$me'));
create schema sp$me create table here (a text);
insert into sp$me.here values ('sp$me');
create table sets$me (v text);
create trigger sets before insert on sets$me for each row execute function fz_trigger();
create table late$me (v text);
create constraint trigger late after insert on late$me deferrable initially deferred for each row execute function fz_trigger();
grant select, insert on t$me to fz_role;`;
