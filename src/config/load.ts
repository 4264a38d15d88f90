/**
 * From TOML text to a checked {@link Config}, or to a {@link ConfigError} that names every mistake.
 *
 * In order: TOML's grammar, the tables, each key and value (zod), secrets that stand elsewhere, then what several
 * settings must agree on. Paths are made absolute against the folder of the file. Nothing is changed in place: a reload parses the
 * whole file anew and swaps the result in, or keeps the old one.
 */
import { access, constants, readFile } from "node:fs/promises";
import path from "node:path";
import { parse, TomlError } from "smol-toml";
import { agreementProblems } from "./agreement.ts";
import type { DeclarationTable } from "./declare.ts";
import { ConfigError, type ConfigProblem, reasonOf } from "./errors.ts";
import { givenUp } from "./given-up.ts";
import { suggestion } from "./nearest.ts";
import {
  type Config,
  type DatabaseConfig,
  type NodeConfig,
  type PeerConfig,
  type Settings,
  type TableKind,
  tableKinds,
  type UserConfig,
  watchesNodes,
} from "./schema.ts";
import { type SecretFile, SecretReader, type SecretSource } from "./secrets.ts";

/**
 * Reads and checks a config file, and that the files named in it can be read. `overrides` are settings of
 * [pgsluice] that win over the file's.
 * @throws {ConfigError} `config.invalid`, with every problem.
 */
export async function loadConfig(
  file: string,
  overrides: Readonly<Record<string, unknown>> = {},
): Promise<Config> {
  return (await loadToml(file, overrides)).config;
}

/** What {@link loadToml} and {@link checkTables} give. */
export interface CheckedConfig {
  readonly config: Config;
  /** The files that its secrets were read from. */
  readonly secretFiles: readonly SecretFile[];
}

/** As {@link loadConfig}, with what is of interest to a person besides the configuration. */
export async function loadToml(
  file: string,
  overrides: Readonly<Record<string, unknown>> = {},
): Promise<CheckedConfig> {
  const absolute = path.resolve(file);
  let toml: string;
  try {
    toml = await readFile(absolute, "utf8");
  } catch (error) {
    throw new ConfigError(file, [{ key: "", problem: `cannot be read: ${reasonOf(error)}` }], error);
  }
  const raw = parseToml(toml, file);
  const settings = raw["pgsluice"] ?? {};
  if (isTable(settings)) raw["pgsluice"] = { ...settings, ...overrides };
  const checked = checkTables(raw, path.dirname(absolute), file, false);
  const problems = await unreadableFiles(checked.config);
  if (problems.length > 0) throw new ConfigError(file, problems);
  return checked;
}

/**
 * Checks a configuration given as TOML text. Relative paths in it start at `baseFolder`; `file` is the name
 * that errors call it by.
 * @throws {ConfigError} `config.invalid`, with every problem.
 */
export function parseConfig(toml: string, baseFolder: string, file: string = "the configuration"): Config {
  return checkConfig(parseToml(toml, file), baseFolder, file);
}

/**
 * Checks a configuration given as an object in the shape of the config file, for programs and command lines.
 * Without any database, all of the primary can be reached, unless `onlyNamedDatabases`.
 * @throws {ConfigError} `config.invalid`, with every problem.
 */
export function checkConfig(
  raw: Readonly<Record<string, unknown>>,
  baseFolder: string,
  file: string = "the configuration",
  onlyNamedDatabases: boolean = false,
): Config {
  return checkTables(raw, baseFolder, file, onlyNamedDatabases).config;
}

function checkTables(
  raw: Readonly<Record<string, unknown>>,
  baseFolder: string,
  file: string,
  onlyNamedDatabases: boolean,
): CheckedConfig {
  const problems: ConfigProblem[] = unknownTables(raw);
  const secrets = new SecretReader(baseFolder);
  const checked: Record<string, Record<string, unknown>> = {};
  for (const kind of tableKinds)
    checked[kind.name] = checkKind(kind, raw[kind.name], { baseFolder, problems, secrets });
  if (problems.length > 0) throw new ConfigError(file, problems);

  const nodes = checked["nodes"] as Record<string, NodeConfig>;
  const pgsluice = checked["pgsluice"] as unknown as Settings;
  const config: Config = {
    pgsluice,
    nodes,
    databases: withNodes(
      checked["databases"] as Record<string, Partial<DatabaseConfig>>,
      { nodes, pgsluice },
      onlyNamedDatabases,
    ),
    users: checked["users"] as Record<string, UserConfig>,
    peers: checked["peers"] as Record<string, PeerConfig>,
  };
  const disagreements = agreementProblems(config);
  if (disagreements.length > 0) throw new ConfigError(file, disagreements);
  return { config, secretFiles: secrets.files };
}

