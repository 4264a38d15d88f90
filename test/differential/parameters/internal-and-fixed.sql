-- What nobody may set, in the server's words.
set server_version = '9';
set block_size = 1;
set wal_level = minimal;
set shared_buffers = '1GB';
set port = 1;
set is_superuser = on;
set session_authorization = 'nobody_like_this';
set transaction_isolation = 'serializable';
set lc_collate = 'C';
set log_connections = on;
