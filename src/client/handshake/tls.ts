/**
 * What TLS needs beyond the machine: certificates, keys and revocation lists read from their files, and
 * sslmode's demands in Node's words. Read anew for every connection, so that replaced files count from the next one on; read
 * before connecting, because the handshake has to follow the server's `S` without a pause.
 */
import { appendFileSync } from "node:fs";
import { open, readdir, readFile } from "node:fs/promises";
import path from "node:path";
import tls from "node:tls";
import { tlsServerEndPoint } from "../../auth/channel-binding.ts";
import {
  badOption,
  type ConnectOptions,
  certificateCheck,
  defaultTlsVersion,
  sendsCertificate,
  serverNameIndication,
} from "../conninfo/options.ts";

/** The texts a handshake needs, in memory. */
export interface TlsMaterial {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** Certificate revocation lists, one each. */
  readonly crl: readonly string[];
}

/** The protocol's registered name for ALPN (PostgreSQL's manual, "SSL Session Encryption"). */
const applicationProtocol = "postgresql";

/** Who reads such a file can decrypt what was recorded: nobody but its owner may (fe-secure-openssl.c). */
const secretFileMode = 0o600;

/**
 * Reads certificates and keys. Rejects with OperationError `client.bad_option` (22023) if a file cannot be
 * read, or sslkeylogfile not be written.
 */
export async function loadTlsMaterial(options: ConnectOptions): Promise<TlsMaterial> {
  const { sslrootcert } = options;
  const sends = sendsCertificate(options);
  const [ca, cert, key, crl] = await Promise.all([
    sslrootcert === "system" ? undefined : pem("root certificate", sslrootcert),
    pem("client certificate", sends ? options.sslcert : undefined),
    pem("private key", sends ? options.sslkey : undefined),
    // Without roots nothing is verified, so nothing can be revoked.
    sslrootcert === undefined ? [] : revocationLists(options),
    openKeyLog(options.sslkeylogfile),
  ]);
  return { ca, cert, key, crl };
}

/**
 * The options of one handshake with `host`, a name or an address as the user gave it; `session` is resumed if the server will. Throws OperationError
 * `client.bad_option` (22023) if a certificate or key is not one.
 */
export function tlsOptions(
  options: ConnectOptions,
  material: TlsMaterial,
  host: string,
  session?: Buffer,
): tls.ConnectionOptions {
  const check = certificateCheck(options);
  const servername = serverNameIndication(options, host);
  return {
    secureContext: secureContext(options, material),
    ALPNProtocols: [applicationProtocol],
    rejectUnauthorized: check !== "none",
    ...(servername === undefined ? {} : { servername }),
    ...(session === undefined ? {} : { session }),
    // The name to check is the one that was asked for, also where it is an address and not told in SNI.
    checkServerIdentity: (_, certificate) =>
      check === "chain-and-name" ? tls.checkServerIdentity(host, certificate) : undefined,
  };
}

/** What the machine wants to know of a handshake that succeeded. */
export function describeTls(
  options: ConnectOptions,
  socket: tls.TLSSocket,
): {
  readonly endPoint: Buffer | undefined;
  readonly alpn: string | undefined;
  readonly certificateRequested: boolean;
} {
  const alpn = typeof socket.alpnProtocol === "string" ? socket.alpnProtocol : undefined;
  const certificate = options.channelBinding === "disable" ? undefined : socket.getPeerX509Certificate();
  return {
    alpn,
    endPoint: certificate === undefined ? undefined : tlsServerEndPoint(certificate.raw),
    // OpenSSL's client compares signature algorithms only when it is asked for a certificate.
    certificateRequested: socket.getSharedSigalgs().length > 0,
  };
}

/**
 * Appends the secrets of a handshake that is about to begin to sslkeylogfile, if there is one. A line that
 * cannot be written is lost: a log for finding faults must not be one.
 */
export function logTlsSecrets(options: ConnectOptions, socket: tls.TLSSocket): void {
  const file = options.sslkeylogfile;
  if (file === undefined) return;
  socket.on("keylog", (line: Buffer) => {
    try {
      appendFileSync(file, line, { mode: secretFileMode });
    } catch {}
  });
}

async function openKeyLog(file: string | undefined): Promise<void> {
  if (file === undefined) return;
  try {
    await (await open(file, "a", secretFileMode)).close();
  } catch (error) {
    throw badOption(`could not open TLS key logging file "${file}": ${reasonOf(error)}`);
  }
}

/** A file or folder that is not there is no list; one that is there and holds none is a mistake. */
async function revocationLists(options: ConnectOptions): Promise<string[]> {
  const { sslcrl, sslcrldir } = options;
  const texts: string[] = [];
  if (sslcrl !== undefined) {
    const text = await pem("certificate revocation list", sslcrl, "none");
    if (text !== undefined) texts.push(...splitLists(text, "sslcrl"));
  }
  for (const name of sslcrldir === undefined ? [] : await listFiles(sslcrldir)) {
    const file = path.join(sslcrldir ?? "", name);
    texts.push(...splitLists((await pem("certificate revocation list", file)) ?? "", `file "${file}"`));
  }
  return texts;
}

const listPattern = /-----BEGIN X509 CRL-----[^]*?-----END X509 CRL-----/g;

/** Node takes one list from each text that it is given. */
function splitLists(text: string, where: string): string[] {
  const lists = text.match(listPattern);
  if (lists === null) throw badOption(`no certificate revocation list in ${where}`);
  return lists;
}

/** The names that OpenSSL would look at: hash, `.r`, number. */
async function listFiles(folder: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw badOption(`could not read certificate revocation list directory "${folder}": ${reasonOf(error)}`);
  }
  const lists = names.filter((name) => /^[0-9a-f]{8}\.r\d+$/.test(name));
  if (lists.length === 0) throw badOption(`no certificate revocation list in directory "${folder}"`);
  return lists;
}

async function pem(
  what: string,
  textOrPath: string | undefined,
  whenMissing: "error" | "none" = "error",
): Promise<string | undefined> {
  if (textOrPath === undefined || textOrPath.includes("-----BEGIN")) return textOrPath;
  try {
    return await readFile(textOrPath, "utf8");
  } catch (error) {
    if (whenMissing === "none" && isMissing(error)) return undefined;
    throw badOption(`could not read ${what} file "${textOrPath}": ${reasonOf(error)}`);
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}

function reasonOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "it cannot be used";
}

function secureContext(options: ConnectOptions, material: TlsMaterial): tls.SecureContext {
  const { ca, cert, key, crl } = material;
  const { sslpassword: passphrase, sslMaxProtocolVersion: maxVersion } = options;
  const { tlsCiphers: ciphers } = options;
  try {
    return tls.createSecureContext({
      minVersion: options.sslMinProtocolVersion ?? defaultTlsVersion,
      ...(maxVersion === undefined ? {} : { maxVersion }),
      ...(ciphers === undefined ? {} : { ciphers }),
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(crl.length === 0 ? {} : { crl: [...crl] }),
      ...(passphrase === undefined ? {} : { passphrase }),
    });
  } catch (error) {
    // OpenSSL's text names the routine and the fault, never the contents.
    throw badOption(`could not use the TLS certificates or key: ${(error as Error).message}`);
  }
}