/** One upstream server, as `pgsluice start --upstream` or a program names it. */
export interface Upstream {
  /** The node's name; by default `primary` for the first, `standby1`, `standby2`, … for the others. */
  readonly name?: string | undefined;
  readonly host: string;
  readonly port: number;
  /** Which user clients log in as, here and on the server. */
  readonly user: string;
  /** That user's password. Without one, clients are asked for none either. */
  readonly password?: string | undefined;
  readonly sslmode?: string | undefined;
  /** File of the certificates that sign the server's, or `system`. */
  readonly sslrootcert?: string | undefined;
  /** Files of the certificate that we show the server, and of its key. */
  readonly sslcert?: string | undefined;
  readonly sslkey?: string | undefined;
}

/**
 * A configuration for one cluster without a file: the first upstream is the primary, the others are its
 * standbys; every database of the primary can be reached. Clients log in as the upstream's user with its
 * password. An upstream without a password means `auth_type = "trust"`: every client is passed on under its
 * own name, and the server decides. That is allowed on loopback addresses only.
 * @throws {ConfigError} `config.invalid`, with every problem.
 */
export function configFromUpstream(
  upstreams: readonly Upstream[],
  overrides: Readonly<Record<string, unknown>> = {},
): Config {
  const file = "the command line";
  const [first, ...others] = upstreams;
  if (first === undefined)
    throw new ConfigError(file, [{ key: "", problem: "an upstream server is needed" }]);
  if (others.some((other) => other.user !== first.user || other.password !== first.password)) {
    const problem = "all upstream servers must be given with the same user and password";
    throw new ConfigError(file, [{ key: "", problem }]);
  }
  const primary = first.name ?? "primary";
  const nodes: Record<string, unknown> = { [primary]: nodeOf(first, "primary") };
  for (const [index, other] of others.entries()) {
    nodes[other.name ?? `standby${index + 1}`] = nodeOf(other, "standby");
  }
  const trusted = first.password === undefined;
  const raw = {
    pgsluice: { auth_type: trusted ? "trust" : "scram-sha-256", ...overrides },
    nodes,
    databases: { "*": { node: primary } },
    users: trusted ? {} : { [first.user]: { password: first.password } },
  };
  const config = checkConfig(raw, process.cwd(), file);
  if (config.pgsluice.auth_type === "trust" && !listensOnLoopbackOnly(config.pgsluice)) {
    const problem = `"trust" lets anybody in who can reach ${config.pgsluice.listen_addr}; give the upstream a password, or listen on 127.0.0.1`;
    throw new ConfigError(file, [{ key: "pgsluice.auth_type", problem }]);
  }
  return config;
}

/** Whether only programs on this machine can connect. */
export function listensOnLoopbackOnly(settings: Settings): boolean {
  const addresses = settings.listen_addr.split(",").map((address) => address.trim());
  return addresses.every(
    (address) => ["", "localhost", "::1"].includes(address) || address.startsWith("127."),
  );
}

function nodeOf(upstream: Upstream, role: "primary" | "standby"): Record<string, unknown> {
  const node = {
    host: upstream.host,
    port: upstream.port,
    role,
    server_tls_sslmode: upstream.sslmode,
    server_tls_ca_file: upstream.sslrootcert,
    server_tls_cert_file: upstream.sslcert,
    server_tls_key_file: upstream.sslkey,
  };
  return Object.fromEntries(Object.entries(node).filter(([, value]) => value !== undefined));
}

function parseToml(toml: string, file: string): Record<string, unknown> {
  try {
    return parse(toml);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // Only the first line: the others show the text of the file, where a password may stand.
    const [reason = "not TOML"] = error.message.split("\n");
    throw new ConfigError(file, [
      { key: "", problem: `line ${error.line}, column ${error.column}: ${reason}` },
    ]);
  }
}

function unknownTables(raw: Readonly<Record<string, unknown>>): ConfigProblem[] {
  const known = tableKinds.map((kind) => kind.name);
  return Object.keys(raw)
    .filter((name) => !known.some((kind) => kind === name))
    .map((name) => ({ key: quoteKey(name), problem: unknownProblem("table", name, known) }));
}

/** Where the tables of one configuration are checked. */
interface Checking {
  readonly baseFolder: string;
  /** What is wrong is added to them. */
  readonly problems: ConfigProblem[];
  readonly secrets: SecretReader;
}

/** Checks one kind of table. Returns values by name, defaults filled in. */
function checkKind(kind: TableKind, raw: unknown, checking: Checking): Record<string, unknown> {
  if (!kind.named) return checkTable(kind, kind.name, raw ?? {}, checking);
  // Without a prototype, so that a database called "__proto__" or "constructor" is just a name.
  const tables: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  if (raw === undefined) return tables;
  if (!isTable(raw)) {
    checking.problems.push({ key: kind.name, problem: `must be tables, [${kind.name}.NAME]` });
    return tables;
  }
  for (const [name, table] of Object.entries(raw)) {
    tables[name] = checkTable(kind, `${kind.name}.${quoteKey(name)}`, table, checking);
  }
  return tables;
}

