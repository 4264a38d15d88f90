/**
 * From the values of all parameters to ConnectOptions: lists of hosts are cut, numbers read, choices checked,
 * and what this client does not do is refused by name (the rules are those of fe-connect.c,
 * pqConnectOptions2). No value of a secret, nor of what may be the rest of one, is in an error text.
 */
import { isIP } from "node:net";
import { protocolVersion30, protocolVersion32 } from "../../wire/constants.ts";
import { defaultHost, defaultPasswordFile, passwordFileNames, withDefaultTlsFiles } from "./default-files.ts";
import {
  type AuthenticationMethod,
  badOption,
  type ConnectOptions,
  checkConnectOptions,
  connectOptions,
  defaultPort,
  type Host,
  type ScramKeys,
  type TlsVersion,
} from "./options.ts";
import {
  type ChoiceKeyword,
  type ChoiceOf,
  type ConnectionKeyword,
  connectionParameters,
} from "./parameters.ts";
import { readPasswordFile } from "./password-file.ts";
import { accountName, type Sources } from "./sources.ts";

/** The values of parameters by their keywords, as text. */
export type Conninfo = ReadonlyMap<ConnectionKeyword, string>;

/**
 * Options from values to which defaults have been added. Throws OperationError `client.bad_option` (22023)
 * for a value that is wrong, not supported, or contradicts another.
 */
export function optionsFromValues(values: Conninfo, sources: Sources): ConnectOptions {
  const user = nonEmpty(values, "user") ?? accountName();
  if (user === undefined) throw badOption("no PostgreSQL user name specified, and the account has no name");
  const database = nonEmpty(values, "dbname") ?? user;
  const password = nonEmpty(values, "password");
  const slots = hostSlots(values, sources);
  refuseWhatIsMissing(values, slots);
  const options = connectOptions({
    hosts:
      password === undefined
        ? withPasswords(slots, { user, database }, nonEmpty(values, "passfile"), sources)
        : slots.map(({ host }) => host),
    user,
    database,
    password,
    targetSessionAttrs: choice(values, "target_session_attrs"),
    loadBalanceHosts: choice(values, "load_balance_hosts"),
    scramKeys: scramKeysFrom(values),
    ...tlsFrom(values, slots, sources),
    channelBinding: choice(values, "channel_binding") ?? "prefer",
    requireAuth: requireAuthFrom(nonEmpty(values, "require_auth")),
    ...protocolVersionsFrom(values),
    parameters: startupKeysFrom(values, sources.environment),
    fallbackApplicationName: values.has("application_name")
      ? undefined
      : nonEmpty(values, "fallback_application_name"),
    connectTimeoutMs: connectTimeoutFrom(values),
    keepAlive: {
      enabled: integer(values, "keepalives", 1) !== 0,
      idleSeconds: Math.max(0, integer(values, "keepalives_idle", 0)),
    },
  });
  checkConnectOptions(options);
  return options;
}

function nonEmpty(values: Conninfo, keyword: ConnectionKeyword): string | undefined {
  const value = values.get(keyword);
  return value === "" ? undefined : value;
}

/** One of the choices that the table of parameters names; undefined if not given. Empty is none of them. */
function choice<Keyword extends ChoiceKeyword>(
  values: Conninfo,
  keyword: Keyword,
): ChoiceOf<Keyword> | undefined {
  const given = values.get(keyword);
  if (given === undefined) return undefined;
  const choices: readonly ChoiceOf<Keyword>[] = connectionParameters[keyword].value;
  const found = choices.find((name) => name === given);
  if (found === undefined) throw badOption(`invalid ${keyword} value: "${given}"`);
  return found;
}

const integerPattern = /^[ \t\n\v\f\r]*[+-]?\d+[ \t\n\v\f\r]*$/;
const int32Max = 2 ** 31 - 1;

