/** The promise face of connecting: one call from a connection string to a session. */

import { Connection, type ConnectionOptions } from "./connection.ts";
import { type ConnectionParameters, resolveConninfo } from "./conninfo/conninfo.ts";
import type { ConnectOptions } from "./conninfo/options.ts";
import { type OpenConnection, type OpenOptions, openConnection } from "./handshake/driver.ts";
import { connectChannel, isTraced, traceStart } from "./tracing.ts";

export interface ConnectCallOptions extends OpenOptions, ConnectionOptions {}

/** Rows are many and small: a larger buffer means fewer reads. */
const readBufferBytesDefault = 64 * 1024;

/**
 * Connects and logs in. `target` is a connection string in either of libpq's notations, libpq's parameters as
 * an object, or options that were resolved before. What is not given comes from the service file, from the
 * environment (PGHOST and its like) and from libpq's defaults.
 *
 *     await using connection = await connect("postgres://user@host/database");
 *     const { rows } = await connection.query("SELECT $1::int4 AS answer", [42]);
 *
 * Rejects with ConnectError (the server's own SQLSTATE if it sent an error, else 08001, 08006 or 08P01), which
 * lists every attempt, or with OperationError `client.bad_option` (22023). Nothing is left behind then.
 */
export async function connect(
  target: string | ConnectionParameters | ConnectOptions = "",
  options: ConnectCallOptions = {},
): Promise<Connection> {
  const connectOptions = inUtf8(isResolved(target) ? target : resolveConninfo(target));
  const openOptions = { readBufferBytes: readBufferBytesDefault, ...options };
  const open = await traced(connectOptions, () => openConnection(connectOptions, openOptions));
  return new Connection(open, connectOptions, options, () =>
    openConnection(connectOptions, { ...openOptions, signal: undefined }),
  );
}

/** Text is decoded as UTF-8 here, so that is what is asked for; of itself a server would use its database's encoding. */
function inUtf8(options: ConnectOptions): ConnectOptions {
  if (options.parameters.some(([name]) => name.toLowerCase() === "client_encoding")) return options;
  return { ...options, parameters: [...options.parameters, ["client_encoding", "UTF8"]] };
}

function isResolved(target: string | ConnectionParameters | ConnectOptions): target is ConnectOptions {
  return typeof target === "object" && "hosts" in target;
}

async function traced(
  connectOptions: ConnectOptions,
  open: () => Promise<OpenConnection>,
): Promise<OpenConnection> {
  if (!isTraced(connectChannel)) return await open();
  const [host] = connectOptions.hosts;
  const end = traceStart(connectChannel, {
    "db.system.name": "postgresql",
    "db.namespace": connectOptions.database,
    "server.address": host?.host ?? "",
    "server.port": host?.port ?? 0,
  });
  try {
    const connection = await open();
    end(undefined);
    return connection;
  } catch (error) {
    end(error);
    throw error;
  }
}