function checkTable(kind: TableKind, key: string, raw: unknown, checking: Checking): Record<string, unknown> {
  const { problems } = checking;
  if (!isTable(raw)) {
    const form = kind.named ? `a table of its own, [${key}]` : `the table [${key}]`;
    problems.push({ key, problem: `must be ${form}` });
    return {};
  }
  const result = kind.schema.safeParse(raw);
  if (result.success) {
    const paths = resolvePaths(kind.declarations, result.data, checking.baseFolder);
    return resolveSecrets(kind.declarations, paths, key, checking);
  }
  const known = Object.keys(kind.declarations);
  for (const issue of result.error.issues) {
    if (issue.code === "unrecognized_keys") {
      for (const name of issue.keys) {
        problems.push({ key: `${key}.${quoteKey(name)}`, problem: unknownProblem("setting", name, known) });
      }
    } else {
      problems.push({
        key: `${key}.${issue.path.map((part) => quoteKey(String(part))).join(".")}`,
        problem: issue.message,
      });
    }
  }
  return {};
}

function resolvePaths(
  declarations: DeclarationTable,
  values: Readonly<Record<string, unknown>>,
  baseFolder: string,
): Record<string, unknown> {
  const resolved = { ...values };
  for (const [name, declaration] of Object.entries(declarations)) {
    const value = values[name];
    if (declaration.type !== "text" || declaration.path === undefined) continue;
    if (typeof value !== "string" || value === "" || value.startsWith("@") || value === declaration.word)
      continue;
    resolved[name] = path.resolve(baseFolder, value);
  }
  return resolved;
}

/** Reads the secrets that stand elsewhere. */
function resolveSecrets(
  declarations: DeclarationTable,
  values: Readonly<Record<string, unknown>>,
  key: string,
  { secrets, problems }: Checking,
): Record<string, unknown> {
  const resolved = { ...values };
  for (const [name, declaration] of Object.entries(declarations)) {
    const value = values[name];
    if (declaration.type !== "text" || declaration.secret === undefined || !isTable(value)) continue;
    const setting = `${key}.${name}`;
    const result = secrets.read(setting, value as SecretSource);
    if ("secret" in result) resolved[name] = result.secret;
    else problems.push({ key: setting, problem: result.problem });
  }
  return resolved;
}

/** Gives every database its node: the one it names, or the primary; none if that is to be found out. Without any database, all can be reached. */
function withNodes(
  databases: Readonly<Record<string, Partial<DatabaseConfig>>>,
  config: Pick<Config, "nodes" | "pgsluice">,
  onlyNamed: boolean,
): Record<string, DatabaseConfig> {
  const { nodes } = config;
  const primaries = Object.keys(nodes).filter((name) => nodes[name]?.role !== "standby");
  const [primary = ""] = primaries.length === 1 && !watchesNodes(config) ? primaries : [];
  const given = Object.entries(databases);
  const all: [string, Partial<DatabaseConfig>][] = given.length === 0 && !onlyNamed ? [["*", {}]] : given;
  const result: Record<string, DatabaseConfig> = Object.create(null) as Record<string, DatabaseConfig>;
  for (const [name, database] of all) result[name] = { ...database, node: database.node ?? primary };
  return result;
}

/** A problem for each file that the configuration names and that cannot be read. */
export async function unreadableFiles(config: Config): Promise<ConfigProblem[]> {
  const problems: ConfigProblem[] = [];
  const check = async (key: string, table: object, declarations: DeclarationTable): Promise<void> => {
    for (const [name, value] of Object.entries(table)) {
      const declaration = declarations[name];
      if (declaration?.type !== "text" || declaration.path !== "file") continue;
      if (value === "" || value === declaration.word) continue;
      try {
        await access(String(value), constants.R_OK);
      } catch (error) {
        problems.push({
          key: `${key}.${name}`,
          problem: `${String(value)} cannot be read: ${reasonOf(error)}`,
        });
      }
    }
  };
  for (const kind of tableKinds) {
    if (!kind.named) {
      await check(kind.name, config[kind.name], kind.declarations);
      continue;
    }
    for (const [name, table] of Object.entries(config[kind.name])) {
      await check(`${kind.name}.${quoteKey(name)}`, table as object, kind.declarations);
    }
  }
  return problems;
}

function unknownProblem(what: string, name: string, known: readonly string[]): string {
  const absent = what === "setting" ? givenUp(name) : undefined;
  if (absent !== undefined) return absent;
  return `unknown ${what}${suggestion(name, known)}`;
}

/** As TOML writes a key. */
function quoteKey(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name);
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
