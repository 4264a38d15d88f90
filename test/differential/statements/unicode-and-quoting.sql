select 'grün', U&'gr\00fcn', E'tab\there', $tag$ dollar $not$ $tag$;
create table "Weird "" name"(" " int, "SELECT" text, "ü" int);
insert into "Weird "" name" values (1, 'x', 2);
select * from "Weird "" name";
select 'a' 'b';
select 'a'
'b';
select /* a /* nested */ comment */ 1 -- and a line
;
select "ü" as "Ü" from "Weird "" name";
select 1 as "", 2;
