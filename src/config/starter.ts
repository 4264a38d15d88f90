/** The pgsluice.toml that `pgsluice init` writes: what most need to set, with comments, and the rest to be uncommented. */
import { stringify } from "smol-toml";
import type { Upstream } from "./load.ts";
import { defaultSettings } from "./schema.ts";

export interface StarterAnswers {
  /** The primary, then its standbys. */
  readonly upstreams: readonly Omit<Upstream, "name">[];
  /** The one database that clients can reach; all if not given. */
  readonly database?: string | undefined;
  /** Who logs in; nobody yet if not given. */
  readonly user?: string | undefined;
  /** That user's password: as text, or the environment variable that holds it. */
  readonly password?: string | { readonly env: string } | undefined;
  /** Settings of [pgsluice] that were asked for. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Where the JSON Schema is. */
  readonly schemaUrl: string;
  /** What the file will be called. */
  readonly file: string;
}

/** The text of the file. It loads, if the answers make sense. */
export function starterConfig(answers: StarterAnswers): string {
  return [
    `#:schema ${answers.schemaUrl}`,
    "",
    "# Configuration of pgsluice. Every setting is explained in docs/config.md.",
    "# A line behind # shows a setting's default, or an example.",
    "#",
    `#     pgsluice check ${answers.file}             says what is wrong with it`,
    `#     pgsluice start --config ${answers.file}    starts the pooler`,
    "",
    ...settingLines(answers.settings),
    ...answers.upstreams.flatMap(nodeLines),
    ...databaseLines(answers.database),
    ...userLines(answers),
  ].join("\n");
}

/** The settings that are worth knowing first, each with its comment. */
const shown: readonly (readonly [name: string, comment: string])[] = [
  ["listen_addr", '"*": every address of the machine'],
  ["listen_port", ""],
  ["pool_mode", "when a client gives its server back: docs/pooling.md"],
  ["default_pool_size", "server connections for each database and user"],
  ["max_client_conn", "client connections in all"],
  ["query_wait_timeout", "seconds that a client waits for a server"],
  ["auth_type", "how clients prove who they are"],
];

function settingLines(given: Readonly<Record<string, unknown>>): string[] {
  const defaults: Readonly<Record<string, unknown>> = { ...defaultSettings() };
  const lines = ["[pgsluice]"];
  for (const [name, comment] of shown) {
    const mark = Object.hasOwn(given, name) ? "" : "# ";
    const remark = comment === "" ? "" : ` # ${comment}`;
    lines.push(`${mark}${entry(name, given[name] ?? defaults[name])}${remark}`);
  }
  const further = Object.entries(given).filter(([name]) => !shown.some(([known]) => known === name));
  return [
    ...lines,
    ...further.map(([name, value]) => entry(name, value)),
    '# auth_file = "userlist.txt" # users and secrets as PgBouncer has them; or [users.NAME] below',
    '# admin_users = ["postgres"]  # who may use the console: psql -p PORT pgbouncer',
    "",
    "# TLS towards clients:",
    '# client_tls_sslmode = "require"',
    '# client_tls_cert_file = "pooler.crt"',
    '# client_tls_key_file = "pooler.key"',
    "",
  ];
}

function nodeLines(upstream: StarterAnswers["upstreams"][number], index: number): string[] {
  const lines = [`[nodes.${index === 0 ? "primary" : `standby${index}`}]`];
  lines.push(entry("host", upstream.host), entry("port", upstream.port));
  if (index > 0) lines.push(`${entry("role", "standby")} # it gets no statements yet`);
  const tls = {
    server_tls_sslmode: upstream.sslmode,
    server_tls_ca_file: upstream.sslrootcert,
    server_tls_cert_file: upstream.sslcert,
    server_tls_key_file: upstream.sslkey,
  };
  const given = Object.entries(tls).filter(([, value]) => value !== undefined);
  lines.push(...given.map(([name, value]) => entry(name, value)));
  if (given.length === 0) {
    lines.push('# server_tls_sslmode = "verify-full"');
    lines.push(
      '# server_tls_ca_file = "system" # who signed its certificate: a file, or the well-known authorities',
    );
  }
  return [...lines, ""];
}

function databaseLines(database: string | undefined): string[] {
  const comment = "# Clients reach the databases that are named, or, if none is, all of the primary's.";
  const lines = database === undefined ? ["# [databases.app]"] : [`[databases.${key(database)}]`];
  return [comment, ...lines, "# pool_size = 10 # instead of default_pool_size", ""];
}

function userLines({ user, password }: StarterAnswers): string[] {
  const comment = '# A password may stand elsewhere: { env = "NAME" } or { file = "path" }.';
  if (user === undefined) return [comment, "# [users.app]", '# password = { file = "app.secret" }', ""];
  const line = password === undefined ? '# password = { file = "app.secret" }' : secretEntry(password);
  return [comment, `[users.${key(user)}]`, line, ""];
}

function secretEntry(password: string | { readonly env: string }): string {
  return typeof password === "string"
    ? entry("password", password)
    : `password = { ${entry("env", password.env)} }`;
}

/** One line of TOML. */
function entry(name: string, value: unknown): string {
  return stringify({ [name]: value }).trimEnd();
}

/** A name as TOML writes it between dots. */
function key(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : entry(name, 1).replace(/ = 1$/, "");
}
