-- @role dif_authorization_back login
begin;
set session authorization dif_authorization_back;
select session_user, current_user;
rollback;
select session_user, current_user;
