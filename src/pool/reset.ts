/** Queries that the pool itself sends on a server between two clients: the reset, and the check that it lives. */
import { TransactionStatus } from "../wire/constants.ts";
import { encodeQuery } from "../wire/encode-frontend.ts";
import { Handling, Request } from "./replies.ts";
import type { Server, ServerOwner } from "./server.ts";

/**
 * Sends `server_reset_query` or `server_check_query`. `onDone(failed)` follows when it is answered: failed if
 * the server reported an error or is not idle afterwards. If the connection breaks the pool hears of it from
 * the server itself.
 */
export function sendOwnQuery(server: Server, query: string, onDone: (failed: boolean) => void): void {
  const owner: ServerOwner = {
    onReplies: () => true,
    onSettled: () => {
      const failed = server.replies.takeSwallowedError() !== undefined;
      onDone(failed || server.replies.status !== TransactionStatus.idle);
    },
    onParameter: () => undefined,
    onStatementsDropped: () => undefined,
    onServerDrain: () => undefined,
    onServerLost: () => undefined,
  };
  server.owner = owner;
  server.unnamed = undefined;
  server.replies.push(Request.query, Handling.swallow);
  server.transport.write(encodeQuery(query));
}
