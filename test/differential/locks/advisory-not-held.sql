select pg_advisory_unlock(99);
select pg_advisory_unlock_shared(99);
select pg_advisory_unlock_all();
select pg_advisory_lock(null);
