select pg_stat_get_backend_idset() is not null limit 1;
select count(*) = 1 from pg_stat_activity where query like '%unique text of this%' and state = 'active';
select pg_backend_pid() = pg_backend_pid();
select txid_current() > 0;
select pg_current_wal_lsn() is not null;
select pg_postmaster_start_time() < now();
select version() like 'PostgreSQL%';
