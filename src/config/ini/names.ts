/** What becomes of the parameters of [databases], [users] and [peers]; the form is that of globals.ts. */
import type { VerdictTable } from "./verdicts.ts";

/** [databases] name = … */
export const databaseVerdicts: VerdictTable = {
  dbname: { verdict: "same" },
  host: {
    verdict: "renamed",
    to: "nodes.NAME.host",
    doc: "Host names, addresses, folders or `@name`s, several separated by commas. Without it the Unix socket in `unix_socket_dir` is meant, as in PgBouncer.",
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
  max_db_client_connections: { verdict: "same" },
  server_lifetime: { verdict: "same" },
  query_wait_timeout: { verdict: "same" },
  load_balance_hosts: { verdict: "same" },
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
  max_user_client_connections: { verdict: "same" },
  query_timeout: { verdict: "same" },
  query_wait_timeout: { verdict: "same" },
  idle_transaction_timeout: { verdict: "same" },
  transaction_timeout: { verdict: "same" },
  client_idle_timeout: { verdict: "same" },
};

/** [peers] id = … */
export const peerVerdicts: VerdictTable = {
  host: { verdict: "same" },
  port: { verdict: "same" },
  pool_size: { verdict: "same" },
};
