set local work_mem = '5MB'\; show work_mem;
show work_mem;
set local work_mem = '5MB'\; select 1\; commit\; show work_mem;
select 1\; set local work_mem = '6MB'\; show work_mem;
show work_mem;
lock table pg_class\; select 1;
lock table pg_class;
declare c cursor for select 1\; fetch c;
