/** Cursors of SQL and portals of the protocol: rows a few at a time, within a transaction. */
import { describe, expect } from "vitest";
import { drivers, failure, postgresSql, withConnection } from "./drivers.ts";
import { usePlace, vias, withBlocks } from "./place.ts";
import { hasPsql, psql } from "./psql.ts";
import {
  bind,
  closePortal,
  describePortal,
  execute,
  flush,
  parse,
  query,
  sync,
  TraceClient,
  withClient,
} from "./trace-client.ts";

const place = usePlace();

describe.each(drivers)("%s", (driver) => {
  place.each(`${driver}: DECLARE, FETCH, MOVE and CLOSE`, withBlocks, (target) =>
    withConnection(driver, target, async (connection) => {
      await connection.simple("begin");
      await connection.query(
        "declare c scroll cursor for select n from generate_series(1, $1::int) n",
        [100],
      );
      const results = [
        await connection.simple("fetch 3 from c"),
        await connection.query("fetch next from c"),
        await connection.prepared("fetch 2 from c"),
        await connection.prepared("fetch 2 from c"),
        await connection.simple("move 50 in c"),
        await connection.query("fetch prior from c"),
        await connection.query("fetch absolute 100 from c"),
        await connection.query("fetch next from c"),
        await connection.simple("close c"),
        await failure(connection.query("fetch 1 from c")),
      ];
      await connection.simple("rollback");
      results.push(await failure(connection.query("fetch 1 from c")));
      expect(results[0]).toEqual([[1], [2], [3]]);
      return results;
    }),
  );

  place.each(`${driver}: many clients with cursors of one name`, withBlocks, (target) => {
    const use = (client: number) =>
      withConnection(driver, target, async (connection) => {
        await connection.simple("begin");
        await connection.query("declare same cursor for select n * $1::int from generate_series(1, 30) n", [
          client,
        ]);
        const rows: unknown[] = [];
        for (let part = 0; part < 10; part++) rows.push(...(await connection.query("fetch 3 from same")));
        await connection.simple("commit");
        expect(rows).toEqual(Array.from({ length: 30 }, (_, i) => [(i + 1) * client]));
        return rows;
      });
    return Promise.all(Array.from({ length: 8 }, (_, i) => use(i)));
  });
});

describe("raw", () => {
  place.each("a portal a few rows at a time", withBlocks, (target) =>
    withClient(target, async (client) => {
      const traces = [
        await client.ask(query("begin")),
        await client.ask(
          parse("rows", "select n, repeat('x', n) from generate_series(1, $1::int) n"),
          bind("rows", ["10"], "p"),
          describePortal("p"),
          execute("p", 3),
          sync,
        ),
        await client.ask(execute("p", 3), sync),
        await client.ask(execute("p", 3), execute("p", 3), execute("p", 3), sync),
        await client.ask(closePortal("p"), execute("p", 1), sync),
        await client.ask(query("rollback")),
        await client.ask(execute("p", 1), sync),
      ];
      expect(traces[1]).toContain("PortalSuspended");
      expect(traces[3]).toContain('"SELECT 1"');
      return traces;
    }),
  );

  place.each("several portals at once, with Flush between", withBlocks, (target) =>
    withClient(target, async (client) => {
      const traces: string[] = [await client.ask(query("begin"))];
      client.send(
        parse("", "select n from generate_series(1, 5) n"),
        bind("", [], "a"),
        bind("", [], "b"),
        execute("a", 2),
        flush,
      );
      for (const message of await client.until("PortalSuspended")) traces.push(client.trace(message));
      client.send(execute("b", 1), execute("a", 2), flush);
      for (const _ of [1, 2]) {
        for (const message of await client.until("PortalSuspended")) traces.push(client.trace(message));
      }
      traces.push(await client.ask(execute("a"), execute("b"), closePortal("a"), closePortal("b"), sync));
      traces.push(await client.ask(query("commit")));
      return traces;
    }),
  );

  place.each("a portal with a row limit within one batch, outside a transaction", vias, (target) =>
    withClient(target, (client) =>
      client.ask(
        parse("", "select n from generate_series(1, 5) n"),
        bind("", [], "p"),
        execute("p", 2),
        execute("p", 2),
        execute("p", 2),
        closePortal("p"),
        sync,
        execute("p", 1),
        sync,
        query("select 'usable'"),
      ),
    ),
  );

  place.each("a portal is gone behind the Sync that ends its transaction", vias, (target) =>
    withClient(target, async (client) => [
      await client.ask(
        parse("", "select n from generate_series(1, 5) n"),
        bind("", [], "p"),
        execute("p", 2),
        sync,
      ),
      await client.ask(execute("p", 2), sync),
      await client.ask(query("select 'usable'")),
    ]),
  );

  place.each("an error in a portal that is read in parts", withBlocks, (target) =>
    withClient(target, async (client) => [
      await client.ask(query("begin")),
      await client.ask(
        parse("", "select 12 / (4 - n) from generate_series(1, 9) n"),
        bind("", [], "p"),
        execute("p", 2),
        sync,
      ),
      await client.ask(execute("p", 2), execute("p", 2), sync),
      await client.ask(execute("p", 2), sync),
      await client.ask(query("commit")),
    ]),
  );

  place.each("cursors WITH HOLD stay with a session", ["direct", "session"], async (target) => {
    await using client = await TraceClient.connect(target);
    const traces = [
      await client.ask(query("declare h cursor with hold for select n from generate_series(1, 4) n")),
      await client.ask(query("fetch 2 from h")),
      await client.ask(query("fetch 2 from h; close h")),
    ];
    return traces;
  });
});

place.each("postgres: a cursor of the driver's", withBlocks, async (target) => {
  const sql = postgresSql(target);
  const parts: number[][] = [];
  await sql.begin(async (transaction) => {
    const rows = transaction`select n from generate_series(1, 25) n`;
    await rows.cursor(10, (part) => {
      parts.push(part.map((row) => (row as unknown as { n: number }).n));
    });
  });
  await sql.end();
  expect(parts.map(({ length }) => length)).toEqual([10, 10, 5]);
  return parts;
});

describe.skipIf(!hasPsql)("psql", () => {
  place.each("psql: FETCH_COUNT reads by a cursor", withBlocks, async (target) => {
    const result = await psql(
      target,
      "select n, 'row ' || n from generate_series(1, 1234) n;\nselect 'after';\n",
      ["-v", "FETCH_COUNT=100"],
    );
    expect(result.output.split("\n")).toHaveLength(1236);
    return result;
  });
});
