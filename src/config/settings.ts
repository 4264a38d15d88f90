/**
 * The settings of the table [pgsluice]: the one place where each is written down. Names, meanings and
 * defaults are PgBouncer's unless the text says otherwise; times are seconds.
 *
 * Plain data: what is derived from it is listed in declare.ts.
 */
import type { DeclarationTable } from "./declare.ts";

/** Where clients come in. */
const listening = {
  listen_addr: {
    type: "text",
    default: "127.0.0.1",
    reloadable: false,
    doc: "Addresses to accept TCP connections on, separated by commas; `*` means every address of the machine, an empty string none. (PgBouncer's default is an empty string.)",
  },
  listen_port: {
    type: "integer",
    default: 6432,
    minimum: 0,
    maximum: 65535,
    reloadable: false,
    doc: "Port to accept connections on; also part of the Unix socket's file name. 0 takes any free port.",
  },
  listen_backlog: {
    type: "integer",
    default: 1024,
    minimum: 1,
    maximum: 65535,
    unit: "connections",
    reloadable: false,
    doc: "How many connections may wait in the kernel to be accepted; those beyond it are delayed by a second or more. (PgBouncer's default is 128.)",
  },
  unix_socket_dir: {
    type: "text",
    default: "",
    path: "folder",
    reloadable: false,
    doc: "Folder of the Unix socket `.s.PGSQL.PORT`; a name that starts with `@` is an abstract socket; empty: no Unix socket. (PgBouncer's default is `/tmp`.)",
  },
  unix_socket_mode: {
    type: "text",
    default: "0777",
    reloadable: false,
    doc: "File mode of the Unix socket, in octal.",
  },
  max_client_conn: {
    type: "integer",
    default: 100,
    minimum: 1,
    maximum: 1_000_000,
    unit: "clients",
    reloadable: true,
    doc: "How many clients may be logged in at once. Twice as many connections may be in the middle of logging in; cancel requests are never counted.",
  },
  superuser_reserved_connections: {
    type: "integer",
    default: 3,
    minimum: 0,
    maximum: 10_000,
    unit: "clients",
    reloadable: true,
    doc: "Further places, beyond `max_client_conn`, that only `admin_users` may take. (PostgreSQL's name; PgBouncer has no such setting.)",
  },
  ignore_startup_parameters: {
    type: "list",
    default: [],
    reloadable: true,
    doc: "Parameters that clients may send when they connect and that are dropped.",
  },
  max_packet_size: {
    type: "integer",
    default: 2_147_483_647,
    minimum: 1024,
    maximum: 2_147_483_647,
    unit: "bytes",
    reloadable: true,
    doc: "The longest protocol message that is let through, in either direction.",
  },
  tcp_keepalive: {
    type: "boolean",
    default: true,
    reloadable: true,
    doc: "Whether TCP connections send keep-alive probes.",
  },
  tcp_keepidle: {
    type: "integer",
    default: 0,
    minimum: 0,
    maximum: 32_767,
    unit: "seconds",
    reloadable: true,
    doc: "Seconds of silence before the first keep-alive probe; 0 leaves it to the system.",
  },
} as const;

