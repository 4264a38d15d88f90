begin;
create temp table t(a int);
prepare transaction 'x';
select * from t;
