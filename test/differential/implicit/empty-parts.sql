select 1\;\; select 2;
\;;
\; select 1\;;
/* comment */ \; -- another
select 3;
