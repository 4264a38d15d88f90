/** What becomes of PgBouncer's settings about logging in; the form is that of globals.ts. */
import type { VerdictTable } from "./verdicts.ts";

export const authenticationVerdicts: VerdictTable = {
  auth_type: {
    verdict: "same",
    default: "md5",
    doc: "The methods that are not there yet are refused by name.",
  },
  auth_file: { verdict: "same", doc: "A file that cannot be read ends the start; PgBouncer only logs it." },
  auth_hba_file: { verdict: "same", default: "" },
  auth_ident_file: { verdict: "same" },
  auth_query: {
    verdict: "same",
    default:
      "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid WHERE rolname=$1 AND rolcanlogin",
    doc: "It runs over connections of its own, which are in no pool and no SHOW. A query that fails, and a user that it does not find, are told to the client as a wrong password is.",
  },
  auth_user: { verdict: "same" },
  auth_dbname: { verdict: "same" },
  auth_ldap_options: {
    verdict: "same",
    doc: "Servers are not looked for in the DNS: `ldapserver` or a host in `ldapurl` is needed. Their authorities are in `ldap_tls_ca_file`, not in ldap.conf.",
  },
  scram_iterations: { verdict: "same", default: "4096" },
  admin_users: { verdict: "same", default: "" },
  stats_users: { verdict: "same", default: "" },
};
