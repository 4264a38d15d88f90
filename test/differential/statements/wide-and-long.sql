select repeat('x', 20000);
select string_agg(n::text, ',') from generate_series(1, 2000) n;
select * from generate_series(1, 200);
select array_agg(n) from generate_series(1, 500) n;
do $$ declare s text; begin select 'create table wide (' || string_agg('c' || n || ' int', ', ') || ')' into s from generate_series(1, 400) n; execute s; end $$;
insert into wide(c1, c400) values (1, 400);
select * from wide;
select null::text, '', ' ';
