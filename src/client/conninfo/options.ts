/**
 * What a connection is asked to be: the options that a conninfo string, a pool or a program fills in, their
 * defaults, and the rules that bind one option to another. Everything is checked before a socket is opened,
 * because a bad combination fails the same way on every address. Names and meanings are libpq's
 * (PostgreSQL's manual, "Parameter Key Words"); nothing is read from the environment or from files here.
 */
import { OperationError } from "../../base/errors.ts";
import { protocolVersion30, protocolVersion32, startupBytesMax } from "../../wire/constants.ts";

export type SslMode = "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full";
export type SslNegotiation = "postgres" | "direct";
export type ChannelBinding = "disable" | "prefer" | "require";
export type ProtocolVersion = typeof protocolVersion30 | typeof protocolVersion32;
/** How a server may ask for proof of who we are; `none`: it asks for nothing. */
export type AuthenticationMethod = "none" | "password" | "md5" | "scram-sha-256";

/** One place to try. `host` starting with `/` or `@` is the folder of a Unix socket. */
export interface Host {
  readonly host: string;
  readonly port: number;
  /** A numeric address to connect to instead of looking `host` up; `host` stays the name for TLS. */
  readonly address?: string | undefined;
}

/** The keys that SCRAM derives from a password: with them a login needs no password (RFC 5802, section 3). */
export interface ScramKeys {
  readonly clientKey: Buffer;
  readonly serverKey: Buffer;
}

export interface KeepAliveOptions {
  readonly enabled: boolean;
  /** Seconds of idleness before the first probe; 0 leaves it to the system. */
  readonly idleSeconds: number;
}

export interface ConnectOptions {
  /** Tried in this order. */
  readonly hosts: readonly Host[];
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
  /** Milliseconds for one address, from the look-up or connect to the end of the login; none if not given. */
  readonly connectTimeoutMs?: number | undefined;
  /** TCP keep-alive; on, with the system's times, if not given. */
  readonly keepAlive?: KeepAliveOptions | undefined;
}

/** libpq's default port (pg_config.h DEF_PGPORT). */
export const defaultPort = 5432;
/** PostgreSQL's own default folder of Unix sockets (pg_config_manual.h DEFAULT_PGSOCKET_DIR). */
export const defaultSocketFolder = "/tmp";

/** The longest time a timer of Node's can wait: 24 days. */
const timerMsMax = 2 ** 31 - 1;

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

/** The names and values of the startup packet, in libpq's order (fe-protocol3.c build_startup_packet). */
export function startupParameters(options: ConnectOptions): [string, string][] {
  const parameters: [string, string][] = [["user", options.user]];
  if (options.database !== "") parameters.push(["database", options.database]);
  for (const [name, value] of options.parameters) parameters.push([name, value]);
  return parameters;
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
  for (const { port } of options.hosts) {
    if (!Number.isInteger(port)) throw badOption(`invalid port number: "${port}"`);
  }
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
