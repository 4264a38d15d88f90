/** The two ends of a lease: a server is brought to its client's settings, and is left in a state that is known. */
import type { Transport } from "../base/transport.ts";
import { type ParameterVector, settingsQueries } from "../pool/parameters.ts";
import type { Pool } from "../pool/pool.ts";
import { Handling, Request } from "../pool/replies.ts";
import type { Server } from "../pool/server.ts";
import { askUnseen, unseenOwner } from "../pool/unseen.ts";
import { encodeQuery } from "../wire/encode-frontend.ts";
import type { AutoSession } from "./auto/auto.ts";
import type { Output } from "./output.ts";

/** Brings the server's settings to the client's, in the same write as what follows. Returns whether that takes anything. */
export function applySettings(server: Server, parameters: ParameterVector, output: Output): boolean {
  const { tracked } = server.parameters;
  if (tracked.equals(parameters)) return false;
  const queries = settingsQueries(tracked, parameters);
  for (const query of queries) {
    server.replies.push(Request.query, Handling.swallow);
    server.unnamed = undefined;
    output.append(query, 0, query.length, server.transport);
  }
  return queries.length > 0;
}

/** Replies that no server sends, and that nothing is before: they go out at once. */
export function flushSynthesised(server: Server, client: Transport): void {
  if (!server.replies.hasSynthesised || server.midReply) return;
  client.write(server.replies.takeSynthesised());
}

/**
 * The client of `server` is gone: it is given back if it is clean, else closed. `resets`: the client had it for its
 * whole session. `unfinished`: the client's last message has not come to its end. `stops`: what still runs is
 * cancelled first; without it a Terminate behind what was sent ends the server as the client's own would have.
 */
export function leaveServer(
  pool: Pool,
  server: Server,
  left: {
    readonly reason: string;
    readonly resets: boolean;
    readonly unfinished: boolean;
    readonly stops: boolean;
  },
): void {
  if (server.clean && !left.unfinished) {
    pool.release(server, left.resets);
    return;
  }
  const reason = `client left: ${left.reason}`;
  if (!left.stops || left.unfinished || server.replies.settled) {
    pool.discard(server, reason);
    return;
  }
  // Its statement still runs: stop it, then close the connection. Until then it is no home for who comes.
  server.closeReason ??= reason;
  void pool.cancel(server).finally(() => pool.discard(server, reason));
}

/** As {@link leaveServer}, for a client that has had the server for itself; `auto` knows what it has left there. */
export function quitServer(
  pool: Pool,
  server: Server,
  auto: AutoSession | undefined,
  left: Parameters<typeof leaveServer>[2],
): void {
  auto?.leave(server);
  const { unfinished } = left;
  if (auto?.onlyAsks(server) === true && !unfinished) releaseWhenSettled(pool, server);
  else leaveServer(pool, server, { ...left, resets: left.resets || auto?.leavesTraces === true });
}

/** The client of `server` is gone, and all that it owes is an answer of our own: then it is reset and shared again. */
function releaseWhenSettled(pool: Pool, server: Server): void {
  server.owner = unseenOwner(() => {
    server.owner = undefined;
    pool.release(server, true);
  });
}

const rollback = encodeQuery("ROLLBACK");

/** The transaction on `server` is of no use any more: it is ended, and the server is shared again. */
export function rollBack(pool: Pool, server: Server): void {
  server.owner = unseenOwner(() => {
    server.owner = undefined;
    if (server.clean) pool.release(server, false);
    else pool.discard(server, "a transaction could not be rolled back");
  });
  askUnseen(server, rollback, () => undefined);
}

/** Why the session has ended whose client is gone. */
export function closeReason(error: Error | undefined): string {
  return error === undefined ? "client closed connection" : `client connection failed: ${error.message}`;
}
