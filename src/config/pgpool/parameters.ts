/**
 * Every parameter that pgpool-II knows in pgpool.conf (4.8, and the names of older versions), with its default and what
 * becomes of it in a pgsluice.toml. Defaults are those of pgpool-II's manual; `N` stands for a number. How what is
 * `converted` is written down is in mapping.ts.
 */

/** What becomes of a parameter. */
export interface ParameterVerdict {
  /**
   * `converted`: its meaning is in the file. `inert`: nothing is missing without it. `part`: says how another one
   * works, which tells of it. `missing`: there is nothing like it, or not yet.
   */
  readonly verdict: "converted" | "inert" | "part" | "missing";
  /** As it is written in pgpool.conf; undefined: nothing is said of it whatever its value. */
  readonly default?: string;
  /** Setting that it becomes, why nothing is missing, the parameter it is part of, or what to do instead. */
  readonly doc: string;
}

export type ParameterTable = Readonly<Record<string, ParameterVerdict>>;

function converted(doc: string): ParameterVerdict {
  return { verdict: "converted", doc };
}

function inert(initial: string, doc: string): ParameterVerdict {
  return { verdict: "inert", default: initial, doc };
}

function missing(initial: string, doc: string): ParameterVerdict {
  return { verdict: "missing", default: initial, doc };
}

/** Parameters that only say how `of` works. */
function partsOf(of: string, ...names: string[]): ParameterTable {
  return Object.fromEntries(names.map((name) => [name, { verdict: "part", doc: `Part of \`${of}\`.` }]));
}

const clustering =
  "Only `streaming_replication` and `raw` have a counterpart: statements go to the primary alone. In the other modes pgpool-II itself writes to every node, which nothing does here: keep pgpool-II, or let PostgreSQL replicate.";

const general: ParameterTable = {
  backend_clustering_mode: missing("streaming_replication", clustering),
  replication_mode: missing("off", clustering),
  master_slave_mode: inert("on", "What was called so is `streaming_replication`."),
  ...partsOf("backend_clustering_mode", "master_slave_sub_mode"),
  listen_addresses: converted("`listen_addr`"),
  port: converted("`listen_port`"),
  unix_socket_directories: converted("`unix_socket_dir`, of several the first"),
  unix_socket_group: converted("`unix_socket_group`"),
  unix_socket_permissions: converted("`unix_socket_mode`"),
  reserved_connections: converted(
    "`max_client_conn` is that much smaller; clients beyond it are always told 53300",
  ),
  listen_backlog_multiplier: converted("`listen_backlog`, times `num_init_children`"),
  serialize_accept: inert("off", "One process accepts all clients."),
  pcp_listen_addresses: inert(
    "localhost",
    "There is no PCP: the console, database `pgbouncer`, does its work.",
  ),
  ...partsOf("pcp_listen_addresses", "pcp_port", "pcp_socket_dir"),
};

const backends: ParameterTable = {
  backend_hostnameN: converted("`nodes.NAME.host`"),
  backend_portN: converted("`nodes.NAME.port`"),
  backend_weightN: missing(
    "1",
    "Statements are not spread over several nodes yet: the primary gets all of them.",
  ),
  backend_data_directoryN: { verdict: "inert", doc: "Files of the server are left alone." },
  backend_flagN: converted(
    "`ALWAYS_PRIMARY` makes a node the primary; without failover the others say nothing",
  ),
  backend_application_nameN: converted("the node's name"),
};

const authentication: ParameterTable = {
  enable_pool_hba: converted('`auth_type = "hba"`, with pool_hba.conf as `auth_hba_file`'),
  pool_passwd: converted(
    "`auth_file`: passwords and md5 hashes; entries that are encrypted with AES cannot be read",
  ),
  authentication_timeout: converted("`client_login_timeout`"),
  allow_clear_text_frontend_auth: missing(
    "off",
    'Users must be known here, by auth_file or by auth_query; `auth_type = "password"` asks for passwords in clear text.',
  ),
};

