create table t(a int, b text);
copy t from stdin;
1	one
2	\N
3	with\ttab
\.
select * from t order by a;
copy t(b) from stdin with (format csv, header);
b
"quoted, text"
\.
select * from t order by a;
copy t from stdin;
wrong	number	of columns
\.
select count(*) from t;
copy nothing from stdin;
1
\.
