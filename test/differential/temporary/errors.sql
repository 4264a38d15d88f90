create temp table pg_temp.t(a int);
create temp table public.t(a int);
drop table t;
create temp table t(a nonsense);
select * from t;
create table pg_temp.u(a int);
select relpersistence from pg_class where relname = 'u';
create unlogged table w(a int);
alter table u set schema public;
