/**
 * The connection parameters of PostgreSQL 18's libpq, declared once: keyword, environment variable, compiled
 * default and what PQconndefaults tells about each (fe-connect.c, PQconninfoOptions), in libpq's order. The
 * types of the object form, the choices that are accepted and the table in docs/client.md all come from here.
 *
 * `support` says what this client makes of a parameter: `yes`, it does what libpq does or what `note` says;
 * `inert`, it is accepted and changes nothing; `refused`, a value that asks for something is an error which
 * names the parameter. `note` is Markdown.
 */

type Support = "yes" | "inert" | "refused";

interface ParameterDeclaration {
  /** The variable that fills the parameter in where nothing else does. */
  readonly envvar: string | null;
  /** The default that is built in. */
  readonly compiled: string | null;
  readonly label: string;
  /** As in PQconninfoOption: "" shown, "*" secret, "D" not shown in ordinary dialogs. */
  readonly dispchar: "" | "*" | "D";
  /** Width of a field to type it into, in characters. */
  readonly dispsize: number;
  /** `integer` and `flag` may be given as a number or a boolean in the object form. */
  readonly value: "text" | "integer" | "flag" | readonly string[];
  readonly support: Support;
  readonly note: string;
}

// biome-ignore format: one line of facts and one of prose for each parameter
export const connectionParameters = {
  service: { envvar: "PGSERVICE", compiled: null, label: "Database-Service", dispchar: "", dispsize: 20, value: "text", support: "yes",
    note: "A group of the service file: `PGSERVICEFILE`, else `~/.pg_service.conf`, then `pg_service.conf` in `PGSYSCONFDIR`. `ldap://` lines are refused." },
  user: { envvar: "PGUSER", compiled: null, label: "Database-User", dispchar: "", dispsize: 20, value: "text", support: "yes",
    note: "The name of the account that runs the program if nobody says otherwise." },
  password: { envvar: "PGPASSWORD", compiled: null, label: "Database-Password", dispchar: "*", dispsize: 20, value: "text", support: "yes",
    note: "If missing or empty, the password file is asked." },
  passfile: { envvar: "PGPASSFILE", compiled: null, label: "Database-Password-File", dispchar: "", dispsize: 64, value: "text", support: "yes",
    note: "`~/.pgpass` if not given. Ignored with a warning if others than its owner may read or write it." },
  channel_binding: { envvar: "PGCHANNELBINDING", compiled: "prefer", label: "Channel-Binding", dispchar: "", dispsize: 8, value: ["disable", "prefer", "require"], support: "yes",
    note: "Whether SCRAM proves that both ends see the same TLS connection." },
  connect_timeout: { envvar: "PGCONNECT_TIMEOUT", compiled: null, label: "Connect-timeout", dispchar: "", dispsize: 10, value: "integer", support: "yes",
    note: "Seconds for each address; zero, negative or not given waits for ever." },
  dbname: { envvar: "PGDATABASE", compiled: null, label: "Database-Name", dispchar: "", dispsize: 20, value: "text", support: "yes",
    note: "The user's name if not given. In the object form a URI or `key=value` string here is taken apart; `database` takes a name as it is." },
  host: { envvar: "PGHOST", compiled: null, label: "Database-Host", dispchar: "", dispsize: 40, value: "text", support: "yes",
    note: "One or several with commas, tried in order. What starts with `/` or `@` is the folder of a Unix socket. If not given: `/var/run/postgresql` if there is a socket for the port, else `/tmp`; `localhost` on Windows." },
  hostaddr: { envvar: "PGHOSTADDR", compiled: null, label: "Database-Host-IP-Address", dispchar: "", dispsize: 45, value: "text", support: "yes",
    note: "Numeric addresses to connect to, as many as there are hosts; `host` stays the name for TLS and the password file." },
  port: { envvar: "PGPORT", compiled: "5432", label: "Database-Port", dispchar: "", dispsize: 6, value: "integer", support: "yes",
    note: "One for all hosts, or one each, with commas." },
  client_encoding: { envvar: "PGCLIENTENCODING", compiled: null, label: "Client-Encoding", dispchar: "", dispsize: 10, value: "text", support: "yes",
    note: "`auto` or a spelling of UTF8; any other is refused, because text is read and written as UTF-8. If not given, `connect` asks for UTF8, and libpq's calls for nothing." },
  options: { envvar: "PGOPTIONS", compiled: "", label: "Backend-Options", dispchar: "", dispsize: 40, value: "text", support: "yes",
    note: "Command-line options for the server, such as `-c geqo=off`." },
  application_name: { envvar: "PGAPPNAME", compiled: null, label: "Application-Name", dispchar: "", dispsize: 64, value: "text", support: "yes",
    note: "Shown by the server in `pg_stat_activity` and in its log." },
  fallback_application_name: { envvar: null, compiled: null, label: "Fallback-Application-Name", dispchar: "", dispsize: 64, value: "text", support: "yes",
    note: "Used where `application_name` is not given at all." },
  keepalives: { envvar: null, compiled: null, label: "TCP-Keepalives", dispchar: "", dispsize: 1, value: "flag", support: "yes",
    note: "On if not given; `0` turns TCP keep-alive off." },
  keepalives_idle: { envvar: null, compiled: null, label: "TCP-Keepalives-Idle", dispchar: "", dispsize: 10, value: "integer", support: "yes",
    note: "Seconds of idleness before the first probe; zero or not given leaves it to the system." },
  keepalives_interval: { envvar: null, compiled: null, label: "TCP-Keepalives-Interval", dispchar: "", dispsize: 10, value: "integer", support: "refused",
    note: "Node cannot set it. Zero, or any value where keep-alive is off or every host is a Unix socket, is accepted." },
  keepalives_count: { envvar: null, compiled: null, label: "TCP-Keepalives-Count", dispchar: "", dispsize: 10, value: "integer", support: "refused",
    note: "As `keepalives_interval`." },
  tcp_user_timeout: { envvar: null, compiled: null, label: "TCP-User-Timeout", dispchar: "", dispsize: 10, value: "integer", support: "refused",
    note: "Node cannot set it. Zero, or any value where every host is a Unix socket, is accepted." },
  sslmode: { envvar: "PGSSLMODE", compiled: "prefer", label: "SSL-Mode", dispchar: "", dispsize: 12, value: ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"], support: "yes",
    note: "`verify-full` if not given and `sslrootcert` is `system`. `requiressl=1` in a string and `PGREQUIRESSL=1` mean `require`, `ssl=true` in a URI as well." },
  sslnegotiation: { envvar: "PGSSLNEGOTIATION", compiled: "postgres", label: "SSL-Negotiation", dispchar: "", dispsize: 9, value: ["postgres", "direct"], support: "yes",
    note: "`direct` starts TLS without asking first; it needs `sslmode` `require` or stronger, and PostgreSQL 17." },
  sslcompression: { envvar: "PGSSLCOMPRESSION", compiled: "0", label: "SSL-Compression", dispchar: "", dispsize: 1, value: "flag", support: "inert",
    note: "TLS is never compressed, as with any current OpenSSL." },
  sslcert: { envvar: "PGSSLCERT", compiled: null, label: "SSL-Client-Cert", dispchar: "", dispsize: 64, value: "text", support: "yes",
    note: "A file, or PEM text. `~/.postgresql/postgresql.crt`, if it is there, where not given. A file that was named and is missing is an error." },
  sslkey: { envvar: "PGSSLKEY", compiled: null, label: "SSL-Client-Key", dispchar: "", dispsize: 64, value: "text", support: "yes",
    note: "A file, or PEM text; `~/.postgresql/postgresql.key` if not given. The file may be readable by its owner alone, or by its group if root owns it. `engine:key` is refused." },
  sslcertmode: { envvar: "PGSSLCERTMODE", compiled: null, label: "SSL-Client-Cert-Mode", dispchar: "", dispsize: 8, value: ["disable", "allow", "require"], support: "yes",
    note: "Whether a client certificate is never sent, sent if the server asks (`allow`, the default), or must have been asked for and sent." },
  sslpassword: { envvar: null, compiled: null, label: "SSL-Client-Key-Password", dispchar: "*", dispsize: 20, value: "text", support: "yes",
    note: "Passphrase of `sslkey`." },
  sslrootcert: { envvar: "PGSSLROOTCERT", compiled: null, label: "SSL-Root-Certificate", dispchar: "", dispsize: 64, value: "text", support: "yes",
    note: "A file, PEM text, or `system` for the roots that Node brings. `~/.postgresql/root.crt`, if it is there, where not given. If there is one, the server's chain is verified in every mode that ends in TLS." },
  sslcrl: { envvar: "PGSSLCRL", compiled: null, label: "SSL-Revocation-List", dispchar: "", dispsize: 64, value: "text", support: "yes",
    note: "`~/.postgresql/root.crl`, if it is there, where neither this nor `sslcrldir` is given." },
  sslcrldir: { envvar: "PGSSLCRLDIR", compiled: null, label: "SSL-Revocation-List-Dir", dispchar: "", dispsize: 64, value: "text", support: "yes",
    note: "A folder of revocation lists, named by their hashes." },
  sslsni: { envvar: "PGSSLSNI", compiled: "1", label: "SSL-SNI", dispchar: "", dispsize: 1, value: "flag", support: "yes",
    note: "Whether the host's name is told to the server in the TLS handshake." },
  requirepeer: { envvar: "PGREQUIREPEER", compiled: null, label: "Require-Peer", dispchar: "", dispsize: 10, value: "text", support: "refused",
    note: "Node cannot tell the account of the other end. Accepted where no host is a Unix socket, since it means nothing there." },
  require_auth: { envvar: "PGREQUIREAUTH", compiled: null, label: "Require-Auth", dispchar: "", dispsize: 14, value: "text", support: "yes",
    note: "The methods that the server may ask for: `password`, `md5`, `scram-sha-256`, `none`, `gss`, `sspi`, `oauth` with commas, or all of them with `!`. The last three may be named but never succeed." },
  min_protocol_version: { envvar: "PGMINPROTOCOLVERSION", compiled: null, label: "Min-Protocol-Version", dispchar: "", dispsize: 6, value: ["3.0", "3.2", "latest"], support: "yes",
    note: "`3.0` if not given." },
  max_protocol_version: { envvar: "PGMAXPROTOCOLVERSION", compiled: null, label: "Max-Protocol-Version", dispchar: "", dispsize: 6, value: ["3.0", "3.2", "latest"], support: "yes",
    note: "`3.0` if not given, `latest` if `min_protocol_version` asks for more than that." },
  ssl_min_protocol_version: { envvar: "PGSSLMINPROTOCOLVERSION", compiled: "TLSv1.2", label: "SSL-Minimum-Protocol-Version", dispchar: "", dispsize: 8, value: ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"], support: "yes",
    note: "Capital or small letters. TLSv1.2 also where it is empty." },
  ssl_max_protocol_version: { envvar: "PGSSLMAXPROTOCOLVERSION", compiled: null, label: "SSL-Maximum-Protocol-Version", dispchar: "", dispsize: 8, value: ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"], support: "yes",
    note: "Capital or small letters. The newest that Node has if not given." },
  gssencmode: { envvar: "PGGSSENCMODE", compiled: "disable", label: "GSSENC-Mode", dispchar: "", dispsize: 8, value: ["disable", "prefer", "require"], support: "refused",
    note: "There is no GSSAPI here: `require` is refused, `prefer` and `disable` are the same." },
  krbsrvname: { envvar: "PGKRBSRVNAME", compiled: "postgres", label: "Kerberos-service-name", dispchar: "", dispsize: 20, value: "text", support: "inert",
    note: "Of use only for GSSAPI, which a server cannot get from this client." },
  gsslib: { envvar: "PGGSSLIB", compiled: null, label: "GSS-library", dispchar: "", dispsize: 7, value: "text", support: "inert",
    note: "As `krbsrvname`." },
  gssdelegation: { envvar: "PGGSSDELEGATION", compiled: "0", label: "GSS-delegation", dispchar: "", dispsize: 1, value: "flag", support: "inert",
    note: "As `krbsrvname`." },
  replication: { envvar: null, compiled: null, label: "Replication", dispchar: "D", dispsize: 5, value: "flag", support: "yes",
    note: "`true` for physical replication, `database` for logical; a session that takes replication commands." },
  target_session_attrs: { envvar: "PGTARGETSESSIONATTRS", compiled: "any", label: "Target-Session-Attrs", dispchar: "", dispsize: 15, value: ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"], support: "yes",
    note: "What the session must be like; else the next host is tried." },
  load_balance_hosts: { envvar: "PGLOADBALANCEHOSTS", compiled: "disable", label: "Load-Balance-Hosts", dispchar: "", dispsize: 8, value: ["disable", "random"], support: "yes",
    note: "`random` shuffles the hosts, and the addresses of each." },
  scram_client_key: { envvar: null, compiled: null, label: "SCRAM-Client-Key", dispchar: "D", dispsize: 64, value: "text", support: "yes",
    note: "With `scram_server_key` instead of a password: 32 bytes in base64. Both are given or neither." },
  scram_server_key: { envvar: null, compiled: null, label: "SCRAM-Server-Key", dispchar: "D", dispsize: 64, value: "text", support: "yes",
    note: "See `scram_client_key`." },
  oauth_issuer: { envvar: null, compiled: null, label: "OAuth-Issuer", dispchar: "", dispsize: 40, value: "text", support: "refused",
    note: "There is no OAuth here." },
  oauth_client_id: { envvar: null, compiled: null, label: "OAuth-Client-ID", dispchar: "", dispsize: 40, value: "text", support: "refused",
    note: "There is no OAuth here." },
  oauth_client_secret: { envvar: null, compiled: null, label: "OAuth-Client-Secret", dispchar: "*", dispsize: 40, value: "text", support: "refused",
    note: "There is no OAuth here." },
  oauth_scope: { envvar: null, compiled: null, label: "OAuth-Scope", dispchar: "", dispsize: 15, value: "text", support: "refused",
    note: "There is no OAuth here." },
  sslkeylogfile: { envvar: null, compiled: null, label: "SSL-Key-Log-File", dispchar: "D", dispsize: 64, value: "text", support: "yes",
    note: "A file that the secrets of TLS are appended to, for the analysis of recorded traffic." },
} as const;

