select 1/0;
select 'x'::int;
select '2001-13-01'::date;
select (array[1,2])[1/0];
select repeat('x', 2000000000);
select 1 where 1/0 = 1;
select 9223372036854775807 + 1;
select cast('abc' as numeric(3,1));
select 1.5::numeric(2,2);
