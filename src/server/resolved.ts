/** What a configuration means to those who act on it: the files that it names, read, and its limits in their units. */
import type { Secret } from "../auth/secret.ts";
import type { Config } from "../config/schema.ts";
import type { PeerSettings } from "../pool/peers.ts";
import type { AdmissionLimits } from "../session/admission.ts";
import type { ClientLimits, ClientTls } from "../session/context.ts";
import type { AuthenticationFiles } from "./authentication.ts";
import { Credentials } from "./credentials.ts";
import { loadHostBasedRules } from "./hba.ts";
import { loadDirectory } from "./ldap-files.ts";
import { loadClientTls } from "./tls.ts";

/** What a configuration names and that has to be read. */
export interface Files extends AuthenticationFiles {
  readonly secrets: Map<string, Secret>;
  readonly tls: ClientTls | undefined;
}

/** Throws OperationError F0000 for what cannot be read or used. */
export async function readFiles(config: Config): Promise<Files> {
  return {
    secrets: await Credentials.secretsOf(config),
    tls: await loadClientTls(config.pgsluice),
    rules: await loadHostBasedRules(config.pgsluice),
    ...(await loadDirectory(config.pgsluice)),
  };
}

export function clientLimitsOf(config: Config): ClientLimits {
  const settings = config.pgsluice;
  return {
    idleMs: settings.client_idle_timeout * 1000,
    idleTransactionMs: settings.idle_transaction_timeout * 1000,
    queryMs: settings.query_timeout * 1000,
  };
}

export function admissionLimitsOf(config: Config): AdmissionLimits {
  return {
    sessionsMax: config.pgsluice.max_client_conn,
    reserved: config.pgsluice.superuser_reserved_connections,
  };
}

export function peersOf({ pgsluice, peers }: Config): PeerSettings[] {
  return Object.entries(peers).map(([id, { host, port, pool_size: size }]) => ({
    id: Number(id),
    host,
    port,
    poolSize: size ?? pgsluice.default_pool_size,
  }));
}