/** The name of a connection parameter. */
export type ConnectionKeyword = keyof typeof connectionParameters;

/** The parameters that have a fixed set of values. */
export type ChoiceKeyword = {
  [Keyword in ConnectionKeyword]: (typeof connectionParameters)[Keyword]["value"] extends readonly string[]
    ? Keyword
    : never;
}[ConnectionKeyword];

/** The values of such a parameter. */
export type ChoiceOf<Keyword extends ChoiceKeyword> = (typeof connectionParameters)[Keyword]["value"][number];

/** The values that are named in the table; any other string compiles too, and is checked when it is used. */
type Value<Kind> = Kind extends readonly (infer Choice extends string)[]
  ? Choice | (string & {})
  : Kind extends "integer"
    ? string | number
    : Kind extends "flag"
      ? string | number | boolean
      : string;

/**
 * Connection parameters as an object, by libpq's keywords. What is undefined or an empty string counts as not
 * given (PQconnectdbParams).
 */
export type ConnectionParameters = {
  readonly [Keyword in ConnectionKeyword]?:
    | Value<(typeof connectionParameters)[Keyword]["value"]>
    | undefined;
} & {
  /** The name of the database, as `dbname`, but never taken for a connection string. */
  readonly database?: string | undefined;
};

const declarations: Readonly<Record<ConnectionKeyword, ParameterDeclaration>> = connectionParameters;

