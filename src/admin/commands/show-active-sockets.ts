/** SHOW ACTIVE_SOCKETS: the connections of SHOW SOCKETS that have bytes in memory: to be sent, or of clients that wait. */
import { type Command, showCommand } from "../command.ts";
import { bufferColumns, clientSockets, serverSockets } from "../sockets.ts";
import { withBuffers } from "./show-sockets.ts";

export const showActiveSockets: Command<undefined> = showCommand("ACTIVE_SOCKETS", bufferColumns, (context) =>
  [...clientSockets(context, "cl_"), ...serverSockets(context, "sv_")]
    .filter(({ active }) => active)
    .map(withBuffers),
);
