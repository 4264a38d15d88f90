/** What is logged, how and where. */
export const logging = {
  logfile: {
    type: "text",
    default: "",
    path: "output",
    reloadable: true,
    doc: "File that log lines are appended to, besides standard error; a reload opens it anew, so that it can be rotated. Empty: none.",
  },
  syslog: {
    type: "boolean",
    default: false,
    reloadable: true,
    doc: "Whether log lines go to the system's log too, without their time. The program `logger` of util-linux carries them there; without it the start is refused.",
  },
  syslog_facility: {
    type: "choice",
    // biome-ignore format: one line reads better
    values: ["auth", "authpriv", "daemon", "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"],
    default: "daemon",
    reloadable: true,
    doc: "What the system's log files them under.",
  },
  syslog_ident: {
    type: "text",
    default: "pgsluice",
    reloadable: true,
    doc: "Which program's they are in the system's log. (PgBouncer's default is `pgbouncer`.)",
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
