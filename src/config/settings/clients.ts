/** How long a client may take. */
export const clients = {
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
