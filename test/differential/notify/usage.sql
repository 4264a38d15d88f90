select pg_notification_queue_usage() < 0.5;
listen a;
select pg_listening_channels();
unlisten a;
select count(*) from pg_listening_channels();
