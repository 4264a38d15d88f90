select pg_cancel_backend(1);
select pg_terminate_backend(1);
select pg_cancel_backend(null);
select pg_terminate_backend(pg_backend_pid(), -1);
select pg_blocking_pids(pg_backend_pid());
select pg_safe_snapshot_blocking_pids(pg_backend_pid());
