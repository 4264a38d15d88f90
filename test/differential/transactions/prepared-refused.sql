-- max_prepared_transactions is 0.
create table t(a int);
begin;
insert into t values (1);
prepare transaction 'one';
select * from t;
commit prepared 'one';
rollback prepared 'one';
prepare transaction 'none';
begin;
commit prepared 'one';
rollback;
