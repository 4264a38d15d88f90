do $$ begin raise 'plain'; end $$;
do $$ begin raise exception using errcode = 'P0042', message = 'm', detail = 'd', hint = 'h', column = 'c', table = 't', schema = 's', constraint = 'k', datatype = 'dt'; end $$;
do $$ begin raise sqlstate '22012'; end $$;
do $$ begin raise division_by_zero; end $$;
do $$ begin assert false, 'as you see'; end $$;
create function inner_() returns void language plpgsql as $$ begin perform 1/0; end $$;
create function outer_() returns void language plpgsql as $$ begin perform inner_(); end $$;
select outer_();
do $$ begin perform outer_(); exception when others then raise notice 'caught % %', sqlstate, sqlerrm; end $$;