/** strtol of 32 bits with blanks allowed at both ends (pqParseIntParam); undefined if it is none. */
function parseInteger(text: string): number | undefined {
  if (!integerPattern.test(text)) return undefined;
  const number = Number(text);
  return number >= -int32Max - 1 && number <= int32Max ? number : undefined;
}

function integer(values: Conninfo, keyword: ConnectionKeyword, otherwise: number): number {
  const given = values.get(keyword);
  if (given === undefined) return otherwise;
  const number = parseInteger(given);
  if (number === undefined) {
    throw badOption(`invalid integer value "${given}" for connection option "${keyword}"`);
  }
  return number;
}

/** connect_timeout is in seconds; no timer of Node's waits longer than 24 days. */
function connectTimeoutFrom(values: Conninfo): number | undefined {
  const seconds = integer(values, "connect_timeout", 0);
  return seconds > 0 ? Math.min(seconds * 1000, int32Max) : undefined;
}

/** A host with its port as it was written, which is what the password file is searched for. */
interface HostSlot {
  readonly host: Host;
  readonly portText: string;
}

/** Parallel lists: as many addresses as names; one port for all, or one each. */
function hostSlots(values: Conninfo, sources: Sources): HostSlot[] {
  const names = nonEmpty(values, "host")?.split(",");
  const addresses = nonEmpty(values, "hostaddr")?.split(",");
  const ports = (nonEmpty(values, "port") ?? "").split(",");
  if (names !== undefined && addresses !== undefined && names.length !== addresses.length) {
    throw badOption(`could not match ${names.length} host names to ${addresses.length} hostaddr values`);
  }
  const count = names?.length ?? addresses?.length ?? 1;
  if (ports.length !== 1 && ports.length !== count) {
    throw badOption(`could not match ${ports.length} port numbers to ${count} hosts`);
  }
  return Array.from({ length: count }, (_, index): HostSlot => {
    const portText = (ports.length === 1 ? ports[0] : ports[index]) || String(defaultPort);
    const port = parseInteger(portText);
    // A slash in a URI's password puts half of it into this place, so what is no number is not shown.
    if (port === undefined) throw badOption('invalid integer value for connection option "port"');
    const address = addresses?.[index] || undefined;
    if (address !== undefined && isIP(address) === 0 && !isSocket(address)) {
      throw badOption(`could not parse network address "${address}"`);
    }
    const host = names?.[index] || address || defaultHost(port, sources);
    if (host.lastIndexOf("@") > 0) {
      throw badOption('a host name cannot contain "@"; in a password of a URI, write it as %40');
    }
    return {
      host: address === undefined || address === host ? { host, port } : { host, port, address },
      portText,
    };
  });
}

function isSocket(host: string): boolean {
  return host.startsWith("/") || host.startsWith("@");
}

/** The file is asked once for each host, by the host as it was written, else by its address. */
function withPasswords(
  slots: readonly HostSlot[],
  login: { readonly user: string; readonly database: string },
  passfile: string | undefined,
  sources: Sources,
): Host[] {
  const hosts = slots.map(({ host }) => host);
  if (passfile !== undefined && !sources.files) {
    throw badOption('connection option "passfile" is not supported where no files are read');
  }
  const path = passfile ?? defaultPasswordFile(sources);
  const file = path === undefined ? undefined : readPasswordFile(path, sources.warn);
  if (file === undefined) return hosts;
  return slots.map(({ host, portText }) => {
    const password = file.find({ hosts: passwordFileNames(host.host), port: portText, ...login });
    return password === undefined || password === "" ? host : { ...host, password, passwordFile: path };
  });
}

/** Both keys in base64, 32 bytes each; hidden parameters of libpq for pooling and foreign servers. */
function scramKeysFrom(values: Conninfo): ScramKeys | undefined {
  if (!values.has("scram_client_key") && !values.has("scram_server_key")) return undefined;
  const decode = (keyword: ConnectionKeyword): Buffer => {
    const text = values.get(keyword);
    const key = Buffer.from(text ?? "", "base64");
    if (key.length !== 32 || key.toString("base64") !== text)
      throw badOption(`invalid SCRAM key in "${keyword}"`);
    return key;
  };
  return { clientKey: decode("scram_client_key"), serverKey: decode("scram_server_key") };
}

