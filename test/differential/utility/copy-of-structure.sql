create table t(a int generated always as identity, b text default 'x', check (a > 0));
create table u (like t including all);
insert into u default values;
select * from u;
create table v as select * from u with no data;
select * from v;
create table w as execute nothing;
create table if not exists v as select 1;