/** How clients and servers are brought together. */
const pooling = {
  pool_mode: {
    type: "choice",
    values: ["session", "transaction", "statement"],
    notYet: ["auto"],
    default: "session",
    reloadable: true,
    doc: "When a client gives its server back: `session`, when it disconnects; `transaction`, when its transaction ends; `statement`, after each statement (transaction blocks are refused). A mode that chooses by itself, `auto`, comes later.",
  },
  default_pool_size: {
    type: "integer",
    default: 20,
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "How many server connections one pool (node, database, user) may open; 0: no limit.",
  },
  min_pool_size: {
    type: "integer",
    default: 0,
    minimum: 0,
    maximum: 100_000,
    unit: "servers",
    reloadable: true,
    doc: "How many server connections a pool keeps open. Applies to pools that have clients.",
  },
  query_wait_timeout: {
    type: "seconds",
    default: 120,
    minimum: 0,
    reloadable: true,
    doc: "How long a client may wait for a server before it is disconnected; 0: for ever.",
  },
  query_wait_notify: {
    type: "seconds",
    default: 5,
    minimum: 0,
    reloadable: true,
    doc: "After how long a wait the client is sent a NOTICE that it is queued; 0: never.",
  },
  cancel_wait_timeout: {
    type: "seconds",
    default: 10,
    minimum: 0,
    reloadable: true,
    doc: "How long handing a cancel request to the server may take, from connecting to the server's close; 0: as long as connecting and a minute allow.",
  },
  cancel_on_client_disconnect: {
    type: "boolean",
    default: true,
    reloadable: true,
    doc: "Whether a statement is cancelled on its server when its client disappears while it runs. (PgBouncer has no such setting and lets it run.)",
  },
  max_prepared_statements: {
    type: "integer",
    default: 200,
    minimum: 0,
    maximum: 100_000,
    unit: "statements",
    reloadable: true,
    doc: "How many prepared statements of the extended protocol a server connection holds in the modes `transaction` and `statement`; the least recently used one makes room. 0 switches the handling of prepared statements off.",
  },
  server_reset_query: {
    type: "text",
    default: "DISCARD ALL",
    reloadable: true,
    doc: "Sent to a server before another client may have it, in the mode `session`; empty: nothing is sent.",
  },
  server_reset_query_always: {
    type: "boolean",
    default: false,
    reloadable: true,
    doc: "Whether `server_reset_query` is sent in the other modes too.",
  },
  server_reset_timeout: {
    type: "seconds",
    default: 10,
    minimum: 0.01,
    reloadable: true,
    doc: "How long `server_reset_query` may take before the server connection is closed instead. (PgBouncer has no such setting.)",
  },
} as const;

/** The connections to PostgreSQL. */
const servers = {
  server_lifetime: {
    type: "seconds",
    default: 3600,
    minimum: 0,
    reloadable: true,
    doc: "A server connection older than this is closed when it is idle; 0: after it was used once.",
  },
  server_idle_timeout: {
    type: "seconds",
    default: 600,
    minimum: 0,
    reloadable: true,
    doc: "A server connection that nobody has used for this long is closed; 0: never.",
  },
  server_connect_timeout: {
    type: "seconds",
    default: 15,
    minimum: 0.01,
    reloadable: true,
    doc: "How long connecting to a server and logging in there may take.",
  },
  server_allow_cleartext_password: {
    type: "boolean",
    default: false,
    reloadable: true,
    doc: "Whether a server that asks for a password in clear text gets it over an unencrypted TCP connection to another machine. (PgBouncer has no such setting and sends it.)",
  },
  server_login_retry: {
    type: "seconds",
    default: 15,
    minimum: 0,
    reloadable: true,
    doc: "How long to wait after a failed connection or login before it is tried again.",
  },
  server_check_query: {
    type: "text",
    default: "<empty>",
    reloadable: true,
    doc: "Sent to see whether a server that was idle for `server_check_delay` still answers; `<empty>` sends an empty query, an empty string switches the check off.",
  },
  server_check_delay: {
    type: "seconds",
    default: 30,
    minimum: 0,
    reloadable: true,
    doc: "How long a server may be idle and still be handed out unchecked; 0: always check.",
  },
} as const;

/** How long a client may take. */
const clients = {
  client_login_timeout: {
    type: "seconds",
    default: 60,
    minimum: 0,
    reloadable: true,
    doc: "How long a client may take from connecting until it is logged in; 0: for ever.",
  },
  client_idle_timeout: {
    type: "seconds",
    default: 0,
    minimum: 0,
    reloadable: true,
    doc: "A client that sends nothing for this long is disconnected; 0: never.",
  },
  idle_transaction_timeout: {
    type: "seconds",
    default: 0,
    minimum: 0,
    reloadable: true,
    doc: "A client that sends nothing for this long inside a transaction is disconnected; 0: never.",
  },
  query_timeout: {
    type: "seconds",
    default: 0,
    minimum: 0,
    reloadable: true,
    doc: "A statement that runs longer is ended, and its client disconnected; 0: never. PostgreSQL's `statement_timeout` is the better tool; this one is for servers that do not answer at all.",
  },
} as const;

