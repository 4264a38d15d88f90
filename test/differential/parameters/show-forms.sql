show server_version_num;
show time zone;
show transaction isolation level;
show session authorization;
show "work_mem";
show WORK_MEM;
select current_setting('work_mem'), current_setting('WORK_MEM');
select current_setting('no.such'), 1;
select current_setting('no.such', true) is null;
