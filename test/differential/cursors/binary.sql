begin;
declare c binary cursor for select 1::int4, 'text'::text;
fetch c;
commit;
