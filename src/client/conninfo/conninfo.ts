/**
 * Connection strings to options, with libpq's keywords, defaults and rules (PostgreSQL's manual, "Database
 * Connection Control Functions"). Only the text counts: no environment variable, service file or password
 * file is read, and the one thing taken from the system is the name of the account when no user is given.
 *
 * Keywords of libpq that ask for what this client does not do are accepted with the value that asks for
 * nothing (`gssencmode=prefer`, `target_session_attrs=any`) and refused by name with any other.
 */
import { userInfo } from "node:os";
import { protocolVersion30, protocolVersion32 } from "../../wire/constants.ts";
import { type Keywords, parseKeywords } from "./grammar.ts";
import {
  type AuthenticationMethod,
  badOption,
  type ChannelBinding,
  type ConnectOptions,
  checkConnectOptions,
  connectOptions,
  defaultPort,
  defaultSocketFolder,
  type Host,
  type ProtocolVersion,
  type ScramKeys,
  type SslMode,
  type SslNegotiation,
} from "./options.ts";

/** Keywords that are understood. */
const understood: ReadonlySet<string> = new Set([
  "user",
  "password",
  "dbname",
  "host",
  "hostaddr",
  "port",
  "connect_timeout",
  "client_encoding",
  "options",
  "application_name",
  "fallback_application_name",
  "replication",
  "keepalives",
  "keepalives_idle",
  "sslmode",
  "requiressl",
  "sslnegotiation",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "sslpassword",
  "sslsni",
  "channel_binding",
  "require_auth",
  "min_protocol_version",
  "max_protocol_version",
  "scram_client_key",
  "scram_server_key",
]);

/** Keywords of libpq that are not, with the values that change nothing here; empty always does. */
const inert: ReadonlyMap<string, readonly string[]> = new Map([
  ["service", []],
  ["passfile", []],
  ["keepalives_interval", ["0"]],
  ["keepalives_count", ["0"]],
  ["tcp_user_timeout", ["0"]],
  ["sslcompression", ["0", "1"]],
  ["sslcertmode", ["allow"]],
  ["sslcrl", []],
  ["sslcrldir", []],
  ["sslkeylogfile", []],
  ["ssl_min_protocol_version", ["TLSv1.2"]],
  ["ssl_max_protocol_version", ["TLSv1.3"]],
  ["requirepeer", []],
  ["gssencmode", ["disable", "prefer"]],
  ["krbsrvname", ["postgres"]],
  ["gsslib", []],
  ["gssdelegation", ["0"]],
  ["target_session_attrs", ["any"]],
  ["load_balance_hosts", ["disable"]],
  ["oauth_issuer", []],
  ["oauth_client_id", []],
  ["oauth_client_secret", []],
  ["oauth_scope", []],
]);

/**
 * Parses a URI or keyword/value string. Throws OperationError `client.bad_option` (22023) for an unknown
 * keyword, a bad value, or values that contradict each other; no value of a secret is in the text.
 */
export function parseConninfo(text: string): ConnectOptions {
  const keywords = parseKeywords(text, (keyword) => understood.has(keyword) || inert.has(keyword));
  for (const [keyword, values] of inert) {
    const value = keywords.get(keyword);
    if (value !== undefined && value !== "" && !values.includes(value)) {
      throw badOption(`connection option "${keyword}" with the value "${value}" is not supported`);
    }
  }
  const options = optionsFrom(keywords);
  checkConnectOptions(options);
  return options;
}

