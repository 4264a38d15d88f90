/** Connections as SHOW CLIENTS, SERVERS and SOCKETS list them: all in the same columns. */
import type { Transport } from "../base/transport.ts";
import { consoleDatabase } from "../config/reserved.ts";
import type { Server } from "../pool/server.ts";
import type { PoolSettings } from "../pool/settings.ts";
import type { Session } from "../session/session.ts";
import type { AdminContext, ConsoleClient, PoolView, SocketAddress } from "./context.ts";
import { type Column, columnsOf, type Row } from "./result.ts";

export const socketColumns: readonly Column[] = columnsOf(
  ["text", "type", "user", "database", "replication", "state", "addr"],
  ["int4", "port"],
  ["text", "local_addr"],
  ["int4", "local_port"],
  ["text", "connect_time", "request_time"],
  ["int4", "wait", "wait_us", "close_needed"],
  ["text", "ptr", "link"],
  ["int4", "remote_pid"],
  ["text", "tls", "application_name"],
  ["int4", "prepared_statements", "id"],
);

/** Those of SHOW SOCKETS, which also look into buffers. */
export const bufferColumns: readonly Column[] = [
  ...socketColumns,
  ...columnsOf([
    "int4",
    ...["recv_pos", "pkt_pos", "pkt_remain", "send_pos", "send_remain", "pkt_avail", "send_avail"],
  ]),
];

/** One connection: its row, and what SHOW SOCKETS wants to know besides. */
export interface Socket {
  readonly row: Row;
  readonly pendingBytes: number;
  /** Has bytes in memory: to be sent, or received and not passed on yet. */
  readonly active: boolean;
}

/** PgBouncer's name for what a server is doing. */
export function serverState(server: Server, settings: PoolSettings, nowMs: number): string {
  switch (server.state) {
    case "resetting":
    case "checking":
      return "tested";
    case "idle": {
      // One that is asked whether it lives before it is handed out.
      const stale = settings.checkQuery !== "" && nowMs - server.lastUsedAtMs >= settings.checkDelayMs;
      return stale ? "used" : "idle";
    }
    default:
      return server.state;
  }
}

/** Seconds since then, and the microseconds beyond them; 0 if there is no such time. */
export function waitCells(sinceMs: number | undefined, nowMs: number): [seconds: number, micros: number] {
  const micros = sinceMs === undefined ? 0 : Math.max(0, Math.round((nowMs - sinceMs) * 1000));
  return [Math.floor(micros / 1_000_000), micros % 1_000_000];
}

/** `prefix`: of the states, as SHOW SOCKETS has them. Those who wait come after the others. */
export function clientSockets(context: AdminContext, prefix: string): Socket[] {
  const replication = new Map(context.pools().map(({ pool, replication }) => [pool, replication]));
  const sessions = [...context.sessions()].map((session) =>
    clientSocket(context, session, prefix, replication.get(session.pool) ?? "none"),
  );
  return [...sessions, ...[...context.consoles()].map((client) => consoleSocket(context, client, prefix))];
}

export function serverSockets(context: AdminContext, prefix: string): Socket[] {
  const nowMs = context.clock.now();
  const links = new Map<Server, number>();
  for (const { server, identity } of context.sessions())
    if (server !== undefined) links.set(server, identity.id);
  return context.pools().flatMap((view) =>
    [...view.pool.servers, ...view.pool.listening].map((server) =>
      serverSocket(context, view, server, {
        state: prefix + serverState(server, view.pool.settings, nowMs),
        link: links.get(server),
        nowMs,
      }),
    ),
  );
}

function clientSocket(
  context: AdminContext,
  session: Session,
  prefix: string,
  replication: PoolView["replication"],
): Socket {
  const { identity, activity, server, transport } = session;
  const nowMs = context.clock.now();
  const waiting = activity.waitStartMs !== 0;
  const state = waiting ? "waiting" : server === undefined ? "idle" : "active";
  const row: Row = [
    ...["C", identity.user, identity.database, replication],
    prefix === "" ? state : `${prefix}${waiting ? "waiting" : "active"}`,
    ...addressCells(context, transport),
    timeText(context, identity.connectedAtMs),
    timeText(context, activity.requestAtMs),
    ...waitCells(activity.queryStartMs === 0 ? undefined : activity.queryStartMs, nowMs),
    ...[0, pointer(identity.id), server === undefined ? "" : pointer(server.id), 0],
    ...[identity.tls ?? "", session.parameters.get("application_name") ?? ""],
    ...[session.statementCount, identity.id],
  ];
  const { pendingBytes } = transport;
  return { row, pendingBytes, active: pendingBytes > 0 || waiting || session.behind };
}

function consoleSocket(context: AdminContext, client: ConsoleClient, prefix: string): Socket {
  const { identity } = client;
  const row: Row = [
    ...["C", identity.user, consoleDatabase, "none", `${prefix}active`],
    ...addressCells(context, client.address),
    timeText(context, identity.connectedAtMs),
    timeText(context, client.requestAtMs),
    ...[0, 0, 0, pointer(identity.id), "", 0, identity.tls ?? "", client.applicationName, 0, identity.id],
  ];
  return { row, pendingBytes: 0, active: false };
}

function serverSocket(
  context: AdminContext,
  view: PoolView,
  server: Server,
  is: { readonly state: string; readonly link: number | undefined; readonly nowMs: number },
): Socket {
  const { transport } = server;
  const row: Row = [
    ...["S", view.user, view.database, view.replication, is.state],
    ...addressCells(context, transport, server.connection.endpoint.port),
    timeText(context, server.connectedAtMs),
    timeText(context, server.lastUsedAtMs),
    ...[0, 0, server.closeReason === undefined ? 0 : 1, pointer(server.id)],
    ...[is.link === undefined ? "" : pointer(is.link), server.backendPid, tlsText(transport)],
    ...[server.parameters.tracked.get("application_name") ?? "", server.prepared.size, server.id],
  ];
  const { pendingBytes } = transport;
  return { row, pendingBytes, active: pendingBytes > 0 };
}

/** Unix sockets have no addresses; PgBouncer shows the port that is in their names. */
function addressCells(context: AdminContext, address: SocketAddress, unixPort?: number): (string | number)[] {
  const { remoteAddress, remotePort, localAddress, localPort } = address;
  if (remoteAddress === undefined) {
    const port = unixPort ?? context.config().pgsluice.listen_port;
    return ["unix", port, "unix", port];
  }
  return [remoteAddress, remotePort ?? 0, localAddress ?? "", localPort ?? 0];
}

/** `YYYY-MM-DD HH:MM:SS UTC` for a time on the clock's scale. */
function timeText({ clock }: AdminContext, atMs: number): string {
  const iso = new Date(clock.wall() - (clock.now() - atMs)).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

/** PgBouncer prints addresses of its memory; what tells connections apart here are their numbers. */
function pointer(id: number): string {
  return `0x${id.toString(16)}`;
}

function tlsText(transport: Transport): string {
  const socket = transport.tlsSocket;
  const protocol = socket?.getProtocol();
  if (socket === undefined || protocol === null || protocol === undefined) return "";
  return `${protocol}/${socket.getCipher().name}`;
}
