/**
 * What a connection is asked to be: the options that a conninfo string, a pool or a program fills in, their
 * defaults, and the rules that bind one option to another. Everything is checked before a socket is opened,
 * because a bad combination fails the same way on every address. Names and meanings are libpq's
 * (PostgreSQL's manual, "Parameter Key Words"); nothing is read from the environment or from files here.
 */
import type { TLSSocket } from "node:tls";
import type { KeepAlive } from "../../base/descriptors.ts";
import { OperationError } from "../../base/errors.ts";
import { protocolVersion30, protocolVersion32, startupBytesMax } from "../../wire/constants.ts";

export type KeepAliveOptions = KeepAlive;
export type SslMode = "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full";
export type SslNegotiation = "postgres" | "direct";
export type ChannelBinding = "disable" | "prefer" | "require";
export type ProtocolVersion = typeof protocolVersion30 | typeof protocolVersion32;
/** How a server may ask for proof of who we are; `none`: it asks for nothing. */
export type AuthenticationMethod = "none" | "password" | "md5" | "scram-sha-256";
/** What a session must be like to be taken; else the next host is tried (target_session_attrs). */
export type TargetSessionAttrs =
  | "any"
  | "read-write"
  | "read-only"
  | "primary"
  | "standby"
  | "prefer-standby";
export type LoadBalanceHosts = "disable" | "random";
/** Whether a client certificate is never sent, sent if the server asks, or must have been asked for and sent. */
export type SslCertMode = "disable" | "allow" | "require";
export type TlsVersion = "TLSv1" | "TLSv1.1" | "TLSv1.2" | "TLSv1.3";

/** One place to try. `host` starting with `/` or `@` is the folder of a Unix socket. */
export interface Host {
  readonly host: string;
  readonly port: number;
  /** A numeric address to connect to instead of looking `host` up; `host` stays the name for TLS. */
  readonly address?: string | undefined;
  /** The password for this host from a password file; `ConnectOptions.password` wins if both are given. */
  readonly password?: string | undefined;
  /** Path of the file that `password` comes from, to be named when the server refuses it. */
  readonly passwordFile?: string | undefined;
}

/** The keys that SCRAM derives from a password: with them a login needs no password (RFC 5802, section 3). */
export interface ScramKeys {
  readonly clientKey: Buffer;
  readonly serverKey: Buffer;
}

/** TLS sessions with servers, by a key that says with whom and verified how. */
export interface TlsSessionStore {
  find(key: string): Buffer | undefined;
  /** Keeps what the verified connection brings, now or later. */
  keep(key: string, socket: TLSSocket): void;
}

