/** The three clients that are compared, each used as its own documentation shows. */
import pg from "pg";
import postgres from "postgres";
import { connect } from "../../src/client/index.ts";

/** One connection of one client, and the five things that are measured on it. */
export interface Driver {
  readonly name: string;
  /** One query after the other, each awaited. */
  sequential(queries: number): Promise<void>;
  /** All queries asked for at once, then awaited. */
  pipelined(queries: number): Promise<void>;
  /** One result of so many rows of five columns. */
  rows(rows: number): Promise<void>;
  /** Bytes that went into the table; undefined: the client has no COPY. */
  copyIn(chunk: Buffer, chunks: number): Promise<number | undefined>;
  /** Bytes that came out. */
  copyOut(rows: number): Promise<number | undefined>;
  close(): Promise<void>;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

const point = "SELECT id, name FROM bench_point WHERE id = $1";
export const wide = "SELECT a, b, c, d, e FROM bench_rows LIMIT ";

export async function pgsluiceDriver(address: Address): Promise<Driver> {
  const connection = await connect({ ...address, user: "postgres", dbname: "postgres", sslmode: "disable" });
  return {
    name: "pgsluice",
    async sequential(queries) {
      for (let i = 0; i < queries; i++) check((await connection.query(point, [i % 1000])).rows.length, 1);
    },
    async pipelined(queries) {
      const asked = Array.from({ length: queries }, (_, i) => connection.query(point, [i % 1000]));
      for (const result of await Promise.all(asked)) check(result.rows.length, 1);
    },
    async rows(rows) {
      check((await connection.query(wide + rows)).rows.length, rows);
    },
    async copyIn(chunk, chunks) {
      await connection.query("TRUNCATE bench_copy");
      await connection.copyFrom("COPY bench_copy FROM STDIN", repeated(chunk, chunks));
      return chunk.length * chunks;
    },
    async copyOut(rows) {
      let bytes = 0;
      const copy = connection.copyTo(`COPY (SELECT * FROM bench_rows LIMIT ${rows}) TO STDOUT`);
      for await (const chunk of copy) bytes += chunk.length;
      return bytes;
    },
    close: () => connection.close(),
  };
}

export async function pgDriver(address: Address): Promise<Driver> {
  const client = new pg.Client({ ...address, user: "postgres", database: "postgres" });
  await client.connect();
  return {
    name: "pg",
    async sequential(queries) {
      for (let i = 0; i < queries; i++) {
        check((await client.query({ name: "point", text: point, values: [i % 1000] })).rows.length, 1);
      }
    },
    async pipelined(queries) {
      const pipelining = new pg.Client({
        ...address,
        user: "postgres",
        database: "postgres",
        pipeline: true,
      });
      await pipelining.connect();
      const asked = Array.from({ length: queries }, (_, i) =>
        pipelining.query({ name: "point", text: point, values: [i % 1000] }),
      );
      for (const result of await Promise.all(asked)) check(result.rows.length, 1);
      await pipelining.end();
    },
    async rows(rows) {
      check((await client.query(wide + rows)).rows.length, rows);
    },
    // COPY is in a package of its own (pg-copy-streams).
    copyIn: () => Promise.resolve(undefined),
    copyOut: () => Promise.resolve(undefined),
    close: () => client.end(),
  };
}

export async function postgresDriver(address: Address): Promise<Driver> {
  const sql = postgres({ ...address, user: "postgres", database: "postgres", max: 1 });
  await sql`SELECT 1`;
  return {
    name: "postgres",
    async sequential(queries) {
      for (let i = 0; i < queries; i++) {
        check((await sql`SELECT id, name FROM bench_point WHERE id = ${i % 1000}`).length, 1);
      }
    },
    async pipelined(queries) {
      const asked = Array.from(
        { length: queries },
        (_, i) => sql`SELECT id, name FROM bench_point WHERE id = ${i % 1000}`,
      );
      for (const rows of await Promise.all(asked)) check(rows.length, 1);
    },
    async rows(rows) {
      check((await sql.unsafe(wide + rows)).length, rows);
    },
    async copyIn(chunk, chunks) {
      await sql`TRUNCATE bench_copy`;
      const stream = await sql`COPY bench_copy FROM STDIN`.writable();
      for (const each of repeated(chunk, chunks)) {
        if (!stream.write(each)) await new Promise((resolve) => stream.once("drain", resolve));
      }
      await new Promise<void>((resolve, reject) => {
        stream.once("error", reject);
        stream.end(resolve);
      });
      return chunk.length * chunks;
    },
    async copyOut(rows) {
      const stream = await sql.unsafe(`COPY (SELECT * FROM bench_rows LIMIT ${rows}) TO STDOUT`).readable();
      let bytes = 0;
      // Iterating over it waits for ever now and then.
      await new Promise<void>((resolve, reject) => {
        stream.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
        });
        stream.once("error", reject);
        stream.once("end", resolve);
      });
      return bytes;
    },
    close: () => sql.end(),
  };
}

function* repeated(chunk: Buffer, times: number): Generator<Buffer> {
  for (let i = 0; i < times; i++) yield chunk;
}

function check(found: number, wanted: number): void {
  if (found !== wanted) throw new Error(`${found} rows where ${wanted} were expected`);
}