const encryption: ParameterTable = {
  ssl: converted("`client_tls_sslmode` and `server_tls_sslmode`"),
  ssl_key: converted("`client_tls_key_file`"),
  ssl_cert: converted("`client_tls_cert_file`"),
  ssl_ca_cert: converted("`client_tls_ca_file` and `server_tls_ca_file`"),
  ssl_ciphers: converted("`client_tls_ciphers`"),
  ssl_ecdh_curve: converted("`client_tls_ecdhcurve`"),
  ssl_ca_cert_dir: missing(
    "",
    "Put the authorities into one file, and name it in client_tls_ca_file and server_tls_ca_file.",
  ),
  ssl_crl_file: missing(
    "",
    "Lists of revoked certificates are not looked at: use certificates of short life.",
  ),
  ssl_prefer_server_ciphers: inert("off", "The order of ciphers is ours."),
  ssl_dh_params_file: inert("", "Key exchange is over elliptic curves, or with groups that OpenSSL brings."),
  ssl_passphrase_command: missing("", "A key must be there unencrypted, readable for the pooler alone."),
};

const pools: ParameterTable = {
  num_init_children: converted(
    "`max_client_conn`, and `default_pool_size`, so that no client waits that did not before",
  ),
  max_pool: inert("4", "Servers are shared by all clients, and not kept by each process for itself."),
  child_life_time: inert("5min", "There are no child processes."),
  child_max_connections: inert("0", "There are no child processes."),
  connection_life_time: converted("`server_idle_timeout`"),
  client_idle_limit: converted("`client_idle_timeout`"),
  process_management_mode: inert("static", "There are no child processes."),
  ...partsOf(
    "process_management_mode",
    "process_management_strategy",
    "min_spare_children",
    "max_spare_children",
  ),
  connection_cache: converted("if off: `server_lifetime = 0`, each server is used once"),
  reset_query_list: converted(
    "`server_reset_query`, without ABORT: a transaction that is left open is ended anyway",
  ),
};

const logs: ParameterTable = {
  log_destination: converted("`syslog`"),
  syslog_facility: converted("`syslog_facility`"),
  syslog_ident: converted("`syslog_ident`"),
  log_connections: converted("`log_connections`"),
  log_disconnections: converted("`log_disconnections`"),
  log_min_messages: converted("`log_level`"),
  log_line_prefix: inert(
    "%m: %a pid %p: ",
    "Each line has its time; JSON lines have everything else as fields.",
  ),
  log_hostname: missing("off", "Clients are logged by their address."),
  log_statement: missing("off", "Use PostgreSQL's own log_statement."),
  log_per_node_statement: missing("off", "Use PostgreSQL's own log_statement."),
  notice_per_node_statement: missing("off", "Statements are not told to clients."),
  log_client_messages: missing("off", "Messages of clients are not logged."),
  log_backend_messages: missing("none", "Messages of servers are not logged."),
  log_standby_delay: inert("if_over_threshold", 'Standbys are watched where nodes have `role = "auto"`.'),
  debug_level: inert("0", "`log_level` says how much is logged."),
  log_pcp_processes: inert("on", "There is no PCP."),
  log_error_verbosity: inert("default", "Errors are logged as a whole."),
  client_min_messages: inert("notice", "Clients get what PostgreSQL sends them."),
  logging_collector: missing(
    "off",
    "Set `logfile`, and let logrotate move it and send HUP; or let systemd keep standard error.",
  ),
  ...partsOf("logging_collector", "log_directory", "log_filename", "log_file_mode"),
  ...partsOf("logging_collector", "log_rotation_age", "log_rotation_size", "log_truncate_on_rotation"),
};

const files: ParameterTable = {
  pid_file_name: converted("`pidfile`"),
  work_dir: { verdict: "inert", doc: "No state is kept in files." },
};

const replication: ParameterTable = {
  replicate_select: missing("off", "Statements go to one node alone."),
  ...partsOf("backend_clustering_mode", "insert_lock", "lobj_lock_table", "replication_stop_on_mismatch"),
  ...partsOf("backend_clustering_mode", "failover_if_affected_tuples_mismatch"),
};

const notSpread =
  'Reads are spread in the mode `auto`, once `load_balance_mode = true` is set and nodes have `role = "auto"`: read clusters.md first.';

