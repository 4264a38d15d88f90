/**
 * Queries that the pool itself sends on a server that nobody has: `connect_query` and what it began with when it is new,
 * the reset between two clients, and the check that it lives.
 */
import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { TransactionStatus } from "../wire/constants.ts";
import { decodeBackend } from "../wire/decode-backend.ts";
import { encodeQuery } from "../wire/encode-frontend.ts";
import { defaultsQuery, type PoolDefaults, userOf } from "./defaults.ts";
import { Handling, Request } from "./replies.ts";
import type { Server } from "./server.ts";
import type { ServerSet } from "./server-set.ts";
import type { PoolSettings } from "./settings.ts";
import { askUnseen, unseenOwner } from "./unseen.ts";

/** A query is answered. If the connection breaks the pool hears of it from the server itself. */
export type OnAnswered = (server: Server, error: string | undefined) => void;

export class OwnQueries {
  readonly #servers: ServerSet;
  readonly #clock: Clock;

  constructor(servers: ServerSet, clock: Clock) {
    this.#servers = servers;
    this.#clock = clock;
  }

  /** `server_check_query`. If it fails `onAnswered` is told which query it was. */
  check(server: Server, settings: PoolSettings, onAnswered: OnAnswered): void {
    const query = settings.checkQuery === "<empty>" ? "" : settings.checkQuery;
    this.#run(server, "checking", query, settings.serverConnectTimeoutMs, (_, error) =>
      onAnswered(server, error === undefined ? undefined : "server_check_query failed"),
    );
  }

  /** `server_reset_query`, in the same way; if not `all`, only the query without which its client must not part from it. */
  reset(server: Server, settings: PoolSettings, all: boolean, onAnswered: OnAnswered): void {
    const query = all ? settings.resetQuery : (server.partingQuery ?? "");
    server.partingQuery = undefined;
    this.#run(server, "resetting", query, settings.resetTimeoutMs, (_, error) =>
      onAnswered(server, error === undefined ? undefined : "server_reset_query failed"),
    );
  }

  /**
   * What a new server has to answer before anybody gets it: in auto mode, what its session began with, for `defaults`; and
   * `connect_query`. If that fails `onAnswered` is told what the server said against it.
   */
  begin(server: Server, settings: PoolSettings, defaults: PoolDefaults, onAnswered: OnAnswered): void {
    const asks = settings.mode === "auto";
    if (!server.fit || (!asks && settings.connectQuery === "")) {
      onAnswered(server, undefined);
      return;
    }
    this.#hold(server, "checking", settings.serverConnectTimeoutMs, onAnswered);
    if (asks) askDefaults(server, defaults);
    if (settings.connectQuery !== "") this.#send(server, settings.connectQuery);
  }

  #run(
    server: Server,
    state: "resetting" | "checking",
    query: string,
    limitMs: number,
    onAnswered: OnAnswered,
  ): void {
    this.#hold(server, state, limitMs, onAnswered);
    this.#send(server, query);
  }

  #hold(server: Server, state: "resetting" | "checking", limitMs: number, onAnswered: OnAnswered): void {
    this.#servers.moveUntil(server, state, this.#clock.now() + limitMs);
    server.owner = unseenOwner(() => {
      if (server.closed) return;
      this.#servers.ownQueryDone(server);
      server.lastUsedAtMs = this.#clock.now();
      server.owner = undefined;
      onAnswered(server, errorText(server));
    });
  }

  #send(server: Server, query: string): void {
    server.unnamed = undefined;
    server.replies.push(Request.query, Handling.swallow);
    server.transport.write(encodeQuery(query));
  }
}

function askDefaults(server: Server, defaults: PoolDefaults): void {
  const rows: Buffer[] = [];
  askUnseen(
    server,
    defaultsQuery(userOf(server)),
    (failed) => {
      if (!failed) defaults.note(server, Buffer.concat(rows));
    },
    (bytes) => rows.push(Buffer.from(bytes)),
  );
}

function errorText(server: Server): string | undefined {
  const error = server.replies.takeSwallowedError();
  if (error === undefined) {
    return server.replies.status === TransactionStatus.idle ? undefined : "it left a transaction open";
  }
  const message = decodeBackend(error, 0, error.length);
  assert(message.kind === "ErrorResponse", "what was swallowed is an error");
  return message.fields.message;
}