/** Who may log in. */
const authentication = {
  auth_type: {
    type: "choice",
    values: ["trust", "reject", "password", "md5", "scram-sha-256", "cert", "hba"],
    aliases: { plain: "password" },
    notYet: ["any", "ldap", "pam"],
    default: "scram-sha-256",
    reloadable: true,
    doc: "How clients prove who they are. `md5` becomes SCRAM by itself where the stored secret is a SCRAM secret; `cert` takes the user name from the client's certificate; `plain` is another name for `password`; `trust` asks nothing; `reject` lets nobody in; `hba` lets the rules of `auth_hba_file` decide. (PgBouncer's default is `md5`.)",
  },
  auth_hba_file: {
    type: "text",
    default: "",
    path: "file",
    reloadable: true,
    doc: "File of rules in the format of PostgreSQL's pg_hba.conf; needed if `auth_type` is `hba`, else not read. The first rule that fits a client decides; a client that none fits is refused. Read again at a reload. [What is supported](operations.md#rules-of-access).",
  },
  auth_ident_file: {
    type: "text",
    default: "",
    path: "file",
    reloadable: true,
    doc: "File of maps in the format of PostgreSQL's pg_ident.conf, for rules of the method `cert` with `map=NAME`: which users a certificate stands for. Read again at a reload.",
  },
  auth_file: {
    type: "text",
    default: "",
    path: "file",
    reloadable: true,
    doc: 'File of users and secrets in PgBouncer\'s format: lines `"user" "secret"`, where the secret is a password, `md5…` or `SCRAM-SHA-256$…`. Read again at a reload. [users.NAME] has precedence.',
  },
  scram_iterations: {
    type: "integer",
    default: 4096,
    minimum: 1,
    maximum: 1_000_000,
    unit: "iterations",
    reloadable: true,
    doc: "Iterations of the SCRAM secrets that are made here from passwords.",
  },
  admin_users: {
    type: "list",
    default: [],
    reloadable: true,
    doc: "Users who administer the pooler: the console obeys all their commands, and `superuser_reserved_connections` are theirs.",
  },
  stats_users: {
    type: "list",
    default: [],
    reloadable: true,
    doc: "Users who may log in to the console and look, with SHOW, but change nothing.",
  },
  pgbouncer_sqlstate: {
    type: "boolean",
    default: false,
    reloadable: true,
    doc: "Whether every error of the pooler itself carries the SQLSTATE 08P01, as PgBouncer's do, instead of the one that PostgreSQL would use.",
  },
} as const;

/** TLS on both sides, with libpq's level names. */
const encryption = {
  client_tls_sslmode: {
    type: "choice",
    values: ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    default: "disable",
    reloadable: true,
    doc: "TLS towards clients: `disable` offers none; `allow` and `prefer` leave it to the client; `require` insists; `verify-ca` and `verify-full` also insist on a client certificate signed by `client_tls_ca_file`.",
  },
  client_tls_ca_file: {
    type: "text",
    default: "",
    path: "file",
    reloadable: true,
    doc: "Certificates (PEM) of those who may sign client certificates.",
  },
  client_tls_cert_file: {
    type: "text",
    default: "",
    path: "file",
    reloadable: true,
    doc: "Certificate (PEM) shown to clients; needed unless `client_tls_sslmode` is `disable`.",
  },
  client_tls_key_file: {
    type: "text",
    default: "",
    path: "file",
    reloadable: true,
    doc: "Private key (PEM) of `client_tls_cert_file`.",
  },
  server_tls_sslmode: {
    type: "choice",
    values: ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    default: "prefer",
    reloadable: true,
    doc: "TLS towards PostgreSQL, with the meanings of libpq's `sslmode`. Not used on Unix sockets.",
  },
  server_tls_ca_file: {
    type: "text",
    default: "",
    path: "file",
    word: "system",
    reloadable: true,
    doc: "Certificates (PEM) of those who may sign the certificates of servers; `system`: the well-known authorities that Node brings. If given, certificates are checked in every mode that uses TLS, as in libpq.",
  },
  server_tls_cert_file: {
    type: "text",
    default: "",
    path: "file",
    reloadable: true,
    doc: "Certificate (PEM) shown to servers that ask for one.",
  },
  server_tls_key_file: {
    type: "text",
    default: "",
    path: "file",
    reloadable: true,
    doc: "Private key (PEM) of `server_tls_cert_file`.",
  },
} as const;

