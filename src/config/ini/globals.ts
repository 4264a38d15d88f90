/**
 * Every setting that PgBouncer 1.25 and 1.26 know in [pgbouncer], with its default and what becomes of it here.
 * Order and defaults are those of PgBouncer's manual (config.md); what is `same` has its declaration in ../settings.ts.
 */
import { authenticationVerdicts } from "./authentication.ts";
import { fileMode, logLevel } from "./values.ts";
import type { VerdictTable } from "./verdicts.ts";

const listening: VerdictTable = {
  listen_addr: { verdict: "same", default: "" },
  listen_port: { verdict: "same", default: "6432" },
  listen_backlog: { verdict: "same", default: "128" },
  unix_socket_dir: { verdict: "same", default: "/tmp" },
  unix_socket_mode: { verdict: "same", default: "0777", convert: fileMode },
  unix_socket_group: { verdict: "same", default: "" },
  so_reuseport: { verdict: "same", default: "0" },
  peer_id: { verdict: "same", default: "0" },
  user: { verdict: "same" },
  pidfile: { verdict: "same", default: "" },
  conffile: {
    verdict: "inert",
    kind: "text",
    doc: "A reload reads the file that the pooler was started with.",
  },
  job_name: { verdict: "inert", default: "pgbouncer", kind: "text", doc: "A name for services." },
  service_name: { verdict: "inert", kind: "text", doc: "The same, on Windows." },
};

const pools: VerdictTable = {
  pool_mode: { verdict: "same", default: "session" },
  max_client_conn: { verdict: "same", default: "100" },
  default_pool_size: { verdict: "same", default: "20" },
  min_pool_size: { verdict: "same", default: "0" },
  reserve_pool_size: { verdict: "same", default: "0" },
  reserve_pool_timeout: { verdict: "same", default: "5" },
  max_db_connections: { verdict: "same", default: "0" },
  max_user_connections: { verdict: "same", default: "0" },
  max_db_client_connections: { verdict: "same", default: "0" },
  max_user_client_connections: { verdict: "same", default: "0" },
  server_round_robin: { verdict: "same", default: "0" },
  pool_idle_timeout: { verdict: "same", default: "0" },
  autodb_idle_timeout: { verdict: "same", default: "3600" },
};

const sessions: VerdictTable = {
  track_extra_parameters: {
    verdict: "inert",
    default: "IntervalStyle",
    kind: "text",
    doc: "What PostgreSQL reports and a session may set is tracked without being named, but for `scram_iterations`.",
  },
  ignore_startup_parameters: { verdict: "same", default: "" },
  max_prepared_statements: { verdict: "same", default: "200" },
  server_reset_query: { verdict: "same", default: "DISCARD ALL" },
  server_reset_query_always: { verdict: "same", default: "0" },
  disable_pqexec: { verdict: "same", default: "0" },
  application_name_add_host: { verdict: "same", default: "0" },
  login_notify_message: { verdict: "same", default: "" },
};

const clientTls: VerdictTable = {
  client_tls_sslmode: { verdict: "same", default: "disable" },
  client_tls_ca_file: { verdict: "same", default: "" },
  client_tls_cert_file: { verdict: "same", default: "" },
  client_tls_key_file: { verdict: "same", default: "" },
  client_tls_protocols: { verdict: "same", default: "secure" },
  client_tls_ciphers: {
    verdict: "same",
    default: "default",
    doc: "The words for the default mean Node's list instead of the system's.",
  },
  client_tls13_ciphers: { verdict: "same", default: "" },
  client_tls_ecdhcurve: { verdict: "same", default: "auto", doc: "`none` is refused." },
  client_tls_dheparams: { verdict: "same", default: "auto", doc: "`legacy`, with 1024 bits, is refused." },
};

const serverTls: VerdictTable = {
  server_tls_sslmode: { verdict: "same", default: "prefer" },
  server_tls_ca_file: { verdict: "same", default: "" },
  server_tls_cert_file: { verdict: "same", default: "" },
  server_tls_key_file: { verdict: "same", default: "" },
  server_tls_protocols: { verdict: "same", default: "secure" },
  server_tls_ciphers: {
    verdict: "same",
    default: "default",
    doc: "The words for the default mean Node's list instead of the system's.",
  },
  server_tls13_ciphers: { verdict: "same", default: "" },
};

