/** SHOW SERVERS: the connections to PostgreSQL that are open. */
import { type Command, showCommand } from "../command.ts";
import { serverSockets, socketColumns } from "../sockets.ts";

export const showServers: Command<undefined> = showCommand("SERVERS", socketColumns, (context) =>
  serverSockets(context, "").map(({ row }) => row),
);
