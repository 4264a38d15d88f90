/** What a pool tells the log of its servers. */
import type { Failure } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { internal, outcomeOf, reasonOf } from "./failures.ts";
import type { Server } from "./server.ts";

export class PoolLog {
  readonly #logger: Logger;
  readonly #pool: string;

  constructor(logger: Logger, pool: string) {
    this.#logger = logger;
    this.#pool = pool;
  }

  opened(server: Server): void {
    const { endpoint: node, tls } = server.connection;
    const fields = { ...this.#labels(server), from: server.localEnd, node, tls };
    this.#logger.info(fields, "new connection to server");
  }

  closing(server: Server, reason: string): void {
    this.#logger.info({ ...this.#labels(server), reason }, "closing server");
  }

  /** Its connection is gone: by our own doing if it is closed already. A mistake of ours is told in any case. */
  lost(server: Server, error: Failure): void {
    if (error.code === internal) this.mistake(server, error.cause);
    if (server.closed) return;
    this.#logger.warn({ ...this.#labels(server), reason: error.message }, "server lost");
  }

  connectQueryFailed(server: Server, reason: string): void {
    this.#logger.warn({ ...this.#labels(server), reason }, "connect_query failed");
  }

  loginFailed(failure: Failure): void {
    const { sqlstate } = failure;
    const fields = { pool: this.#pool, sqlstate, outcome: outcomeOf(failure), reason: reasonOf(failure) };
    this.#logger.warn(fields, "server login failed");
  }

  /** In PgBouncer's words. */
  takesFromReserve(): void {
    this.#logger.warn({ pool: this.#pool }, "taking connection from reserve_pool");
  }

  /** A mistake of ours. */
  mistake(server: Server, error: unknown): void {
    this.#logger.error({ ...this.#labels(server), err: error }, "internal error");
  }

  #labels(server: Server): object {
    return { pool: this.#pool, server: server.id, backendPid: server.backendPid };
  }
}
