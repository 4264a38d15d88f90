/** The companions of node-postgres: pg-cursor, pg-query-stream, pg-copy-streams. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type pg from "pg";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";
import Cursor from "pg-cursor";
import QueryStream from "pg-query-stream";
import { type Connection, failureOf, withPool } from "./program.ts";

async function withClient<T>(pool: pg.Pool, use: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    return await use(client);
  } finally {
    client.release();
  }
}

export async function runCursor(connection: Connection): Promise<unknown> {
  return await withPool(connection, "public", (pool) =>
    withClient(pool, async (client) => {
      const cursor = client.query(
        new Cursor<{ n: number }>("select n from generate_series(1, $1::int) n", [10]),
      );
      const first = await cursor.read(4);
      const second = await cursor.read(4);
      const last = await cursor.read(4);
      const none = await cursor.read(4);
      await cursor.close();
      const early = client.query(new Cursor("select generate_series(1, 100000)"));
      await early.read(2);
      await early.close();
      const failed = await failureOf(
        client.query(new Cursor("select 1 / (3 - n) from generate_series(1, 5) n")).read(5),
      );
      await client.query("begin");
      const inside = client.query(new Cursor("select generate_series(1, 5) as n"));
      const rows = await inside.read(2);
      await inside.close();
      await client.query("commit");
      return [first, second, last, none, failed, rows, (await client.query("select 'alive' as state")).rows];
    }),
  );
}

export async function runQueryStream(connection: Connection): Promise<unknown> {
  return await withPool(connection, "public", async (pool) => {
    const sums = await Promise.all(
      Array.from({ length: 4 }, (_, index) =>
        withClient(pool, async (client) => {
          let sum = 0;
          const text = "select n from generate_series(1, $1::int) n";
          for await (const row of client.query(new QueryStream(text, [1000 + index], { batchSize: 90 }))) {
            sum += (row as { n: number }).n;
          }
          return sum;
        }),
      ),
    );
    const stopped = await withClient(pool, async (client) => {
      const stream = client.query(
        new QueryStream("select generate_series(1, 100000) as n", [], { batchSize: 10 }),
      );
      const seen: unknown[] = [];
      for await (const row of stream) if (seen.push(row) === 3) break;
      return [seen, (await client.query("select 'alive' as state")).rows];
    });
    const failed = await withClient(pool, (client) =>
      failureOf(
        Readable.prototype.toArray.call(
          client.query(new QueryStream("select 1 / (3 - n) from generate_series(1, 5) n")),
        ),
      ),
    );
    return [sums, stopped, failed];
  });
}

export async function runCopyStreams(connection: Connection): Promise<unknown> {
  return await withPool(connection, "of_copy", (pool) =>
    withClient(pool, async (client) => {
      await client.query("create schema of_copy");
      await client.query("create table of_copy.t(a int, b text)");
      const lines = Array.from({ length: 5000 }, (_, index) => `${index}\trow ${index}\n`);
      await pipeline(Readable.from(lines), client.query(copyFrom("copy of_copy.t from stdin")));
      const out = client.query(copyTo("copy (select * from of_copy.t order by a) to stdout"));
      const chunks = (await out.toArray()) as Buffer[];
      const text = Buffer.concat(chunks).toString();
      const bad = client.query(copyFrom("copy of_copy.t from stdin"));
      const failed = await failureOf(pipeline(Readable.from(["not a number\tx\n"]), bad));
      await client.query("begin");
      await pipeline(Readable.from(["9999\tundone\n"]), client.query(copyFrom("copy of_copy.t from stdin")));
      await client.query("rollback");
      const { rows } = await client.query("select count(*), max(a) from of_copy.t");
      return [text === lines.join(""), failed, rows];
    }),
  );
}