const balancing: ParameterTable = {
  load_balance_mode: missing("off", notSpread),
  ignore_leading_white_space: inert("on", "It says how statements are told apart."),
  read_only_function_list: converted(
    "`read_only_function_list`. pgpool-II takes functions that are not listed for writing ones; here they are judged by what is known of them.",
  ),
  write_function_list: converted("`write_function_list`"),
  ...partsOf("load_balance_mode", "allow_sql_comments"),
  ...partsOf("load_balance_mode", "primary_routing_query_pattern_list", "disable_load_balance_on_write"),
  ...partsOf("load_balance_mode", "dml_adaptive_object_relationship_list", "statement_level_load_balance"),
  ...partsOf("load_balance_mode", "track_table_mutation_ttl_factor", "track_table_mutation_max_staleness"),
  ...partsOf("load_balance_mode", "track_table_mutation_cold_start_duration"),
  user_redirect_preference_list: missing(
    "",
    `${notSpread} The setting of this name then says where, by names of nodes.`,
  ),
  database_redirect_preference_list: missing(
    "",
    `${notSpread} The setting of this name then says where, by names of nodes.`,
  ),
  app_name_redirect_preference_list: missing(
    "",
    `${notSpread} The setting of this name then says where, by names of nodes.`,
  ),
};

const streaming: ParameterTable = {
  sr_check_period: inert("10", 'Standbys are watched where nodes have `role = "auto"`.'),
  ...partsOf("sr_check_period", "sr_check_user", "sr_check_password", "sr_check_database"),
  ...partsOf("load_balance_mode", "delay_threshold", "delay_threshold_by_time", "prefer_lower_delay_standby"),
  ...partsOf("load_balance_mode", "replication_delay_source_cmd"),
  follow_primary_command: missing(
    "",
    "Nothing is promoted or made to follow here: leave it to what runs your cluster (Patroni, repmgr).",
  ),
};

const notProbed =
  'Give the nodes `role = "auto"` and set `health_check_user`: they are watched then, and the primary is followed (docs/clusters.md). Nobody is promoted by itself.';

const recovery =
  "`pgsluice recover` makes a node anew, on that node's machine, with commands of its own: `recovery_user`, `recovery_start_command` and `data_directory` have to be given.";
const hooks =
  "`failover_command` of [pgsluice] is a program with arguments, and has the event in its environment instead of `%` signs: write it anew (docs/clusters.md).";

const failover: ParameterTable = {
  health_check_period: missing("0", notProbed),
  ...partsOf("health_check_period", "health_check_timeout", "health_check_user", "health_check_password"),
  ...partsOf("health_check_period", "health_check_database", "health_check_max_retries"),
  ...partsOf("health_check_period", "health_check_retry_delay", "health_check_test"),
  connect_timeout: converted("`server_connect_timeout`"),
  failover_command: missing("", hooks),
  failback_command: missing("", hooks),
  failover_on_backend_error: inert("on", "A server that fails is tried again after `server_login_retry`."),
  failover_on_backend_shutdown: missing("off", notProbed),
  detach_false_primary: missing("off", notProbed),
  search_primary_node_timeout: inert("5min", "The primary is the one that the file names."),
  recovery_1st_stage_command: missing("", recovery),
  recovery_2nd_stage_command: missing("", recovery),
  ...partsOf("recovery_1st_stage_command", "recovery_user", "recovery_password", "recovery_timeout"),
  ...partsOf("recovery_1st_stage_command", "client_idle_limit_in_recovery"),
  auto_failback: missing("off", notProbed),
  ...partsOf("auto_failback", "auto_failback_interval"),
};

