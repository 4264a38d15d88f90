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
  transaction_timeout: {
    type: "seconds",
    default: 0,
    minimum: 0,
    reloadable: true,
    doc: "A transaction, or a statement outside one, that takes longer is ended, and its client disconnected; the time includes the wait for a server. 0: never.",
  },
  disable_pqexec: {
    type: "boolean",
    default: false,
    reloadable: true,
    doc: "Whether queries of the simple protocol are refused, and their clients disconnected: with it a query is exactly one statement.",
  },
  application_name_add_host: {
    type: "boolean",
    default: false,
    reloadable: true,
    doc: "Whether the address and port of a client are put behind the `application_name` that it gives when it connects.",
  },
  login_notify_message: {
    type: "text",
    default: "",
    reloadable: true,
    doc: "A NOTICE with this text is sent to every client that has logged in; empty: none.",
  },
} as const;
