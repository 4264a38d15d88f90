/** SHOW CLIENTS: who is logged in, at the console as well. */
import { type Command, showCommand } from "../command.ts";
import { clientSockets, socketColumns } from "../sockets.ts";

export const showClients: Command<undefined> = showCommand("CLIENTS", socketColumns, (context) =>
  clientSockets(context, "").map(({ row }) => row),
);
