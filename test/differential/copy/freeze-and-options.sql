create table t(a int, b text);
begin;
truncate t;
copy t from stdin (freeze);
1	one
\.
commit;
copy t from stdin (on_error ignore);
2	two
x	bad
3	three
\.
copy t from stdin (delimiter ',', null 'NULL');
4,NULL
\.
copy t from stdin where a > 5;
5	no
6	yes
\.
select * from t order by a;
copy t from '/no/such/file';
copy t to program 'false';