/** The process itself. */
const processes = {
  pidfile: {
    type: "text",
    default: "",
    path: "output",
    reloadable: false,
    doc: "File that the process id is written to at the start and that is removed at the end; the start is refused while the process named in it lives. Empty: none.",
  },
  user: {
    type: "text",
    default: "",
    reloadable: false,
    doc: "User of the operating system to become when started as root, after the files of the configuration were read and before anything is opened or written. Empty: stay who started it.",
  },
} as const;

const logging = {
  logfile: {
    type: "text",
    default: "",
    path: "output",
    reloadable: true,
    doc: "File that log lines are appended to, besides standard error; a reload opens it anew, so that it can be rotated. Empty: none.",
  },
  log_level: {
    type: "choice",
    values: ["silent", "fatal", "error", "warn", "info", "debug", "trace"],
    default: "info",
    reloadable: true,
    doc: "The least important messages that are logged. (PgBouncer has `verbose` instead.)",
  },
  log_format: {
    type: "choice",
    values: ["json", "text", "pgbouncer"],
    default: "json",
    reloadable: false,
    doc: "`json`: one JSON object per line; `text`: lines for people; `pgbouncer`: PgBouncer's lines, for programs that read its log. (PgBouncer has no such setting; with a pgbouncer.ini the default is `pgbouncer`.)",
  },
  log_connections: {
    type: "boolean",
    default: true,
    reloadable: true,
    doc: "Whether logins are logged.",
  },
  log_disconnections: {
    type: "boolean",
    default: true,
    reloadable: true,
    doc: "Whether disconnects are logged, with their reasons.",
  },
  log_pooler_errors: {
    type: "boolean",
    default: true,
    reloadable: true,
    doc: "Whether errors that the pooler sends to clients are logged.",
  },
  log_stats: {
    type: "boolean",
    default: true,
    reloadable: true,
    doc: "Whether a line of statistics is logged every `stats_period`.",
  },
  stats_period: {
    type: "seconds",
    default: 60,
    minimum: 1,
    reloadable: true,
    doc: "How often the averages that the console shows are made anew, and logged.",
  },
} as const;

/** Everything in [pgsluice], in the order of docs/config.md. */
export const settings: typeof listening &
  typeof pooling &
  typeof servers &
  typeof clients &
  typeof authentication &
  typeof encryption &
  typeof processes &
  typeof logging = {
  ...listening,
  ...pooling,
  ...servers,
  ...clients,
  ...authentication,
  ...encryption,
  ...processes,
  ...logging,
};

/** The headings of docs/config.md, with the settings under each. */
export const settingGroups: readonly { readonly title: string; readonly table: DeclarationTable }[] = [
  { title: "Where clients connect", table: listening },
  { title: "Pools", table: pooling },
  { title: "Connections to PostgreSQL", table: servers },
  { title: "Time limits of clients", table: clients },
  { title: "Logging in", table: authentication },
  { title: "TLS", table: encryption },
  { title: "The process", table: processes },
  { title: "Logging", table: logging },
];
