/** What the pooler asks of a server in its own name: no client sees the question or the answer. */
import { Handling, Request, unheard } from "./replies.ts";
import type { Server, ServerOwner } from "./server.ts";

/** Sends a Query. `then`: it is answered, and whether with an error. `onRow`: the bytes of a row, for the time of the call. */
export function askUnseen(
  server: Server,
  query: Buffer,
  then: (failed: boolean) => void,
  onRow?: (bytes: Buffer) => void,
): void {
  let failed = false;
  server.replies.push(Request.query, Handling.swallow, {
    ...unheard,
    ...(onRow === undefined ? {} : { onRow }),
    onError: () => {
      failed = true;
    },
    onDone: () => then(failed),
  });
  server.unnamed = undefined;
  server.transport.write(query);
}

/** The owner of a server that only such questions are asked of. `onSettled`: all are answered. */
export function unseenOwner(onSettled: () => void, onServerLost: () => void = () => undefined): ServerOwner {
  return {
    onReplies: () => true,
    onSettled,
    onParameter: () => undefined,
    onDropped: () => undefined,
    onServerDrain: () => undefined,
    onServerLost,
  };
}
