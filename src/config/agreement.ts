/** What several settings must agree on: checks that no single value can be held against. */
import type { ConfigProblem } from "./errors.ts";
import { functionLists, functionPattern } from "./function-lists.ts";
import { nearestName } from "./nearest.ts";
import { redirectEntry, redirectLists } from "./redirects.ts";
import { isConsoleDatabase } from "./reserved.ts";
import { type Config, type DatabaseConfig, everyNode, type Settings, watchesNodes } from "./schema.ts";
import { tlsLimitProblems } from "./tls.ts";

/** Every disagreement between the settings of a configuration whose single values are all right. */
export function agreementProblems(config: Config): ConfigProblem[] {
  return [
    ...listeningProblems(config.pgsluice),
    ...poolProblems(config),
    ...tlsProblems(config),
    ...nodeProblems(config),
    ...peerProblems(config),
    ...redirectProblems(config),
    ...functionProblems(config),
    ...requiredNodeProblems(config),
  ];
}

function listeningProblems(settings: Settings): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  if (settings.listen_addr.trim() === "" && settings.unix_socket_dir === "") {
    problems.push({
      key: "pgsluice.listen_addr",
      problem: "empty, and unix_socket_dir too: nobody could connect",
    });
  }
  if (!/^0?[0-7]{3}$/.test(settings.unix_socket_mode)) {
    problems.push({ key: "pgsluice.unix_socket_mode", problem: 'must be an octal file mode such as "0770"' });
  }
  return problems;
}

function poolProblems(config: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const { min_pool_size: minimum, default_pool_size: size } = config.pgsluice;
  if (size > 0 && minimum > size) {
    problems.push({
      key: "pgsluice.min_pool_size",
      problem: `${minimum} is more than default_pool_size, ${size}`,
    });
  }
  for (const [name, database] of Object.entries(config.databases)) {
    if (isConsoleDatabase(name)) {
      problems.push({ key: `databases.${name}`, problem: "this name is reserved for the console" });
    }
    const poolSize = database.pool_size ?? size;
    if (database.min_pool_size !== undefined && poolSize > 0 && database.min_pool_size > poolSize) {
      const problem = `${database.min_pool_size} is more than the pool size, ${poolSize}`;
      problems.push({ key: `databases.${JSON.stringify(name)}.min_pool_size`, problem });
    }
    if (database.password !== undefined && database.user === undefined) {
      problems.push({ key: `databases.${JSON.stringify(name)}.password`, problem: "needs user beside it" });
    }
  }
  return problems;
}

function tlsProblems(config: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const settings = config.pgsluice;
  const level = settings.client_tls_sslmode;
  if (level !== "disable") {
    for (const key of ["client_tls_cert_file", "client_tls_key_file"] as const) {
      if (settings[key] === "")
        problems.push({ key: `pgsluice.${key}`, problem: `client_tls_sslmode "${level}" needs it` });
    }
  }
  if (level.startsWith("verify-") && settings.client_tls_ca_file === "") {
    problems.push({ key: "pgsluice.client_tls_ca_file", problem: `client_tls_sslmode "${level}" needs it` });
  }
  if (settings.auth_type === "cert" && level !== "verify-full") {
    problems.push({ key: "pgsluice.auth_type", problem: '"cert" needs client_tls_sslmode = "verify-full"' });
  }
  if (settings.auth_type === "hba" && settings.auth_hba_file === "") {
    problems.push({ key: "pgsluice.auth_hba_file", problem: 'auth_type "hba" needs it' });
  }
  problems.push(...within("pgsluice", tlsLimitProblems(settings, "client")));
  if (settings.auth_type === "ldap" && settings.auth_ldap_options === "") {
    problems.push({ key: "pgsluice.auth_ldap_options", problem: 'auth_type "ldap" needs it' });
  }
  for (const [name, node] of Object.entries(config.nodes)) {
    problems.push(...serverTlsProblems(`nodes.${name}`, { ...settings, ...node }));
  }
  return problems;
}

