/** The promise face of connecting: one call from a connection string to a session. */

import { Connection } from "./connection.ts";
import type { ConnectionOptions } from "./connection-options.ts";
import { type ConnectionParameters, resolveConninfo } from "./conninfo/conninfo.ts";
import type { ConnectOptions } from "./conninfo/options.ts";
import { type OpenConnection, type OpenOptions, openConnection } from "./handshake/driver.ts";
import { connectChannel, isTraced, traceContext, traceStart } from "./tracing.ts";

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
export function connect(
  target?: string | ConnectionParameters,
  options?: ConnectCallOptions,
): Promise<Connection>;
export function connect(target: ConnectOptions, options?: ConnectCallOptions): Promise<Connection>;
export async function connect(
  target: string | ConnectionParameters | ConnectOptions = "",
  options: ConnectCallOptions = {},
): Promise<Connection> {
  const connectOptions = readable(isResolved(target) ? target : resolveConninfo(target));
  const openOptions = { readBufferBytes: readBufferBytesDefault, ...options };
  const open = await traced(connectOptions, () => openConnection(connectOptions, openOptions));
  return new Connection(open, connectOptions, options, (signal) =>
    openConnection(connectOptions, { ...openOptions, signal }),
  );
}

/**
 * What the codecs can read is asked for: text in UTF-8, dates in ISO's form. Of itself a server would use the
 * encoding of its database, and whatever style it is configured for. What the caller asks for holds.
 */
function readable(options: ConnectOptions): ConnectOptions {
  const given = new Set(options.parameters.map(([name]) => name.toLowerCase()));
  const added = readableParameters.filter(([name]) => !given.has(name.toLowerCase()));
  return { ...options, parameters: [...options.parameters, ...added] };
}

const readableParameters: readonly (readonly [string, string])[] = [
  ["client_encoding", "UTF8"],
  ["DateStyle", "ISO"],
];

function isResolved(target: string | ConnectionParameters | ConnectOptions): target is ConnectOptions {
  return typeof target === "object" && "hosts" in target;
}

async function traced(
  connectOptions: ConnectOptions,
  open: () => Promise<OpenConnection>,
): Promise<OpenConnection> {
  if (!isTraced(connectChannel)) return await open();
  const [host] = connectOptions.hosts;
  const context = traceContext({ database: connectOptions.database, host: host?.host, port: host?.port });
  const end = traceStart(connectChannel, context);
  try {
    const connection = await open();
    end(undefined);
    return connection;
  } catch (error) {
    end(error);
    throw error;
  }
}