type TlsOptions = Pick<
  ConnectOptions,
  | "sslmode"
  | "sslnegotiation"
  | "sslrootcert"
  | "sslcert"
  | "sslkey"
  | "sslpassword"
  | "sslcertmode"
  | "sslcrl"
  | "sslcrldir"
  | "sslMinProtocolVersion"
  | "sslMaxProtocolVersion"
  | "sslkeylogfile"
  | "sslsni"
>;

function tlsFrom(values: Conninfo, slots: readonly HostSlot[], sources: Sources): TlsOptions {
  const options: TlsOptions = {
    sslmode: choice(values, "sslmode") ?? "prefer",
    sslnegotiation: choice(values, "sslnegotiation") ?? "postgres",
    sslrootcert: nonEmpty(values, "sslrootcert"),
    sslcert: nonEmpty(values, "sslcert"),
    sslkey: nonEmpty(values, "sslkey"),
    sslpassword: nonEmpty(values, "sslpassword"),
    sslcertmode: choice(values, "sslcertmode"),
    sslcrl: nonEmpty(values, "sslcrl"),
    sslcrldir: nonEmpty(values, "sslcrldir"),
    ...tlsVersionsFrom(values),
    sslkeylogfile: nonEmpty(values, "sslkeylogfile"),
    sslsni: values.get("sslsni")?.startsWith("1"),
  };
  if (options.sslkey !== undefined && /^[^/\\]{2,}:/.test(options.sslkey) && !isPem(options.sslkey)) {
    throw badOption('keys in OpenSSL engines are not supported: "sslkey" is a file');
  }
  const mayEncrypt = options.sslmode !== "disable" && slots.some(({ host }) => !isSocketHost(host));
  if (mayEncrypt) return { ...options, ...withDefaultTlsFiles(options, sources) };
  // Where TLS cannot be, half of a certificate harms nobody.
  const whole = options.sslcert !== undefined && options.sslkey !== undefined;
  return whole ? options : { ...options, sslcert: undefined, sslkey: undefined };
}

function isPem(text: string): boolean {
  return text.includes("-----BEGIN");
}

function isSocketHost({ host, address }: Host): boolean {
  return isSocket(address ?? host);
}

/** Capital and small letters are the same (sslVerifyProtocolVersion). */
function tlsVersionsFrom(
  values: Conninfo,
): Pick<ConnectOptions, "sslMinProtocolVersion" | "sslMaxProtocolVersion"> {
  const version = (
    keyword: "ssl_min_protocol_version" | "ssl_max_protocol_version",
  ): TlsVersion | undefined => {
    const given = nonEmpty(values, keyword);
    if (given === undefined) return undefined;
    const found = connectionParameters[keyword].value.find(
      (name) => name.toLowerCase() === given.toLowerCase(),
    );
    if (found === undefined) throw badOption(`invalid ${keyword} value: "${given}"`);
    return found;
  };
  return {
    sslMinProtocolVersion: version("ssl_min_protocol_version"),
    sslMaxProtocolVersion: version("ssl_max_protocol_version"),
  };
}

const versionNumbers = {
  "3.0": protocolVersion30,
  "3.2": protocolVersion32,
  latest: protocolVersion32,
} as const;

/** The newest is asked for by default only if an old one is ruled out. */
function protocolVersionsFrom(
  values: Conninfo,
): Pick<ConnectOptions, "minProtocolVersion" | "maxProtocolVersion"> {
  const minProtocolVersion = versionNumbers[choice(values, "min_protocol_version") ?? "3.0"];
  const maxName = choice(values, "max_protocol_version");
  const maxProtocolVersion = maxName === undefined ? minProtocolVersion : versionNumbers[maxName];
  return { minProtocolVersion, maxProtocolVersion };
}

