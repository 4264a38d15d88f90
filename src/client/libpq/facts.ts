/**
 * What libpq tells about a connection (PostgreSQL's manual, "Connection Status Functions"), by its names
 * without PQ. Where libpq gives NULL, these give undefined. A connection that is finished knows nothing more.
 */
import type { TraceOptions } from "../../wire/trace.ts";
import { type ConninfoOption, conninfoOptions } from "../conninfo/conninfo.ts";
import type { Host } from "../conninfo/options.ts";
import { isUnix } from "../handshake/targets.ts";
import type { Conn } from "./conn.ts";

/** libpq's number of each transaction status (PGTransactionStatusType). */
export const transactionStatusNumber = { IDLE: 0, ACTIVE: 1, INTRANS: 2, INERROR: 3, UNKNOWN: 4 } as const;
export type TransactionStatus = keyof typeof transactionStatusNumber;

/** The database's name (PQdb). */
export function db(conn: Conn): string | undefined {
  return optionsOf(conn)?.database;
}

/** The user's name (PQuser). */
export function user(conn: Conn): string | undefined {
  return optionsOf(conn)?.user;
}

/** The password for the current host (PQpass), from wherever it came; empty if there is none. */
export function pass(conn: Conn): string | undefined {
  const options = optionsOf(conn);
  return options === undefined ? undefined : (options.password ?? hostOf(conn)?.password ?? "");
}

/**
 * The host that is connected to, or being tried (PQhost): as it was given, so a name, an address or the folder
 * of a Unix socket.
 */
export function host(conn: Conn): string | undefined {
  return conn.endpoint?.host ?? hostOf(conn)?.host;
}

/** Its numeric address (PQhostaddr); empty for a Unix socket, and as long as it is not known. */
export function hostaddr(conn: Conn): string | undefined {
  const address = conn.endpoint?.address ?? "";
  return optionsOf(conn) === undefined ? undefined : isUnix(address) ? "" : address;
}

/** Its port (PQport). */
export function port(conn: Conn): string | undefined {
  const number = conn.endpoint?.port ?? hostOf(conn)?.port;
  return number === undefined ? undefined : String(number);
}

/** The command-line options for the server (PQoptions). */
export function options(conn: Conn): string | undefined {
  return optionsOf(conn)?.parameters.find(([name]) => name === "options")?.[1] ?? (conn.settings && "");
}

/** Every connection parameter with the value that counts (PQconninfo), passwords included. */
export function conninfo(conn: Conn): ConninfoOption[] | undefined {
  return conn.finished || conn.settings === undefined ? undefined : conninfoOptions(conn.settings.values);
}

/** IDLE while the connection is OK, UNKNOWN otherwise: no query is ever run here (PQtransactionStatus). */
export function transactionStatus(conn: Conn): TransactionStatus {
  return conn.session === undefined ? "UNKNOWN" : "IDLE";
}

/** A parameter as the server has reported it in the login (PQparameterStatus), by its exact name. */
export function parameterStatus(conn: Conn, name: string): string | undefined {
  return conn.session?.parameters.get(name);
}

/** 3, or 0 if the connection has failed (PQprotocolVersion). */
export function protocolVersion(conn: Conn): number {
  return Math.trunc(fullProtocolVersion(conn) / 10_000);
}

/**
 * 30000 for protocol 3.0, 30002 for 3.2: what was agreed on, or is asked for as long as nothing is; 0 if the
 * connection has failed (PQfullProtocolVersion).
 */
export function fullProtocolVersion(conn: Conn): number {
  const version = conn.session?.protocolVersion ?? optionsOf(conn)?.maxProtocolVersion;
  if (version === undefined || conn.connectionStatus === "BAD") return 0;
  return (version >>> 16) * 10_000 + (version & 0xffff);
}

/** 180004 for version 18.4, 90624 for 9.6.24; 0 if there is no connection or no telling (PQserverVersion). */
export function serverVersion(conn: Conn): number {
  const text = conn.session?.parameters.get("server_version") ?? "";
  const [, major, minor, patch] = /^(\d+)(?:\.(\d+))?(?:\.(\d+))?/.exec(text) ?? [];
  if (major === undefined) return 0;
  // Since 10 the second number is the last.
  if (Number(major) >= 10) return Number(major) * 10_000 + Number(minor ?? 0);
  return Number(major) * 10_000 + Number(minor ?? 0) * 100 + Number(patch ?? 0);
}

/** The process at the other end (PQbackendPID); 0 if there is none, or the server has not told. */
export function backendPid(conn: Conn): number {
  return conn.session?.backendPid ?? 0;
}

/** Whether the connection is encrypted (PQsslInUse); true as soon as the TLS handshake is done. */
export function sslInUse(conn: Conn): boolean {
  return conn.tlsSocket !== undefined;
}

/** Names that sslAttribute knows (PQsslAttributeNames). */
export const sslAttributeNames = [
  "library",
  "key_bits",
  "cipher",
  "compression",
  "protocol",
  "alpn",
] as const;
export type SslAttributeName = (typeof sslAttributeNames)[number];

/**
 * A fact of the encryption (PQsslAttribute); undefined without encryption. `alpn` is empty if no protocol was
 * agreed on.
 */
export function sslAttribute(conn: Conn, name: SslAttributeName): string | undefined {
  const tls = conn.tlsSocket;
  if (tls === undefined) return undefined;
  switch (name) {
    case "library":
      return "OpenSSL";
    case "key_bits":
      return keyBits(tls.getCipher().standardName);
    case "cipher":
      return tls.getCipher().name;
    case "compression":
      return "off";
    case "protocol":
      return tls.getProtocol() ?? undefined;
    case "alpn":
      return typeof tls.alpnProtocol === "string" ? tls.alpnProtocol : "";
    default:
      return undefined;
  }
}

/** Whether the server has asked for a password and there was none (PQconnectionNeedsPassword): ask the user for it. */
export function connectionNeedsPassword(conn: Conn): boolean {
  return conn.passwordNeeded && pass(conn) === "";
}

/** Whether the server has asked for a password (PQconnectionUsedPassword). */
export function connectionUsedPassword(conn: Conn): boolean {
  return conn.passwordNeeded;
}

/**
 * Prints every message of the login from now on (PQtrace): `write` gets a line with its newline at a time, and
 * must not throw. With the time in front, unless `options` says otherwise; secrets are masked unless it does.
 */
export function trace(
  conn: Conn,
  write: (line: string) => void,
  options: TraceOptions = { now: () => new Date() },
): void {
  conn.witness.trace(write, options);
}

/** Prints no more (PQuntrace). */
export function untrace(conn: Conn): void {
  conn.witness.untrace();
}

function optionsOf(conn: Conn): NonNullable<Conn["settings"]>["options"] | undefined {
  return conn.finished ? undefined : conn.settings?.options;
}

/** The entry of the list of hosts that is being tried, or comes first. */
function hostOf(conn: Conn): Host | undefined {
  const hosts = optionsOf(conn)?.hosts;
  const { endpoint } = conn;
  return hosts?.find(({ host, port }) => host === endpoint?.host && port === endpoint.port) ?? hosts?.[0];
}

/** TLS_AES_256_GCM_SHA384 → 256: Node tells the name, and the name tells the size. */
function keyBits(cipher: string): string | undefined {
  if (cipher.includes("CHACHA20")) return "256";
  return /_(?:AES|ARIA|CAMELLIA)_(\d+)_/.exec(cipher)?.[1];
}
