begin;
set own_undone.param = 'x';
rollback;
select current_setting('own_undone.param', true);
begin;
set local own_undone.param = 'x';
commit;
select current_setting('own_undone.param', true);
show own_undone.param;
