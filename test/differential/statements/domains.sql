create domain us_postal as text check (value ~ '^\d{5}$');
create table snail(id serial, code us_postal not null);
insert into snail(code) values ('12345');
insert into snail(code) values ('1234');
alter domain us_postal add constraint short check (length(value) < 5);
alter domain us_postal set default '00000';
insert into snail default values;
select * from snail order by id;
drop domain us_postal;
