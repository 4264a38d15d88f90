/** The settings of the tables [nodes.NAME], [databases.NAME], [users.NAME] and [peers.NAME]; as plain as settings.ts. */

/** One PostgreSQL instance. */
export const nodeSettings = {
  host: {
    type: "text",
    default: "127.0.0.1",
    reloadable: true,
    doc: "Host name or address of the PostgreSQL instance; a folder (`/run/postgresql`) or `@name` means its Unix socket. Several are separated by commas, all with the same `port`: `load_balance_hosts` of a database says which is used, and one that cannot be reached is passed over.",
  },
  port: {
    type: "integer",
    default: 5432,
    minimum: 1,
    maximum: 65535,
    reloadable: true,
    doc: "Its port.",
  },
  role: {
    type: "choice",
    values: ["primary", "standby", "auto"],
    default: "primary",
    reloadable: true,
    doc: "What it is. `auto`: found out, again and again. Where several nodes are given and one of them is `auto`, all are watched, and databases that name no node are wherever the primary is at the time; a role that is given then only forbids the other one. See [clusters](clusters.md).",
  },
  weight: {
    type: "integer",
    minimum: 0,
    maximum: 1_000_000,
    reloadable: true,
    doc: "Its share of the reads, relative to the other nodes; 0: none. By default 1. See `load_balance_mode`.",
  },
  zone: {
    type: "text",
    reloadable: true,
    doc: "Where it stands, in a word of your choice: see `zone` of [pgsluice]. Shown in SHOW NODES.",
  },
  delay_threshold: {
    type: "integer",
    minimum: 0,
    maximum: 2_147_483_647,
    unit: "bytes",
    reloadable: true,
    doc: "How far behind the primary it may be and get reads, instead of the setting of this name in [pgsluice]; 0: as far as it likes.",
  },
  delay_threshold_by_time: {
    type: "seconds",
    minimum: 0,
    reloadable: true,
    doc: "The same by time, instead of the setting of this name in [pgsluice].",
  },
  max_connections: {
    type: "integer",
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "How many server connections to it there may be at once, all pools together; 0: any number.",
  },
  data_directory: {
    type: "text",
    reloadable: true,
    doc: "Its data directory on its own machine, where `pgsluice recover` makes it anew; an absolute path.",
  },
  server_tls_sslmode: {
    type: "choice",
    values: ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  server_tls_ca_file: {
    type: "text",
    path: "file",
    word: "system",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  server_tls_cert_file: {
    type: "text",
    path: "file",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  server_tls_key_file: {
    type: "text",
    path: "file",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  server_tls_protocols: {
    type: "text",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  server_tls_ciphers: {
    type: "text",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  server_tls13_ciphers: {
    type: "text",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
} as const;

/** One database as clients name it. */
export const databaseSettings = {
  node: {
    type: "text",
    reloadable: true,
    doc: "The node it lives on, one of [nodes.NAME]; by default the primary, which is the only node with this role, or whichever node it is at the time if there are several and one has the role `auto`.",
  },
  required_nodes: {
    type: "list",
    reloadable: true,
    doc: 'Nodes that have to be `up` for clients to log in to it, or `["*"]`: all of them. While one is not, they are told SQLSTATE 08S01 and which; who is logged in goes on. Only where nodes are watched (the role `auto`, or `discovery`). By default none is required.',
  },
  dbname: {
    type: "text",
    reloadable: true,
    doc: "Its name on the server; by default the name that clients use.",
  },
  user: {
    type: "text",
    reloadable: true,
    doc: "The user to log in to the server as, for every client; by default each client's own user.",
  },
  password: {
    type: "text",
    secret: true,
    reloadable: true,
    doc: "The password of `user`.",
  },
  auth_user: {
    type: "text",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  auth_query: {
    type: "text",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  auth_dbname: {
    type: "text",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  pool_size: {
    type: "integer",
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "Instead of `default_pool_size`.",
  },
  min_pool_size: {
    type: "integer",
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  reserve_pool_size: {
    type: "integer",
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  max_db_connections: {
    type: "integer",
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  server_lifetime: {
    type: "seconds",
    minimum: 0,
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  query_wait_timeout: {
    type: "seconds",
    minimum: 0,
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  multiplex: {
    type: "boolean",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  multiplex_latency: {
    type: "seconds",
    minimum: 0,
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  multiplex_coalesce: {
    type: "boolean",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  pool_mode: {
    type: "choice",
    values: ["auto", "session", "transaction", "statement"],
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  load_balance_mode: {
    type: "boolean",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice]: whether its reads go to standbys.",
  },
  read_only_function_list: {
    type: "list",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  write_function_list: {
    type: "list",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  connect_query: {
    type: "text",
    reloadable: true,
    doc: "A statement, or several, that runs on every new server connection before a client gets it. If it fails that is logged, and the connection is used all the same. (In the mode `session`, `server_reset_query` undoes settings that it makes, as with PgBouncer.)",
  },
  client_encoding: {
    type: "text",
    reloadable: true,
    doc: "The `client_encoding` of sessions whose clients ask for none.",
  },
  datestyle: {
    type: "text",
    reloadable: true,
    doc: "The `DateStyle` of sessions whose clients ask for none.",
  },
  timezone: {
    type: "text",
    reloadable: true,
    doc: "The `TimeZone` of sessions whose clients ask for none.",
  },
  application_name: {
    type: "text",
    reloadable: true,
    doc: "The `application_name` of sessions whose clients give none.",
  },
  max_db_client_connections: {
    type: "integer",
    minimum: 0,
    maximum: 1_000_000,
    unit: "clients",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  load_balance_hosts: {
    type: "choice",
    values: ["round-robin", "disable"],
    reloadable: true,
    doc: "Where its node has several hosts: `round-robin` opens each new server on the next of them, `disable` all on one, until that one cannot be reached. By default `round-robin`. Nobody looks whether a host is a primary.",
  },
} as const;

/** One user who logs in here. */
export const userSettings = {
  password: {
    type: "text",
    secret: true,
    reloadable: true,
    doc: "The secret: a password, `md5…`, or `SCRAM-SHA-256$…` as pg_authid holds it.",
  },
  pool_mode: {
    type: "choice",
    values: ["auto", "session", "transaction", "statement"],
    reloadable: true,
    doc: "Instead of the setting of this name of the database and of [pgsluice].",
  },
  pool_size: {
    type: "integer",
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "Instead of `pool_size` of the database and of `default_pool_size`.",
  },
  reserve_pool_size: {
    type: "integer",
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "Instead of the settings of this name of the database and in [pgsluice].",
  },
  max_user_connections: {
    type: "integer",
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  max_user_client_connections: {
    type: "integer",
    minimum: 0,
    maximum: 1_000_000,
    unit: "clients",
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  query_timeout: {
    type: "seconds",
    minimum: 0,
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  query_wait_timeout: {
    type: "seconds",
    minimum: 0,
    reloadable: true,
    doc: "Instead of the settings of this name of the database and in [pgsluice].",
  },
  idle_transaction_timeout: {
    type: "seconds",
    minimum: 0,
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  transaction_timeout: {
    type: "seconds",
    minimum: 0,
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
  client_idle_timeout: {
    type: "seconds",
    minimum: 0,
    reloadable: true,
    doc: "Instead of the setting of this name in [pgsluice].",
  },
} as const;

/** Another process of the same fleet, by its `peer_id`. */
export const peerSettings = {
  host: {
    type: "text",
    default: "",
    reloadable: true,
    doc: "Host name or address of that process alone, not one that leads to any of them; a folder or `@name` means its Unix socket. It must be given.",
  },
  port: {
    type: "integer",
    default: 6432,
    minimum: 1,
    maximum: 65535,
    reloadable: true,
    doc: "Its port.",
  },
  pool_size: {
    type: "integer",
    minimum: 0,
    maximum: 100_000,
    unit: "connections",
    reloadable: true,
    doc: "How many cancel requests may be on their way to it at once, instead of `default_pool_size`; 0 means any number.",
  },
} as const;
