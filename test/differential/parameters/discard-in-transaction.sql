begin;
discard all;
rollback;
discard plans;
discard sequences;
discard temp;
discard temporary;
discard all;
