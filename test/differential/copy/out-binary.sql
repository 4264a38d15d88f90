copy (select 1::int4, 'a'::text, null::int4) to stdout (format binary);
copy (values (1)) to stdout with (format text, delimiter '|');
copy (select 1) to stdout (format nonsense);
copy nothing to stdout;
