-- Warning 25P01, and nothing happens.
set local work_mem = '5MB';
show work_mem;
set local timezone = 'Europe/Berlin';
show timezone;
