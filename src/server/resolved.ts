/** What a configuration means to those who act on it: the files that it names, read, and its limits in their units. */
import type { Secret } from "../auth/secret.ts";
import type { Config, Settings, UserConfig } from "../config/schema.ts";
import type { PeerSettings } from "../pool/peers.ts";
import type { AdmissionLimits } from "../session/admission.ts";
import type { ClientLimits, ClientTls } from "../session/context.ts";
import type { AuthenticationFiles } from "./authentication.ts";
import { Credentials } from "./credentials.ts";
import { loadHostBasedRules } from "./hba.ts";
import { loadDirectory } from "./ldap-files.ts";
import { databaseClientsMax, userClientsMax } from "./pool-config.ts";
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

/** The limits on clients, by their users: each may have some of its own. */
export class LimitTable {
  readonly #general: ClientLimits;
  readonly #own = new Map<string, ClientLimits>();
  /** Whether there is anything that clients have to be looked at for. */
  readonly any: boolean;

  constructor({ pgsluice, users }: Config) {
    this.#general = limitsOf(pgsluice, {});
    for (const [name, user] of Object.entries(users)) this.#own.set(name, limitsOf(pgsluice, user));
    this.any = [this.#general, ...this.#own.values()].some(
      ({ idleMs, idleTransactionMs, queryMs, transactionMs, fastClose }) =>
        fastClose || idleMs + idleTransactionMs + queryMs + transactionMs > 0,
    );
  }

  of(user: string): ClientLimits {
    return this.#own.get(user) ?? this.#general;
  }
}

function limitsOf(settings: Settings, user: UserConfig): ClientLimits {
  const { query_wait_timeout: queryWait } = user;
  return {
    idleMs: (user.client_idle_timeout ?? settings.client_idle_timeout) * 1000,
    idleTransactionMs: (user.idle_transaction_timeout ?? settings.idle_transaction_timeout) * 1000,
    queryMs: (user.query_timeout ?? settings.query_timeout) * 1000,
    transactionMs: (user.transaction_timeout ?? settings.transaction_timeout) * 1000,
    queryWaitMs: queryWait === undefined ? undefined : queryWait * 1000,
    fastClose: settings.server_fast_close,
  };
}

export function admissionLimitsOf(config: Config): AdmissionLimits {
  return {
    sessionsMax: config.pgsluice.max_client_conn,
    reserved: config.pgsluice.superuser_reserved_connections,
    ofDatabase: (name) => databaseClientsMax(config, name),
    ofUser: (name) => userClientsMax(config, name),
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
