create table t(a int primary key, b int);
insert into t values (1, 1), (2, 2);
update t set b = b + 1 returning old.b, new.b;
delete from t where a = 2 returning old.*, new.a;
insert into t values (1, 9) on conflict (a) do update set b = excluded.b returning old.b as before, new.b as after;
