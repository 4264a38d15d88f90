create temp table t(a int);
create view v as select * from t;
insert into t values (1);
select * from v;
drop table t;
drop table t cascade;
select * from v;