/** Checks what is in force for one node: its own settings, or else those of [pgsluice]. */
function serverTlsProblems(key: string, settings: Settings): ConfigProblem[] {
  const problems = within(key, tlsLimitProblems(settings, "server"));
  const { server_tls_cert_file: certificate, server_tls_key_file: privateKey } = settings;
  if ((certificate === "") !== (privateKey === "")) {
    const missing = certificate === "" ? "server_tls_cert_file" : "server_tls_key_file";
    const problem = "certificate and key belong together, and this one is missing";
    problems.push({ key: `${key}.${missing}`, problem });
  }
  const level = settings.server_tls_sslmode;
  const authorities = settings.server_tls_ca_file;
  if (level.startsWith("verify-") && authorities === "") {
    const problem = `server_tls_sslmode "${level}" needs it: a file, or "system"`;
    problems.push({ key: `${key}.server_tls_ca_file`, problem });
  }
  if (authorities === "system" && level !== "verify-full") {
    problems.push({
      key: `${key}.server_tls_ca_file`,
      problem: '"system" needs server_tls_sslmode = "verify-full"',
    });
  }
  return problems;
}

function within(table: string, problems: readonly ConfigProblem[]): ConfigProblem[] {
  return problems.map(({ key, problem }) => ({ key: `${table}.${key}`, problem }));
}

function nodeProblems(config: Config): ConfigProblem[] {
  const names = Object.keys(config.nodes);
  // Only a pgbouncer.ini can be without any database: it then serves nobody, until a reload brings some.
  if (Object.keys(config.databases).length === 0) return [];
  if (config.pgsluice.discovery !== "static") return discoveryProblems(config);
  if (names.length === 0) {
    return [
      { key: "nodes", problem: 'at least one is needed, for example [nodes.main] with host = "127.0.0.1"' },
    ];
  }
  const problems: ConfigProblem[] = [];
  for (const [name, database] of Object.entries(config.databases)) {
    const problem = databaseNodeProblem(database, config);
    if (problem !== undefined) problems.push({ key: `databases.${JSON.stringify(name)}.node`, problem });
  }
  if (!watchesNodes(config)) return problems;
  if (config.pgsluice.health_check_user === "") {
    const problem = 'must be given, because nodes have the role "auto": as whom are they asked?';
    problems.push({ key: "pgsluice.health_check_user", problem });
  }
  const lists = Object.entries(config.nodes).filter(([, { host }]) => host.includes(","));
  for (const [name] of lists) {
    const problem = "must be one host, because nodes are watched: give each host a node of its own";
    problems.push({ key: `nodes.${JSON.stringify(name)}.host`, problem });
  }
  return problems;
}

function redirectProblems({ pgsluice: settings, nodes }: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  for (const list of redirectLists) {
    for (const text of settings[list]) {
      const entry = redirectEntry(text);
      const where = typeof entry === "string" ? "" : entry.where;
      const known = where === "primary" || where === "standby" || Object.hasOwn(nodes, where);
      if (typeof entry === "string") problems.push({ key: `pgsluice.${list}`, problem: entry });
      else if (!known && settings.discovery === "static") {
        const problem = `${JSON.stringify(text)}: there is no node ${JSON.stringify(where)}`;
        problems.push({ key: `pgsluice.${list}`, problem });
      }
    }
  }
  return problems;
}

function functionProblems({ pgsluice, databases }: Config): ConfigProblem[] {
  const tables: [string, Pick<DatabaseConfig, (typeof functionLists)[number]>][] = [["pgsluice", pgsluice]];
  for (const [name, database] of Object.entries(databases))
    tables.push([`databases.${JSON.stringify(name)}`, database]);
  return tables.flatMap(([table, settings]) =>
    functionLists.flatMap((list) =>
      (settings[list] ?? []).flatMap((text) => {
        const pattern = functionPattern(text);
        return typeof pattern === "string" ? [{ key: `${table}.${list}`, problem: pattern }] : [];
      }),
    ),
  );
}

