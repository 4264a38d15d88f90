/** The certificate that clients are shown, read from files; read again at a reload, for new connections. */
import { constants, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { tlsServerEndPoint } from "../auth/channel-binding.ts";
import { OperationError } from "../base/errors.ts";
import type { Settings } from "../config/schema.ts";
import { clientTlsLimits } from "../config/tls.ts";
import type { ClientTls } from "../session/context.ts";

/** OpenSSL wants one where sessions are resumed. */
const sessionIdContext = "pgsluice";
/** Seconds in which a session can be resumed: OpenSSL's own. */
const sessionTimeout = 7200;

/** Reads and checks everything; throws OperationError F0000 that names the file. Undefined: TLS is off. */
export async function loadClientTls(settings: Settings): Promise<ClientTls | undefined> {
  const mode = settings.client_tls_sslmode;
  if (mode === "disable") return undefined;
  const certificate = await readSetting("client_tls_cert_file", settings.client_tls_cert_file);
  const key = await readSetting("client_tls_key_file", settings.client_tls_key_file);
  const authorities =
    settings.client_tls_ca_file === ""
      ? undefined
      : await readSetting("client_tls_ca_file", settings.client_tls_ca_file);
  const limits = clientTlsLimits(settings);
  try {
    const options: SecureContextOptions = {
      cert: certificate,
      key,
      ...(authorities === undefined ? {} : { ca: authorities }),
      minVersion: limits.minVersion,
      maxVersion: limits.maxVersion,
      ecdhCurve: limits.ecdhCurve,
      ...(limits.ciphers === undefined ? {} : { ciphers: limits.ciphers }),
      // BoringSSL (Bun has it) refuses the option: it has no ciphers that it would be for.
      ...(limits.dhparam === undefined || "boringssl" in process.versions ? {} : { dhparam: limits.dhparam }),
    };
    const secureOptions = limits.secureOptions | constants.SSL_OP_CIPHER_SERVER_PREFERENCE;
    const withoutTickets = secureOptions | constants.SSL_OP_NO_TICKET;
    return {
      mode,
      context: createSecureContext({ ...options, secureOptions: withoutTickets }),
      endPoint: tlsServerEndPoint(new X509Certificate(certificate).raw),
      asksForCertificate: authorities !== undefined,
      // A client's certificate is shown and checked every time (as be-secure-openssl.c).
      resumption:
        authorities === undefined
          ? {
              certificate,
              contextWith: (ticketKeys) =>
                createSecureContext({
                  ...options,
                  secureOptions,
                  ticketKeys,
                  sessionIdContext,
                  sessionTimeout,
                }),
            }
          : undefined,
    };
  } catch (error) {
    throw tlsError("client_tls_cert_file", settings.client_tls_cert_file, error);
  }
}

async function readSetting(name: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw tlsError(name, file, error);
  }
}

function tlsError(name: string, file: string, cause: unknown): OperationError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new OperationError(`${name} ${JSON.stringify(file)}: ${reason}`, {
    code: "config.client_tls",
    sqlstate: "F0000",
    source: "internal",
    cause,
  });
}
