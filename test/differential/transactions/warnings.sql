-- 25001 and 25P01 in the server's words.
commit;
rollback;
end;
abort;
begin;
begin;
select 1;
begin;
commit;
commit;
begin;
start transaction isolation level serializable;
rollback;
savepoint s;
release s;
rollback to s;
commit and chain;
rollback and chain;
