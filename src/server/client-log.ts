/** What the log says of clients that come and go, as far as the settings want it. */
import type { Failure } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Settings } from "../config/schema.ts";
import type { SessionIdentity } from "../session/context.ts";

export class ClientLog {
  readonly #logger: Logger;
  readonly #settings: () => Settings;

  constructor(logger: Logger, settings: () => Settings) {
    this.#logger = logger;
    this.#settings = settings;
  }

  connected(client: number, peer: string): void {
    if (this.#settings().log_connections) this.#logger.info({ client, peer }, "connection received");
  }

  authenticated({ id, user, database, peer, tls }: SessionIdentity): void {
    if (!this.#settings().log_connections) return;
    this.#logger.info({ client: id, user, database, peer, tls }, "login attempt: authenticated");
  }

  failed({ id, user, database, peer }: SessionIdentity, failure: Failure): void {
    if (!this.#settings().log_pooler_errors) return;
    const { sqlstate, message: reason } = failure;
    this.#logger.warn({ client: id, user, database, peer, sqlstate, reason }, "pooler error");
  }

  closed({ id, user, database, peer, connectedAtMs }: SessionIdentity, reason: string, nowMs: number): void {
    if (!this.#settings().log_disconnections) return;
    const ageSeconds = Math.round((nowMs - connectedAtMs) / 1000);
    this.#logger.info({ client: id, user, database, peer, reason, ageSeconds }, "closing client");
  }
}
