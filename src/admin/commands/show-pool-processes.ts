/** SHOW POOL_PROCESSES of pgpool-II: a row for each client, where pgpool-II has a process; without clients, one that waits. */
import type { Session } from "../../session/session.ts";
import { type Command, showCommand } from "../command.ts";
import type { AdminContext } from "../context.ts";
import { clientStatus, connectionCount, pgpoolTime, startTime } from "../pgpool.ts";
import { columnsOf, type Row } from "../result.ts";

const columns = columnsOf(
  ["text", "pool_pid", "start_time", "client_connection_count", "database", "username"],
  ["text", "backend_connection_time", "pool_counter", "status"],
);

export const showPoolProcesses: Command<undefined> = showCommand("POOL_PROCESSES", columns, (context) => {
  const sessions = [...context.sessions()];
  if (sessions.length === 0) return [rowOf(context, undefined)];
  return sessions.map((session) => rowOf(context, session));
});

function rowOf(context: AdminContext, session: Session | undefined): Row {
  const server = session?.server;
  return [
    ...[String(process.pid), startTime(), connectionCount(context)],
    ...[session?.identity.database ?? "", session?.identity.user ?? ""],
    server === undefined ? "" : pgpoolTime(context, server.connectedAtMs),
    ...[String(server?.assignments ?? 0), clientStatus(server, session !== undefined)],
  ];
}