const times: VerdictTable = {
  server_lifetime: { verdict: "same", default: "3600" },
  server_idle_timeout: { verdict: "same", default: "600" },
  server_connect_timeout: { verdict: "same", default: "15", doc: "0 is refused." },
  server_login_retry: { verdict: "same", default: "15" },
  server_check_delay: { verdict: "same", default: "30" },
  server_check_query: { verdict: "same", default: "<empty>" },
  server_fast_close: { verdict: "same", default: "0" },
  query_timeout: { verdict: "same", default: "0" },
  query_wait_timeout: { verdict: "same", default: "120" },
  query_wait_notify: { verdict: "same", default: "5" },
  cancel_wait_timeout: { verdict: "same", default: "10" },
  client_idle_timeout: { verdict: "same", default: "0" },
  client_login_timeout: { verdict: "same", default: "60" },
  idle_transaction_timeout: { verdict: "same", default: "0" },
  transaction_timeout: { verdict: "same", default: "0" },
  suspend_timeout: {
    verdict: "inert",
    default: "10",
    kind: "seconds",
    doc: "For SUSPEND, which PgBouncer 1.26 has given up.",
  },
};

const logging: VerdictTable = {
  logfile: { verdict: "same", default: "" },
  syslog: { verdict: "same", default: "0", doc: "By way of the program `logger` of util-linux." },
  syslog_facility: { verdict: "same", default: "daemon" },
  syslog_ident: { verdict: "same", default: "pgbouncer" },
  log_connections: { verdict: "same", default: "1" },
  log_disconnections: { verdict: "same", default: "1" },
  log_pooler_errors: { verdict: "same", default: "1" },
  log_stats: { verdict: "same", default: "1" },
  stats_period: { verdict: "same", default: "60" },
  verbose: {
    verdict: "renamed",
    to: "log_level",
    convert: logLevel,
    doc: "0 is `info`, 1 `debug`, 2 and more `trace`.",
  },
};

const sockets: VerdictTable = {
  pkt_buf: { verdict: "inert", default: "4096", kind: "integer", doc: "Buffers have the size that fits." },
  max_packet_size: { verdict: "same", default: "2147483647", doc: "Less than 1024 is refused." },
  sbuf_loopcnt: {
    verdict: "inert",
    default: "5",
    kind: "integer",
    doc: "Each turn reads one chunk of a socket.",
  },
  tcp_defer_accept: {
    verdict: "inert",
    default: "1",
    kind: "integer",
    doc: "A connection that sends nothing costs little, and not for longer than `client_login_timeout`.",
  },
  tcp_socket_buffer: { verdict: "inert", default: "0", kind: "integer", doc: "The system's sizes are used." },
  tcp_keepalive: { verdict: "same", default: "1" },
  tcp_keepcnt: { verdict: "same", default: "0" },
  tcp_keepidle: { verdict: "same", default: "0" },
  tcp_keepintvl: { verdict: "same", default: "0" },
  tcp_user_timeout: { verdict: "same", default: "0" },
};

const names: VerdictTable = {
  dns_max_ttl: {
    verdict: "inert",
    default: "15",
    kind: "seconds",
    doc: "Names are looked up for each new server, by the system.",
  },
  dns_nxdomain_ttl: { verdict: "inert", default: "15", kind: "seconds", doc: "The same." },
  dns_zone_check_period: { verdict: "inert", default: "0", kind: "seconds", doc: "The same." },
  resolv_conf: {
    verdict: "unsupported",
    default: "",
    kind: "text",
    doc: "The system's resolver is asked, with its own configuration.",
  },
};

/** [pgbouncer] */
export const globalVerdicts: VerdictTable = {
  ...listening,
  ...pools,
  ...sessions,
  ...authenticationVerdicts,
  ...clientTls,
  ...serverTls,
  ...times,
  ...logging,
  ...sockets,
  ...names,
};

/** What a pgbouncer.ini means for settings that PgBouncer does not have, where our own default is another. */
export const ownDefaults: Readonly<Record<string, unknown>> = {
  log_format: "pgbouncer",
  auth_query_cache_age: 0,
};
