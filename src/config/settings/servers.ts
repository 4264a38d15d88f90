/** The connections to PostgreSQL. */
export const servers = {
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
  server_fast_close: {
    type: "boolean",
    default: false,
    reloadable: true,
    doc: "Whether a server that is to be closed, because of RECONNECT or a reload, is closed when its client is outside a transaction, and the client with it; by default a client that keeps its server for its whole session, as in the mode `session`, goes on until it leaves.",
  },
} as const;
