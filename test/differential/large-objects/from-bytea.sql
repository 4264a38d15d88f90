select lo_from_bytea(4712, '\x0102030405');
select lo_get(4712);
select lo_put(4712, 10, '\xff');
select length(lo_get(4712));
select loid, pageno from pg_largeobject where loid = 4712;
select lo_unlink(4712);
select lo_unlink(4712);
