select pg_reload_conf() is not null;
alter system set no_such_parameter = 1;
alter system set max_connections = 'x';
select pg_conf_load_time() <= now();
select count(*) > 0 from pg_settings;
select set_config('transaction_isolation', 'serializable', false);