/** All keywords, in libpq's order. */
export const connectionKeywords: readonly ConnectionKeyword[] = Object.keys(
  connectionParameters,
) as ConnectionKeyword[];

export function isConnectionKeyword(name: string): name is ConnectionKeyword {
  return Object.hasOwn(connectionParameters, name);
}

/** What is declared about a parameter. */
export function describeParameter(keyword: ConnectionKeyword): ParameterDeclaration {
  return declarations[keyword];
}

/** Whether the value must not be shown: libpq marks passwords with `*`, and hides SCRAM keys among others with `D`. */
export function isSecret(keyword: ConnectionKeyword): boolean {
  const { dispchar } = declarations[keyword];
  return dispchar === "*" || keyword === "scram_client_key" || keyword === "scram_server_key";
}

/** The parameters as a Markdown table. */
export function parametersMarkdown(): string {
  const code = (text: string | null): string => (text === null || text === "" ? "" : `\`${text}\``);
  const rows = connectionKeywords.map((keyword) => {
    const { envvar, compiled, support, note } = declarations[keyword];
    return `| ${code(keyword)} | ${code(envvar)} | ${code(compiled)} | ${support} | ${note} |`;
  });
  return ["| Keyword | Environment | Default | Supported | |", "|---|---|---|---|---|", ...rows, ""].join(
    "\n",
  );
}
