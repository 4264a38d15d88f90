/**
 * What TLS needs beyond the machine: certificates and keys read from their files, and sslmode's demands in
 * Node's words. Read anew for every connection, so that replaced files count from the next one on; read
 * before connecting, because the handshake has to follow the server's `S` without a pause.
 */
import { readFile } from "node:fs/promises";
import tls from "node:tls";
import { tlsServerEndPoint } from "../../auth/channel-binding.ts";
import {
  badOption,
  type ConnectOptions,
  certificateCheck,
  serverNameIndication,
} from "../conninfo/options.ts";

/** The texts a handshake needs, in memory. */
export interface TlsMaterial {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** The protocol's registered name for ALPN (PostgreSQL's manual, "SSL Session Encryption"). */
const applicationProtocol = "postgresql";

/**
 * Reads certificates and keys. Rejects with OperationError `client.bad_option` (22023) if a file cannot be
 * read.
 */
export async function loadTlsMaterial(options: ConnectOptions): Promise<TlsMaterial> {
  const { sslrootcert, sslcert, sslkey } = options;
  const [ca, cert, key] = await Promise.all([
    sslrootcert === "system" ? undefined : pem("root certificate", sslrootcert),
    pem("client certificate", sslcert),
    pem("private key", sslkey),
  ]);
  return { ca, cert, key };
}

/**
 * The options of one handshake with `host`, a name or an address as the user gave it. Throws OperationError
 * `client.bad_option` (22023) if a certificate or key is not one.
 */
export function tlsOptions(
  options: ConnectOptions,
  material: TlsMaterial,
  host: string,
): tls.ConnectionOptions {
  const check = certificateCheck(options);
  const servername = serverNameIndication(options, host);
  return {
    secureContext: secureContext(material, options.sslpassword),
    ALPNProtocols: [applicationProtocol],
    rejectUnauthorized: check !== "none",
    ...(servername === undefined ? {} : { servername }),
    // The name to check is the one that was asked for, also where it is an address and not told in SNI.
    checkServerIdentity: (_, certificate) =>
      check === "chain-and-name" ? tls.checkServerIdentity(host, certificate) : undefined,
  };
}

/** What the machine wants to know of a handshake that succeeded. */
export function describeTls(
  options: ConnectOptions,
  socket: tls.TLSSocket,
): { readonly endPoint: Buffer | undefined; readonly alpn: string | undefined } {
  const alpn = typeof socket.alpnProtocol === "string" ? socket.alpnProtocol : undefined;
  const certificate = options.channelBinding === "disable" ? undefined : socket.getPeerX509Certificate();
  return { alpn, endPoint: certificate === undefined ? undefined : tlsServerEndPoint(certificate.raw) };
}

async function pem(what: string, textOrPath: string | undefined): Promise<string | undefined> {
  if (textOrPath === undefined || textOrPath.includes("-----BEGIN")) return textOrPath;
  try {
    return await readFile(textOrPath, "utf8");
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? "cannot be read";
    throw badOption(`could not read ${what} file "${textOrPath}": ${reason}`);
  }
}

function secureContext(material: TlsMaterial, passphrase: string | undefined): tls.SecureContext {
  const { ca, cert, key } = material;
  try {
    return tls.createSecureContext({
      minVersion: "TLSv1.2",
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(passphrase === undefined ? {} : { passphrase }),
    });
  } catch (error) {
    // OpenSSL's text names the routine and the fault, never the contents.
    throw badOption(`could not use the TLS certificates or key: ${(error as Error).message}`);
  }
}
