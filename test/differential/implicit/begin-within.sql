select 1\; begin\; select 2\; begin;
commit\; commit\; select 3;
select 1\; commit\; select 2;
select 1\; rollback\; select 2;
begin\; begin\; commit\; commit;
select 1\; begin isolation level serializable\; show transaction_isolation;
rollback;
select 1\; set transaction isolation level serializable;