function requiredNodeProblems(config: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  for (const [name, { required_nodes: required = [] }] of Object.entries(config.databases)) {
    const key = `databases.${JSON.stringify(name)}.required_nodes`;
    if (required.length > 0 && !watchesNodes(config)) {
      const problem = 'needs nodes that are watched: several, and one with the role "auto"';
      problems.push({ key, problem });
    }
    if (config.pgsluice.discovery !== "static") continue;
    for (const node of required) {
      if (node === everyNode || Object.hasOwn(config.nodes, node)) continue;
      problems.push({ key, problem: `there is no node ${JSON.stringify(node)}` });
    }
  }
  return problems;
}

/** Of nodes that are not in the file. */
function discoveryProblems({ pgsluice: settings, databases }: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const wrong = (name: keyof Settings, problem: string): void => {
    problems.push({ key: `pgsluice.${name}`, problem });
  };
  const { discovery, health_check_user: user, patroni_urls: urls } = settings;
  if (user === "")
    wrong(
      "health_check_user",
      `must be given, because discovery is "${discovery}": as whom are nodes asked?`,
    );
  if (discovery === "dns" && settings.discovery_host === "")
    wrong("discovery_host", "must be given: the name whose addresses are the nodes");
  if (discovery === "patroni" && urls.length === 0)
    wrong("patroni_urls", 'must be given, for example ["http://10.0.0.1:8008"]');
  for (const url of urls) {
    const problem = urlProblem(url);
    if (problem !== undefined) wrong("patroni_urls", problem);
  }
  if (settings.patroni_user === "" && settings.patroni_password !== "")
    wrong("patroni_password", "needs patroni_user beside it");
  const { patroni_tls_cert_file: certificate, patroni_tls_key_file: key } = settings;
  if ((certificate === "") !== (key === "")) {
    const missing = certificate === "" ? "patroni_tls_cert_file" : "patroni_tls_key_file";
    wrong(missing, "certificate and key belong together, and this one is missing");
  }
  for (const [name, { node }] of Object.entries(databases)) {
    if (node === "") continue;
    const problem = `must not be given, because discovery is "${discovery}": every database follows the primary`;
    problems.push({ key: `databases.${JSON.stringify(name)}.node`, problem });
  }
  return problems;
}

/** Does not repeat what may hold a password. */
function urlProblem(text: string): string | undefined {
  if (!URL.canParse(text)) return "has something that is no URL; they look like http://10.0.0.1:8008";
  const { protocol, username, password, search, hash, host } = new URL(text);
  if (username !== "" || password !== "")
    return `the URL of ${host} holds a user or a password: use patroni_user and patroni_password`;
  if ((protocol !== "http:" && protocol !== "https:") || search !== "" || hash !== "")
    return `"${text}" is not the address of a REST API, like http://10.0.0.1:8008`;
  return undefined;
}

/** PgBouncer takes ids up to this in [peers] (loader.c parse_peer). */
const peerIdMax = 65_535;

function peerProblems(config: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  for (const [name, peer] of Object.entries(config.peers)) {
    const key = `peers.${/^\w+$/.test(name) ? name : JSON.stringify(name)}`;
    if (!/^[1-9][0-9]{0,4}$/.test(name) || Number(name) > peerIdMax) {
      problems.push({ key, problem: `ids of peers are integers from 1 to ${peerIdMax}` });
    }
    if (peer.host === "") problems.push({ key: `${key}.host`, problem: "must be given" });
  }
  return problems;
}

function databaseNodeProblem(database: DatabaseConfig, config: Config): string | undefined {
  if (database.node === "") {
    if (watchesNodes(config)) return undefined;
    const primaries = Object.values(config.nodes).filter((node) => node.role === "primary");
    return primaries.length === 0
      ? "must be given, because no node has the role primary"
      : 'must be given, because several nodes have the role primary (with role = "auto" the primary is found and followed)';
  }
  if (config.nodes[database.node] !== undefined) return undefined;
  const nearest = nearestName(database.node, Object.keys(config.nodes));
  const hint = nearest === undefined ? "" : `; did you mean ${nearest}?`;
  return `there is no node "${database.node}"${hint}`;
}
