begin;
set session characteristics as transaction isolation level repeatable read;
show default_transaction_isolation;
show transaction_isolation;
rollback;
show default_transaction_isolation;