function optionsFrom(keywords: Keywords): ConnectOptions {
  const user = nonEmpty(keywords, "user") ?? accountName();
  return connectOptions({
    hosts: hostsFrom(keywords),
    user,
    database: nonEmpty(keywords, "dbname") ?? user,
    password: nonEmpty(keywords, "password"),
    scramKeys: scramKeysFrom(keywords),
    sslmode: sslModeFrom(keywords),
    sslnegotiation: oneOf<SslNegotiation>(keywords, "sslnegotiation", ["postgres", "direct"], "postgres"),
    sslrootcert: nonEmpty(keywords, "sslrootcert"),
    sslcert: nonEmpty(keywords, "sslcert"),
    sslkey: nonEmpty(keywords, "sslkey"),
    sslpassword: nonEmpty(keywords, "sslpassword"),
    sslsni: nonEmpty(keywords, "sslsni") !== "0",
    channelBinding: oneOf<ChannelBinding>(
      keywords,
      "channel_binding",
      ["disable", "prefer", "require"],
      "prefer",
    ),
    requireAuth: requireAuthFrom(keywords),
    ...protocolVersionsFrom(keywords),
    parameters: parametersFrom(keywords),
    connectTimeoutMs: connectTimeoutFrom(keywords),
    keepAlive: {
      enabled: integer(keywords, "keepalives", 1) !== 0,
      idleSeconds: Math.max(0, integer(keywords, "keepalives_idle", 0)),
    },
  });
}

function nonEmpty(keywords: Keywords, keyword: string): string | undefined {
  const value = keywords.get(keyword);
  return value === "" ? undefined : value;
}

function oneOf<T extends string>(keywords: Keywords, keyword: string, values: readonly T[], otherwise: T): T {
  const given = nonEmpty(keywords, keyword);
  if (given === undefined) return otherwise;
  const value = values.find((candidate) => candidate === given);
  if (value === undefined) throw badOption(`invalid ${keyword} value: "${given}"`);
  return value;
}

const integerPattern = /^\s*[+-]?\d{1,10}\s*$/;

/** libpq's strtol with blanks allowed at both ends (parse_int_param). */
function integer(keywords: Keywords, keyword: string, otherwise: number): number {
  const given = nonEmpty(keywords, keyword);
  if (given === undefined) return otherwise;
  if (!integerPattern.test(given)) {
    throw badOption(`invalid integer value "${given}" for connection option "${keyword}"`);
  }
  return Number(given);
}

const sslModes: readonly SslMode[] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

function sslModeFrom(keywords: Keywords): SslMode {
  // Where the system's roots are trusted, anybody's certificate is valid for something: only the name counts.
  const byRoots = nonEmpty(keywords, "sslrootcert") === "system" ? "verify-full" : "prefer";
  const byOldKeyword = nonEmpty(keywords, "requiressl") === "1" ? "require" : byRoots;
  return oneOf(keywords, "sslmode", sslModes, byOldKeyword);
}

const versionNames: ReadonlyMap<string, ProtocolVersion> = new Map([
  ["3.0", protocolVersion30],
  ["3.2", protocolVersion32],
  ["latest", protocolVersion32],
]);

/** The newest is asked for by default only if an old one is ruled out. */
function protocolVersionsFrom(
  keywords: Keywords,
): Pick<ConnectOptions, "minProtocolVersion" | "maxProtocolVersion"> {
  const version = (keyword: string): ProtocolVersion | undefined => {
    const given = nonEmpty(keywords, keyword);
    const found = given === undefined ? undefined : versionNames.get(given);
    if (given !== undefined && found === undefined) throw badOption(`invalid ${keyword} value: "${given}"`);
    return found;
  };
  const minProtocolVersion = version("min_protocol_version") ?? protocolVersion30;
  const maxProtocolVersion = version("max_protocol_version") ?? minProtocolVersion;
  return { minProtocolVersion, maxProtocolVersion };
}

/** connect_timeout is in seconds; 0, negative or unset waits for ever. */
function connectTimeoutFrom(keywords: Keywords): number | undefined {
  const seconds = integer(keywords, "connect_timeout", 0);
  return seconds > 0 ? seconds * 1000 : undefined;
}

