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
    verdict: "inert",
    default:
      "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid WHERE rolname=$1 AND rolcanlogin",
    kind: "text",
    doc: "Used only with `auth_user`, which is not supported yet.",
  },
  auth_user: {
    verdict: "unsupported",
    kind: "text",
    doc: "Put the users and their secrets into `auth_file`.",
  },
  auth_dbname: {
    verdict: "inert",
    kind: "text",
    doc: "Used only with `auth_user`, which is not supported yet.",
  },
  auth_ldap_options: {
    verdict: "inert",
    kind: "text",
    doc: "Used only with LDAP, which is not supported yet.",
  },
  scram_iterations: { verdict: "same", default: "4096" },
  admin_users: { verdict: "same", default: "" },
  stats_users: { verdict: "same", default: "" },
};