export interface ConnectOptions {
  /** Tried in this order, unless `loadBalanceHosts` is `random`. */
  readonly hosts: readonly Host[];
  /** What the session must be like; `any` if not given. */
  readonly targetSessionAttrs?: TargetSessionAttrs | undefined;
  /** `random`: hosts are shuffled once, the addresses of each host as they are found; `disable` if not given. */
  readonly loadBalanceHosts?: LoadBalanceHosts | undefined;
  readonly user: string;
  readonly database: string;
  readonly password?: string | undefined;
  /** Hexadecimal md5(password + user), which is enough where the server asks for md5. */
  readonly md5Hash?: string | undefined;
  /** Enough where the server asks for SCRAM-SHA-256 with the salt that the keys were derived with. */
  readonly scramKeys?: ScramKeys | undefined;
  readonly sslmode: SslMode;
  readonly sslnegotiation: SslNegotiation;
  /**
   * Certificates to trust: PEM text (it contains `-----BEGIN`), else the path of a PEM file, or `system`
   * for the roots that Node brings. If given, the server's chain is verified in every mode that ends in TLS.
   * No default file is looked for.
   */
  readonly sslrootcert?: string | undefined;
  /** Client certificate: PEM text (it contains `-----BEGIN`), else the path of a PEM file. */
  readonly sslcert?: string | undefined;
  /** Its private key: PEM text (it contains `-----BEGIN`), else the path of a PEM file. */
  readonly sslkey?: string | undefined;
  /** Passphrase of `sslkey`. */
  readonly sslpassword?: string | undefined;
  /** `allow` if not given. */
  readonly sslcertmode?: SslCertMode | undefined;
  /**
   * Lists of certificates no longer to trust: PEM text (it contains `-----BEGIN`), else the path of a PEM
   * file; a missing file is none. Counts only where the server's chain is verified.
   */
  readonly sslcrl?: string | undefined;
  /** Folder of such files, named as OpenSSL names them (`<hash>.r<n>`); a missing folder is none. */
  readonly sslcrldir?: string | undefined;
  /** TLSv1.2 if not given. */
  readonly sslMinProtocolVersion?: TlsVersion | undefined;
  /** The highest that Node brings if not given. */
  readonly sslMaxProtocolVersion?: TlsVersion | undefined;
  /** Ciphers as Node takes them: those of TLS 1.3 and OpenSSL's list in one; Node's own if not given. */
  readonly tlsCiphers?: string | undefined;
  /** Sessions are resumed from there and kept there; none are without it. */
  readonly tlsSessions?: TlsSessionStore | undefined;
  /** Path of a file that TLS's secrets are appended to in NSS's format: whoever reads it reads the session. */
  readonly sslkeylogfile?: string | undefined;
  /** Whether the host's name is told to the server in the TLS handshake; true if not given. */
  readonly sslsni?: boolean | undefined;
  readonly channelBinding: ChannelBinding;
  /** The methods that the server may ask for; every supported one if not given. */
  readonly requireAuth?: readonly AuthenticationMethod[] | undefined;
  /**
   * Whether a password may be sent as it is over an unencrypted TCP connection. If not given, only to a
   * loopback address, or where `requireAuth` names `password`.
   */
  readonly allowCleartextPassword?: boolean | undefined;
  readonly minProtocolVersion: ProtocolVersion;
  readonly maxProtocolVersion: ProtocolVersion;
  /** Further keys of the startup packet, in the order in which they are sent. */
  readonly parameters: readonly (readonly [string, string])[];
  /**
   * application_name for the startup packet where `parameters` has none. A server that refuses the name it
   * was given with 42704 is asked once more without any.
   */
  readonly fallbackApplicationName?: string | undefined;
  /** Milliseconds for one address, from the look-up or connect to the end of the login; none if not given. */
  readonly connectTimeoutMs?: number | undefined;
  /** TCP keep-alive; on, with the system's times, if not given. */
  readonly keepAlive?: KeepAliveOptions | undefined;
}

/** libpq's default port (pg_config.h DEF_PGPORT). */
export const defaultPort = 5432;
/** PostgreSQL's own default folder of Unix sockets (pg_config_manual.h DEFAULT_PGSOCKET_DIR). */
export const defaultSocketFolder = "/tmp";

/** The lowest version of TLS that is spoken if none is named, as in libpq. */
export const defaultTlsVersion: TlsVersion = "TLSv1.2";
const tlsVersions: readonly string[] = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] satisfies TlsVersion[];

const applicationName = "application_name";

/** The longest time a timer of Node's can wait: 24 days. */
export const timerMsMax: number = 2 ** 31 - 1;

/** Fills in libpq's defaults: sslmode prefer, channel binding prefer, protocol 3.0, the user's own database. */
export function connectOptions(given: Partial<ConnectOptions> & { readonly user: string }): ConnectOptions {
  return {
    ...given,
    hosts: given.hosts ?? [{ host: defaultSocketFolder, port: defaultPort }],
    database: given.database ?? given.user,
    sslmode: given.sslmode ?? "prefer",
    sslnegotiation: given.sslnegotiation ?? "postgres",
    channelBinding: given.channelBinding ?? "prefer",
    minProtocolVersion: given.minProtocolVersion ?? protocolVersion30,
    maxProtocolVersion: given.maxProtocolVersion ?? protocolVersion30,
    parameters: given.parameters ?? [],
  };
}

