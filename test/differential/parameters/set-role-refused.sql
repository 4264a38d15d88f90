-- @role dif_role_plain nologin
set role no_such_role;
set role dif_role_plain;
create table t(a int);
set role postgres;
select current_user;
