/** What the programs in this folder have in common: each is what somebody would write with one library, and returns what it saw. */
import pg from "pg";

export interface Connection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

/** Connects, works, disconnects; the result is the same wherever it runs. Its tables lie in a schema of its own. */
export type Program = (connection: Connection) => Promise<unknown>;

/** Runs `use` with a pool whose sessions have this search_path. */
export async function withPool<T>(
  { host, port, user, database }: Connection,
  schema: string,
  use: (pool: pg.Pool) => Promise<T>,
): Promise<T> {
  const pool = new pg.Pool({ host, port, user, database, max: 5, options: `-c search_path=${schema}` });
  try {
    return await use(pool);
  } finally {
    await pool.end();
  }
}

export function urlOf({ host, port, user, database }: Connection): string {
  return `postgres://${user}@${host}:${port}/${database}`;
}

/** The message of what a promise rejects with. */
export async function failureOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "did not fail";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