/** Keys of the startup packet that come before the application's name (fe-protocol3.c build_startup_packet). */
const keysBeforeName: ReadonlySet<string> = new Set(["replication", "options"]);

/**
 * The names and values of the startup packet, in libpq's order (fe-protocol3.c build_startup_packet).
 * `named` false leaves application_name out: some server did not know it.
 */
export function startupParameters(options: ConnectOptions, named = true): [string, string][] {
  const parameters = options.parameters.filter(([name]) => named || name !== applicationName);
  const fallback = named ? fallbackName(options) : undefined;
  if (fallback !== undefined) {
    const place = parameters.findIndex(([name]) => !keysBeforeName.has(name));
    parameters.splice(place < 0 ? parameters.length : place, 0, [applicationName, fallback]);
  }
  const first: [string, string][] = [["user", options.user]];
  if (options.database !== "") first.push(["database", options.database]);
  return [...first, ...parameters.map(([name, value]): [string, string] => [name, value])];
}

/** Whether the startup packet names the application. */
export function namesApplication(options: ConnectOptions): boolean {
  return hasName(options) || fallbackName(options) !== undefined;
}

function fallbackName(options: ConnectOptions): string | undefined {
  return hasName(options) || options.fallbackApplicationName === ""
    ? undefined
    : options.fallbackApplicationName;
}

function hasName(options: ConnectOptions): boolean {
  return options.parameters.some(([name]) => name === applicationName);
}

/** The password for `host`, and the password file that it comes from; an empty password is none. */
export function passwordFor(
  options: ConnectOptions,
  host: Host,
): { readonly password: string | undefined; readonly file: string | undefined } {
  const explicit = options.password === "" ? undefined : options.password;
  const own = host.password === "" ? undefined : host.password;
  // What was given beats a file; what was given for one host beats what was given for all.
  if (own === undefined || (host.passwordFile !== undefined && explicit !== undefined)) {
    return { password: explicit, file: undefined };
  }
  return { password: own, file: host.passwordFile };
}

/** An option that cannot be, or not together with another: code `client.bad_option`, SQLSTATE 22023. */
export function badOption(message: string): OperationError {
  return new OperationError(message, { code: "client.bad_option", sqlstate: "22023", source: "internal" });
}

/**
 * Checks what can be known before connecting. Throws OperationError `client.bad_option` (22023). The rules
 * are those of libpq's pqConnectOptions2 and, for the length of the startup packet, of the server.
 */
export function checkConnectOptions(options: ConnectOptions): void {
  if (options.hosts.length === 0) throw badOption("no host to connect to");
  for (const host of options.hosts) checkHost(host);
  checkTexts(options);
  checkTls(options);
  if (options.minProtocolVersion > options.maxProtocolVersion) {
    throw badOption('"min_protocol_version" must not be later than "max_protocol_version"');
  }
  if (options.channelBinding === "require" && options.sslmode === "disable") {
    throw badOption('channel_binding "require" needs TLS, which sslmode "disable" rules out');
  }
  const { connectTimeoutMs } = options;
  if (connectTimeoutMs !== undefined && !(connectTimeoutMs > 0 && connectTimeoutMs <= timerMsMax)) {
    throw badOption(`invalid connect timeout: ${connectTimeoutMs} ms`);
  }
}

function checkHost({ host, port, address, password }: Host): void {
  if (!Number.isInteger(port)) throw badOption(`invalid port number: "${port}"`);
  if (host.includes("\0") || address?.includes("\0")) throw badOption("a host's name contains a NUL");
  if (password?.includes("\0")) throw badOption("the password contains a NUL");
}

