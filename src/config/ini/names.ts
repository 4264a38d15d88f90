/** What becomes of the parameters of [databases], [users] and [peers]; the form is that of globals.ts. */
import type { VerdictTable } from "./verdicts.ts";

const ofGlobal = "Only the setting of this name in [pgbouncer] is supported.";

/** [databases] name = … */
export const databaseVerdicts: VerdictTable = {
  dbname: { verdict: "same" },
  host: {
    verdict: "renamed",
    to: "nodes.NAME.host",
    doc: "One host name, address, folder or `@name`; a list is refused. Without it the Unix socket in `unix_socket_dir` is meant, as in PgBouncer.",
  },
  port: { verdict: "renamed", to: "nodes.NAME.port", doc: "5432 without it." },
  user: { verdict: "same" },
  password: { verdict: "same", doc: "Without `user` it is ignored, as in PgBouncer." },
  auth_user: { verdict: "same" },
  auth_query: { verdict: "same" },
  auth_dbname: { verdict: "same" },
  pool_size: { verdict: "same" },
  min_pool_size: { verdict: "same" },
  reserve_pool_size: { verdict: "same" },
  reserve_pool: { verdict: "renamed", to: "reserve_pool_size", doc: "An older name of it." },
  pool_mode: { verdict: "same" },
  connect_query: { verdict: "same" },
  max_db_connections: { verdict: "same" },
  max_db_client_connections: {
    verdict: "unsupported",
    kind: "integer",
    harmless: ["0"],
    doc: "`max_client_conn` bounds all clients together.",
  },
  server_lifetime: { verdict: "same" },
  query_wait_timeout: { verdict: "same" },
  load_balance_hosts: { verdict: "inert", kind: "text", doc: "Used only with several hosts." },
  client_encoding: { verdict: "same" },
  datestyle: { verdict: "same" },
  timezone: { verdict: "same" },
  application_name: { verdict: "same" },
};

/** [users] name = … */
export const userVerdicts: VerdictTable = {
  pool_mode: { verdict: "same" },
  pool_size: { verdict: "same" },
  reserve_pool_size: { verdict: "same" },
  max_user_connections: { verdict: "same" },
  max_user_client_connections: {
    verdict: "unsupported",
    kind: "integer",
    harmless: ["0"],
    doc: "`max_client_conn` bounds all clients together.",
  },
  query_timeout: { verdict: "unsupported", kind: "seconds", doc: ofGlobal },
  query_wait_timeout: { verdict: "unsupported", kind: "seconds", doc: ofGlobal },
  idle_transaction_timeout: { verdict: "unsupported", kind: "seconds", doc: ofGlobal },
  transaction_timeout: {
    verdict: "unsupported",
    kind: "seconds",
    harmless: ["0"],
    doc: "Use `ALTER ROLE … SET transaction_timeout` on the server (17 and later).",
  },
  client_idle_timeout: { verdict: "unsupported", kind: "seconds", doc: ofGlobal },
};

/** [peers] id = … */
export const peerVerdicts: VerdictTable = {
  host: { verdict: "same" },
  port: { verdict: "same" },
  pool_size: { verdict: "same" },
};
