deallocate nobody;
deallocate prepare nobody;
prepare p as select 1;
deallocate prepare p;
deallocate p;
deallocate prepare all;
execute nobody;
explain execute nobody;
