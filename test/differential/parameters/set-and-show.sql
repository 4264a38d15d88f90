-- A setting is seen by its session at once.
show work_mem;
set work_mem = '5MB';
show work_mem;
set work_mem to 6144;
show work_mem;
set session work_mem = default;
show work_mem;
