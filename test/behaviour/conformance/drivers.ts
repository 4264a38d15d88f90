/** The drivers behind one small face, so that a case is written once and run with each of them. */
import pg from "pg";
import postgres from "postgres";
import type { Target } from "./place.ts";

export const drivers = ["pg", "postgres"] as const;
export type DriverName = (typeof drivers)[number];

/** One connection. Rows are arrays of what the driver makes of the values. */
export interface Connection {
  readonly driver: DriverName;
  /** A query string by the simple protocol; rows of its last statement that has any. */
  simple(sql: string): Promise<unknown[][]>;
  /** By the extended protocol, with the unnamed statement. */
  query(sql: string, values?: readonly unknown[]): Promise<unknown[][]>;
  /** By the extended protocol, with a named statement that is kept. */
  prepared(sql: string, values?: readonly unknown[]): Promise<unknown[][]>;
  close(): Promise<void>;
}

export interface DriverOptions {
  readonly applicationName?: string;
  readonly onNotice?: (notice: Readonly<Record<string, unknown>>) => void;
}

export function connect(
  driver: DriverName,
  target: Target,
  options: DriverOptions = {},
): Promise<Connection> {
  return driver === "pg" ? connectPg(target, options) : connectPostgres(target, options);
}

/** Runs `use` on a connection and closes it. */
export async function withConnection<T>(
  driver: DriverName,
  target: Target,
  use: (connection: Connection) => Promise<T>,
  options: DriverOptions = {},
): Promise<T> {
  const connection = await connect(driver, target, options);
  try {
    return await use(connection);
  } finally {
    await connection.close();
  }
}

function pgConfig(target: Target): pg.ClientConfig {
  const { host, port, user, database } = target;
  return { host, port, user, database };
}

/** A connected client of `pg` itself. */
export async function pgClient(target: Target, config: pg.ClientConfig = {}): Promise<pg.Client> {
  const client = new pg.Client({ ...pgConfig(target), ...config });
  await client.connect();
  return client;
}

/** An instance of `postgres` itself; one connection if not told otherwise. */
export function postgresSql(target: Target, options: postgres.Options<{}> = {}): postgres.Sql {
  const { host, port, user, database } = target;
  return postgres({ host, port, user, database, max: 1, onnotice: () => undefined, ...options });
}

/** Everything the server said about an error, as the driver shows it. */
function errorFields(error: unknown): Readonly<Record<string, unknown>> {
  if (!(error instanceof pg.DatabaseError) && !(error instanceof postgres.PostgresError)) throw error;
  const fields: Record<string, unknown> = { message: error.message };
  // Own properties of the drivers' making: how long the message was, and what had been asked.
  const omitted = new Set(["length", "query", "parameters", "stack", "name"]);
  for (const [name, value] of Object.entries(error)) {
    if (!omitted.has(name) && value !== undefined) fields[name] = value;
  }
  return fields;
}

/** What the server says about a statement that must fail. */
export async function failure(attempt: Promise<unknown>): Promise<Readonly<Record<string, unknown>>> {
  let result: unknown;
  try {
    result = await attempt;
  } catch (error) {
    return errorFields(error);
  }
  throw new Error(`it should have failed but brought ${JSON.stringify(result)}`);
}

async function connectPg(target: Target, options: DriverOptions): Promise<Connection> {
  const client = await pgClient(target, { application_name: options.applicationName });
  if (options.onNotice !== undefined) {
    const { onNotice } = options;
    client.on("notice", (notice) => onNotice(plain(notice)));
  }
  const names = new Map<string, string>();
  const rowsOf = (result: pg.QueryArrayResult | readonly pg.QueryArrayResult[]): unknown[][] => {
    const last = Array.isArray(result)
      ? (result as pg.QueryArrayResult[]).findLast(({ fields }) => fields.length > 0)
      : result;
    return (last as pg.QueryArrayResult | undefined)?.rows ?? [];
  };
  return {
    driver: "pg",
    simple: async (text) => rowsOf(await client.query({ text, rowMode: "array" })),
    // A list of values, even an empty one with `queryMode`, makes it the extended protocol.
    query: async (text, values = []) =>
      rowsOf(
        await client.query({
          text,
          values: [...values],
          rowMode: "array",
          queryMode: "extended",
        } as pg.QueryArrayConfig),
      ),
    prepared: async (text, values = []) => {
      const name = names.get(text) ?? `s${names.size}`;
      names.set(text, name);
      return rowsOf(await client.query({ name, text, values: [...values], rowMode: "array" }));
    },
    close: () => client.end(),
  };
}

async function connectPostgres(target: Target, options: DriverOptions): Promise<Connection> {
  const sql = postgresSql(target, {
    ...(options.applicationName === undefined
      ? {}
      : { connection: { application_name: options.applicationName } }),
    onnotice: (notice) => options.onNotice?.(plain(notice)),
  });
  await sql`select 1`;
  const arrays = async (text: string, values: readonly unknown[], prepare: boolean): Promise<unknown[][]> =>
    [
      ...(await sql.unsafe(text, values as postgres.ParameterOrJSON<never>[], { prepare }).values()),
    ] as unknown[][];
  return {
    driver: "postgres",
    simple: async (text) => {
      const result = (await sql.unsafe(text).simple().values()) as unknown as unknown[];
      const several =
        result.length > 0 &&
        (result as { columns?: unknown }[]).every((one) => Array.isArray(one) && "columns" in one);
      if (!several) return [...result] as unknown[][];
      const last = (result as { columns?: unknown[] }[]).findLast(
        ({ columns }) => (columns?.length ?? 0) > 0,
      );
      return [...((last as unknown[][] | undefined) ?? [])];
    },
    query: (text, values = []) => arrays(text, values, false),
    prepared: (text, values = []) => arrays(text, values, true),
    close: () => sql.end(),
  };
}

function plain(object: object): Readonly<Record<string, unknown>> {
  const { length: _, ...rest } = object as Record<string, unknown>;
  return rest;
}
