/** What the pooler asks of a server in its own name: no client sees the question or the answer. */
import { decodeBackend } from "../wire/decode-backend.ts";
import { Handling, Request } from "./replies.ts";
import { unheard } from "./request-outcome.ts";
import type { Server, ServerOwner } from "./server.ts";

/**
 * Sends a Query. `then`: it is answered, and whether with an error. `onRow`: the bytes of a row, for the time of the call.
 * `onLost`: the server is gone, and there will be no answer.
 */
export function askUnseen(
  server: Server,
  query: Buffer,
  then: (failed: boolean) => void,
  onRow?: (bytes: Buffer) => void,
  onLost?: () => void,
): void {
  let failed = false;
  server.replies.push(Request.query, Handling.swallow, {
    ...unheard,
    ...(onRow === undefined ? {} : { onRow }),
    onError: () => {
      failed = true;
    },
    onDone: () => then(failed),
    ...(onLost === undefined ? {} : { onFailed: onLost }),
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

/** The values of rows, whole messages one behind the other, as `onRow` has got them; in latin1 they are byte for byte. */
export function* rowsOf(bytes: Buffer, encoding: "utf8" | "latin1" = "utf8"): Iterable<(string | null)[]> {
  for (let start = 0; start < bytes.length; ) {
    const end = start + 1 + bytes.readUInt32BE(start + 1);
    const message = decodeBackend(bytes, start, end);
    if (message.kind === "DataRow") yield message.values.map((value) => value?.toString(encoding) ?? null);
    start = end;
  }
}
