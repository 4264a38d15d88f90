nonsense\; select 1;
select 1\; nonsense;
select nothing\; select 1;
select 1\; select nothing\; select 2;
select 1\; select 1/0\; select 2;
create table t(a int)\; insert into t values (1)\; select * from t\; drop table t;
create table t(a int)\; insert into u values (1);
select * from t;