const watchdog: ParameterTable = {
  use_watchdog: missing(
    "off",
    "Poolers do not elect a leader: run one beside each application, or several behind a virtual IP (keepalived) or a TCP load balancer.",
  ),
  ...partsOf(
    "use_watchdog",
    "trusted_servers",
    "trusted_server_command",
    "ping_path",
    "hostnameN",
    "wd_portN",
  ),
  ...partsOf("use_watchdog", "pgpool_portN", "wd_priority", "wd_authkey", "wd_ipc_socket_dir", "delegate_ip"),
  ...partsOf("use_watchdog", "if_cmd_path", "if_up_cmd", "if_down_cmd", "arping_path", "arping_cmd"),
  ...partsOf(
    "use_watchdog",
    "clear_memqcache_on_escalation",
    "wd_escalation_command",
    "wd_de_escalation_command",
  ),
  ...partsOf("use_watchdog", "failover_when_quorum_exists", "failover_require_consensus"),
  ...partsOf(
    "use_watchdog",
    "allow_multiple_failover_requests_from_node",
    "enable_consensus_with_half_votes",
  ),
  ...partsOf("use_watchdog", "wd_remove_shutdown_nodes", "wd_lost_node_removal_timeout"),
  ...partsOf("use_watchdog", "wd_no_show_node_removal_timeout", "wd_monitoring_interfaces_list"),
  ...partsOf("use_watchdog", "wd_lifecheck_method", "wd_interval", "heartbeat_hostnameN", "heartbeat_portN"),
  ...partsOf("use_watchdog", "heartbeat_deviceN", "wd_heartbeat_keepalive", "wd_heartbeat_deadtime"),
  ...partsOf("use_watchdog", "wd_life_point", "wd_lifecheck_query", "wd_lifecheck_dbname"),
  ...partsOf("use_watchdog", "wd_lifecheck_user", "wd_lifecheck_password"),
};

const caches: ParameterTable = {
  relcache_size: inert("256", "The catalog is not asked."),
  ...partsOf("relcache_size", "relcache_expire", "enable_shared_relcache", "relcache_query_target"),
  ...partsOf("load_balance_mode", "check_temp_table", "check_unlogged_table"),
  memory_cache_enabled: missing("off", "Results are not cached."),
  ...partsOf(
    "memory_cache_enabled",
    "memqcache_method",
    "memqcache_memcached_host",
    "memqcache_memcached_port",
  ),
  ...partsOf("memory_cache_enabled", "memqcache_total_size", "memqcache_max_num_cache", "memqcache_expire"),
  ...partsOf("memory_cache_enabled", "memqcache_auto_cache_invalidation", "memqcache_maxcache"),
  ...partsOf("memory_cache_enabled", "memqcache_cache_block_size", "memqcache_oiddir"),
  ...partsOf("memory_cache_enabled", "cache_safe_memqcache_table_list", "cache_unsafe_memqcache_table_list"),
};

export const pgpoolParameters: ParameterTable = {
  ...general,
  ...backends,
  ...authentication,
  ...encryption,
  ...pools,
  ...logs,
  ...files,
  ...replication,
  ...balancing,
  ...streaming,
  ...failover,
  ...watchdog,
  ...caches,
};

/** Names of older versions, and what they are called now. */
export const formerNames: Readonly<Record<string, string>> = {
  socket_dir: "unix_socket_directories",
  logdir: "work_dir",
  white_function_list: "read_only_function_list",
  black_function_list: "write_function_list",
  black_query_pattern_list: "primary_routing_query_pattern_list",
  white_memqcache_table_list: "cache_safe_memqcache_table_list",
  black_memqcache_table_list: "cache_unsafe_memqcache_table_list",
  follow_master_command: "follow_primary_command",
  fail_over_on_backend_error: "failover_on_backend_error",
  delegate_IP: "delegate_ip",
  wd_hostname: "hostnameN",
  wd_port: "wd_portN",
  other_pgpool_hostnameN: "hostnameN",
  other_pgpool_portN: "pgpool_portN",
  other_wd_portN: "wd_portN",
  heartbeat_destinationN: "heartbeat_hostnameN",
  heartbeat_destination_portN: "heartbeat_portN",
  wd_heartbeat_port: "heartbeat_portN",
};

/** What is said of a parameter; `number` is what stands for `N`. Undefined: pgpool-II has none of this name. */
export function verdictOf(
  written: string,
):
  | { readonly name: string; readonly verdict: ParameterVerdict; readonly number: number | undefined }
  | undefined {
  const [, stem = written, digits] = /^(.*?)(\d+)$/.exec(written) ?? [];
  for (const candidate of digits === undefined ? [written] : [`${stem}N`, stem, written]) {
    const name = formerNames[candidate] ?? candidate;
    const verdict = Object.hasOwn(pgpoolParameters, name) ? pgpoolParameters[name] : undefined;
    if (verdict !== undefined)
      return { name, verdict, number: digits === undefined ? undefined : Number(digits) };
  }
  return undefined;
}