/** Parallel lists: as many addresses as names; one port for all, or one each. */
function hostsFrom(keywords: Keywords): Host[] {
  const names = nonEmpty(keywords, "host")?.split(",");
  const addresses = nonEmpty(keywords, "hostaddr")?.split(",");
  const ports = (nonEmpty(keywords, "port") ?? "").split(",");
  if (names !== undefined && addresses !== undefined && names.length !== addresses.length) {
    throw badOption(`could not match ${names.length} host names to ${addresses.length} hostaddr values`);
  }
  const count = names?.length ?? addresses?.length ?? 1;
  if (ports.length !== 1 && ports.length !== count) {
    throw badOption(`could not match ${ports.length} port numbers to ${count} hosts`);
  }
  return Array.from({ length: count }, (_, index): Host => {
    const address = addresses?.[index] || undefined;
    const host = names?.[index] || address || defaultSocketFolder;
    if (host.lastIndexOf("@") > 0) {
      throw badOption('a host name cannot contain "@"; in a password of a URI, write it as %40');
    }
    const port = portFrom(ports.length === 1 ? ports[0] : ports[index]);
    return address === undefined || address === host ? { host, port } : { host, port, address };
  });
}

/**
 * A number out of range costs that host only, when it is tried; what is no number is refused here, unseen: a
 * slash in a URI's password puts half of it into this place.
 */
function portFrom(text: string | undefined): number {
  if (text === undefined || text === "") return defaultPort;
  if (!integerPattern.test(text)) throw badOption('invalid integer value for connection option "port"');
  return Number(text);
}

/** Startup keys in libpq's order (fe-protocol3.c build_startup_packet). */
function parametersFrom(keywords: Keywords): [string, string][] {
  const parameters: [string, string][] = [];
  const add = (name: string, value: string | undefined): void => {
    if (value !== undefined) parameters.push([name, value]);
  };
  add("replication", nonEmpty(keywords, "replication"));
  add("options", nonEmpty(keywords, "options"));
  add(
    "application_name",
    nonEmpty(keywords, "application_name") ?? nonEmpty(keywords, "fallback_application_name"),
  );
  const encoding = nonEmpty(keywords, "client_encoding");
  add("client_encoding", encoding === "auto" ? "UTF8" : encoding);
  return parameters;
}

const supportedMethods: readonly AuthenticationMethod[] = ["none", "password", "md5", "scram-sha-256"];
const unsupportedMethods: ReadonlySet<string> = new Set(["gss", "sspi", "oauth"]);

/** `a,b`: these and no others. `!a,!b`: all but these. */
function requireAuthFrom(keywords: Keywords): AuthenticationMethod[] | undefined {
  const given = nonEmpty(keywords, "require_auth");
  if (given === undefined) return undefined;
  const items = given.split(",").map((item) => item.trim());
  const negated = items.every((item) => item.startsWith("!"));
  if (!negated && items.some((item) => item.startsWith("!"))) {
    throw badOption('require_auth methods are all negated with "!" or none of them is');
  }
  const names = items.map((item) => (negated ? item.slice(1) : item));
  for (const [index, name] of names.entries()) {
    const known = unsupportedMethods.has(name) || supportedMethods.some((method) => method === name);
    if (!known) throw badOption(`invalid require_auth value: "${name}"`);
    if (names.indexOf(name) !== index)
      throw badOption(`require_auth method "${name}" is specified more than once`);
  }
  return supportedMethods.filter((method) => names.includes(method) !== negated);
}

/** Both keys in base64, 32 bytes each; hidden parameters of libpq for pooling and foreign servers. */
function scramKeysFrom(keywords: Keywords): ScramKeys | undefined {
  const clientKey = nonEmpty(keywords, "scram_client_key");
  const serverKey = nonEmpty(keywords, "scram_server_key");
  if (clientKey === undefined && serverKey === undefined) return undefined;
  const decode = (keyword: string, text: string | undefined): Buffer => {
    const key = Buffer.from(text ?? "", "base64");
    if (key.length !== 32 || key.toString("base64") !== text)
      throw badOption(`invalid SCRAM key in "${keyword}"`);
    return key;
  };
  return {
    clientKey: decode("scram_client_key", clientKey),
    serverKey: decode("scram_server_key", serverKey),
  };
}

function accountName(): string {
  try {
    return userInfo().username;
  } catch {
    throw badOption("no PostgreSQL user name specified, and the account has no name");
  }
}
