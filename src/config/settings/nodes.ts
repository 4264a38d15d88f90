/** Several nodes: how they are watched, and what happens while there is no primary. Named as in pgpool-II where it has the same. */
export const nodes = {
  failover_timeout: {
    type: "seconds",
    default: 60,
    minimum: 0,
    reloadable: true,
    doc: "How long a client waits that needs a server while there is no primary, or while the primary cannot be reached; then its session ends with SQLSTATE 57P03. 0: for ever. Only for databases that follow the primary. In place of `query_wait_timeout`, which begins anew when the primary is there.",
  },
  health_check_user: {
    type: "text",
    default: "",
    reloadable: true,
    doc: "The user that asks the nodes how they are. It needs no rights beyond logging in; as a member of pg_monitor it sees more of the standbys, and it needs EXECUTE on pg_promote for the console's PROMOTE. Needed if nodes are watched.",
  },
  health_check_password: {
    type: "text",
    default: "",
    secret: true,
    reloadable: true,
    doc: "Its password; if empty, its secret is looked for in `auth_file` and [users.NAME].",
  },
  health_check_database: {
    type: "text",
    default: "postgres",
    reloadable: true,
    doc: "The database that it logs in to.",
  },
  health_check_period: {
    type: "seconds",
    default: 1,
    minimum: 0.05,
    reloadable: true,
    doc: "How often each node is asked. Errors that clients meet have it asked at once.",
  },
  health_check_timeout: {
    type: "seconds",
    default: 2,
    minimum: 0.05,
    reloadable: true,
    doc: "How long a node may take to answer, connecting included.",
  },
  health_check_max_retries: {
    type: "integer",
    default: 2,
    minimum: 0,
    maximum: 1000,
    reloadable: true,
    doc: "How often a node that does not answer is asked again before it counts as down; then it takes two answers to be up.",
  },
  cluster_state_file: {
    type: "text",
    default: "",
    path: "output",
    reloadable: false,
    doc: "A file of the pooler's own, where it keeps across restarts which nodes are fenced or taken out and the highest timeline it has seen; empty: it starts without. What stands there only forbids: roles are always found out anew.",
  },
} as const;
