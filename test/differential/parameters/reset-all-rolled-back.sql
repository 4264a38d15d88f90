set work_mem = '5MB';
set timezone = 'Asia/Tokyo';
begin;
reset all;
show work_mem;
show timezone;
rollback;
show work_mem;
show timezone;
