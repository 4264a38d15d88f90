select 1, 'x', true, null, now() is not null, count(*), 1 + 1, case when true then 1 end, array[1], row(1), cast('1' as int), coalesce(1), current_date is not null;
select sum(a), max(a) from generate_series(1, 3) a;
select (select 1), exists (select 1), 'x'::varchar(3), extract(year from date '2001-01-01');