function checkTexts(options: ConnectOptions): void {
  if (options.user === "") throw badOption("no PostgreSQL user name specified");
  let bytes = 4 + 1; // the version and the final NUL
  for (const [name, value] of startupParameters(options)) {
    if (name === "" || name.includes("\0") || value.includes("\0")) {
      throw badOption(`startup parameter ${JSON.stringify(name)} is empty or contains a NUL`);
    }
    bytes += Buffer.byteLength(name) + 1 + Buffer.byteLength(value) + 1;
  }
  if (bytes > startupBytesMax) {
    throw badOption(`startup packet is too long: ${bytes} bytes, at most ${startupBytesMax} are allowed`);
  }
  if (options.password?.includes("\0")) throw badOption("the password contains a NUL");
  if (options.md5Hash !== undefined && !/^[0-9a-f]{32}$/.test(options.md5Hash)) {
    throw badOption("an md5 hash has 32 hexadecimal digits");
  }
  if (options.scramKeys !== undefined) {
    const { clientKey, serverKey } = options.scramKeys;
    if (clientKey.length !== 32 || serverKey.length !== 32) throw badOption("SCRAM keys have 32 bytes");
  }
}

function checkTls(options: ConnectOptions): void {
  const { sslmode, sslnegotiation, sslrootcert } = options;
  if (sslnegotiation === "direct" && (sslmode === "disable" || sslmode === "allow" || sslmode === "prefer")) {
    throw badOption(`weak sslmode "${sslmode}" may not be used with sslnegotiation=direct (use "require")`);
  }
  if (sslrootcert === "system" && sslmode !== "verify-full") {
    throw badOption(`weak sslmode "${sslmode}" may not be used with sslrootcert=system (use "verify-full")`);
  }
  if (sslrootcert === undefined && (sslmode === "verify-ca" || sslmode === "verify-full")) {
    throw badOption(
      `sslmode "${sslmode}" needs certificates to trust: give sslrootcert, or sslrootcert=system`,
    );
  }
  if ((options.sslcert === undefined) !== (options.sslkey === undefined)) {
    throw badOption("sslcert and sslkey are given together or not at all");
  }
  const lowest = tlsVersions.indexOf(options.sslMinProtocolVersion ?? defaultTlsVersion);
  const highest = tlsVersions.indexOf(options.sslMaxProtocolVersion ?? "TLSv1.3");
  if (lowest < 0)
    throw badOption(`invalid "ssl_min_protocol_version" value: "${options.sslMinProtocolVersion}"`);
  if (highest < 0)
    throw badOption(`invalid "ssl_max_protocol_version" value: "${options.sslMaxProtocolVersion}"`);
  if (lowest > highest) throw badOption("invalid SSL protocol version range");
}

/** Whether a client certificate is sent to a server that asks for one. */
export function sendsCertificate(options: ConnectOptions): boolean {
  return options.sslcert !== undefined && options.sslcertmode !== "disable";
}

/** What is demanded of the server's certificate: nothing, a chain to a trusted root, or also the host's name. */
export type CertificateCheck = "none" | "chain" | "chain-and-name";

/** libpq's rule: a root certificate that is there is used, whatever the mode (fe-secure-openssl.c). */
export function certificateCheck(options: ConnectOptions): CertificateCheck {
  if (options.sslmode === "verify-full") return "chain-and-name";
  return options.sslrootcert === undefined ? "none" : "chain";
}

const ipv4Pattern = /^\d{1,3}(\.\d{1,3}){3}$/;

/** Whether `host` needs no look-up: four numbers, or an IPv6 address, which alone may hold a colon. */
export function isNumericAddress(host: string): boolean {
  return ipv4Pattern.test(host) || host.includes(":");
}

/** The name to tell in the TLS handshake; none for addresses (RFC 6066, section 3; fe-secure-openssl.c). */
export function serverNameIndication(options: ConnectOptions, host: string): string | undefined {
  if (options.sslsni === false || /^[0-9.]*$/.test(host) || host.includes(":")) return undefined;
  return host;
}
