-- Neither may be in a transaction that is prepared; with max_prepared_transactions 0 none is.
begin;
listen news;
prepare transaction 'x';
begin;
notify news;
prepare transaction 'x';
select pg_listening_channels();
