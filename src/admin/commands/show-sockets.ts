/**
 * SHOW SOCKETS: clients and servers, and what lies in their buffers. PgBouncer counts positions in one buffer of
 * each connection; there is none here, so all but the bytes that wait to be sent are 0.
 */
import { type Command, showCommand } from "../command.ts";
import type { Row } from "../result.ts";
import { bufferColumns, clientSockets, type Socket, serverSockets } from "../sockets.ts";

export const showSockets: Command<undefined> = showCommand("SOCKETS", bufferColumns, (context) =>
  [...clientSockets(context, "cl_"), ...serverSockets(context, "sv_")].map(withBuffers),
);

export function withBuffers({ row, pendingBytes }: Socket): Row {
  return [...row, 0, 0, 0, 0, 0, 0, pendingBytes];
}
