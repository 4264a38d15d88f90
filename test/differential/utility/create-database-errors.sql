create database postgres;
drop database no_such_database;
drop database if exists no_such_database;
begin;
create database x;
rollback;
create tablespace t location 'relative';
drop tablespace nothing;
alter database no_such_database rename to y;
