create table account(id int primary key, balance int);
create table recent(id int, amount int);
insert into account values (1, 100), (2, 50);
insert into recent values (1, 10), (3, 30), (2, -50);
merge into account a using recent r on a.id = r.id
when matched and a.balance + r.amount <= 0 then delete
when matched then update set balance = a.balance + r.amount
when not matched then insert values (r.id, r.amount);
select * from account order by id;
merge into account a using recent r on a.id = r.id when not matched by source then delete when matched then do nothing returning merge_action(), a.*;
merge into account a using recent r on true when matched then update set balance = 0;