/** Variables that become settings of the session (fe-protocol3.c, EnvironmentOptions). */
const settingsOfEnvironment = [
  ["PGDATESTYLE", "datestyle"],
  ["PGTZ", "timezone"],
  ["PGGEQO", "geqo"],
] as const;

/** Startup keys in libpq's order (fe-protocol3.c build_startup_packet). */
function startupKeysFrom(values: Conninfo, environment: Sources["environment"]): [string, string][] {
  const keys: [string, string][] = [];
  for (const keyword of ["replication", "options", "application_name"] as const) {
    const value = nonEmpty(values, keyword);
    if (value !== undefined) keys.push([keyword, value]);
  }
  const encoding = nonEmpty(values, "client_encoding");
  if (encoding !== undefined) keys.push(["client_encoding", encodingFrom(encoding)]);
  for (const [variable, name] of settingsOfEnvironment) {
    const value = environment[variable];
    if (value !== undefined && value.toLowerCase() !== "default") keys.push([name, value]);
  }
  return keys;
}

/** Names of encodings are compared by their letters and digits (encnames.c, clean_encoding_name). */
function encodingFrom(name: string): string {
  if (name === "auto") return "UTF8";
  const letters = name.toLowerCase().replace(/[^a-z0-9]/g, "");
  if (letters === "utf8" || letters === "unicode") return name;
  throw badOption(`client_encoding "${name}" is not supported: this client reads and writes UTF-8 only`);
}

const supportedMethods: readonly AuthenticationMethod[] = ["none", "password", "md5", "scram-sha-256"];
const unsupportedMethods: ReadonlySet<string> = new Set(["gss", "sspi", "oauth"]);

/** `a,b`: these and no others. `!a,!b`: all but these. */
function requireAuthFrom(given: string | undefined): AuthenticationMethod[] | undefined {
  if (given === undefined) return undefined;
  const items = given.split(",");
  const negated = given.startsWith("!");
  const names: string[] = [];
  for (const item of items) {
    if (item.startsWith("!") !== negated) {
      throw badOption(
        negated
          ? `require_auth method "${item}" cannot be mixed with negative methods`
          : `negative require_auth method "${item}" cannot be mixed with non-negative methods`,
      );
    }
    const name = negated ? item.slice(1) : item;
    const known = unsupportedMethods.has(name) || supportedMethods.some((method) => method === name);
    if (!known) throw badOption(`invalid require_auth value: "${name}"`);
    if (names.includes(name)) throw badOption(`require_auth method "${item}" is specified more than once`);
    names.push(name);
  }
  return supportedMethods.filter((method) => names.includes(method) !== negated);
}

/** What this client does not do is refused by name, wherever it would make a difference. */
function refuseWhatIsMissing(values: Conninfo, slots: readonly HostSlot[]): void {
  const refuse = (keyword: ConnectionKeyword, why: string): never => {
    throw badOption(`connection option "${keyword}" is not supported: ${why}`);
  };
  if (choice(values, "gssencmode") === "require") refuse("gssencmode", '"require" needs GSSAPI');
  for (const keyword of ["oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"] as const) {
    if (nonEmpty(values, keyword) !== undefined) refuse(keyword, "this client has no OAuth");
  }
  const sockets = slots.some(({ host }) => isSocketHost(host));
  if (sockets && nonEmpty(values, "requirepeer") !== undefined) {
    refuse("requirepeer", "Node cannot tell the account of the other end of a socket");
  }
  if (slots.every(({ host }) => isSocketHost(host))) return;
  if (integer(values, "tcp_user_timeout", 0) > 0) refuse("tcp_user_timeout", "Node cannot set it");
  if (integer(values, "keepalives", 1) === 0) return;
  for (const keyword of ["keepalives_interval", "keepalives_count"] as const) {
    if (integer(values, keyword, 0) > 0) refuse(keyword, "Node cannot set it; 0 leaves it to the system");
  }
}
