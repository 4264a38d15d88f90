select 1\; savepoint s\; select 2;
savepoint s\; select 1;
begin\; savepoint s\; select 1/0;
rollback to s;
commit;
select 1\; rollback to s;
release s\; select 1;
