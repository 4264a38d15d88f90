/** Messages sent without waiting, statements by the dozen in one string, and what is rarely sent at all. */
import { describe, expect, test } from "vitest";
import { encodeFrontend } from "../../../src/wire/index.ts";
import { pgClient, postgresSql, withConnection } from "./drivers.ts";
import { usePlace, vias, withBlocks } from "./place.ts";
import { hasPsql, psql } from "./psql.ts";
import {
  bind,
  closePortal,
  closeStatement,
  describePortal,
  describeStatement,
  execute,
  flush,
  parse,
  query,
  run,
  sync,
  unnamed,
  withClient,
} from "./trace-client.ts";

const place = usePlace();

describe("raw", () => {
  place.each("many simple queries in one write", vias, (target) =>
    withClient(target, async (client) => {
      const messages = Array.from({ length: 200 }, (_, i) => query(`select ${i}, repeat('x', ${i})`));
      const trace = await client.ask(...messages);
      expect(trace.match(/ReadyForQuery/g)).toHaveLength(200);
      return trace;
    }),
  );

  place.each("many extended batches in one write", vias, (target) =>
    withClient(target, (client) =>
      client.ask(
        ...Array.from({ length: 100 }, (_, i) => [
          ...unnamed("select $1::text || $2", [`${i}`, "-"]),
          sync,
        ]).flat(),
      ),
    ),
  );

  place.each("many statements before one Sync", vias, (target) =>
    withClient(target, (client) =>
      client.ask(
        ...Array.from({ length: 100 }, (_, i) => unnamed(`select ${i} where $1::int > 50`, [`${i}`])).flat(),
        sync,
      ),
    ),
  );

  place.each("simple queries and batches mixed, with errors in many places", vias, (target) =>
    withClient(target, async (client) => {
      const trace = await client.ask(
        query("select 1"),
        ...unnamed("select 2"),
        sync,
        ...unnamed("select 1/$1::int", ["0"]),
        ...unnamed("select 'skipped'"),
        describeStatement("skipped too"),
        sync,
        ...unnamed("select 3"),
        sync,
        query("select 1/0"),
        query("select 4"),
        parse("", "selec"),
        bind(""),
        execute(),
        closePortal("none"),
        sync,
        sync,
        query(""),
        query(" ; ; "),
        ...unnamed(""),
        sync,
        ...unnamed("select 5"),
        sync,
      );
      expect(trace).not.toContain("skipped");
      for (const row of [1, 2, 3, 4, 5]) expect(trace).toContain(`'${row}'`);
      return trace;
    }),
  );

  place.each(
    "an error skips to the right Sync, and undoes what is before it in the same batch",
    vias,
    (target) =>
      withClient(target, async (client) => {
        await client.ask(query("drop table if exists batches; create table batches (id int)"));
        const insert = (id: number) => unnamed("insert into batches values ($1)", [`${id}`]);
        const trace = await client.ask(
          ...insert(1),
          sync,
          ...insert(2),
          ...insert(3),
          ...unnamed("select 1/0"),
          ...insert(4),
          sync,
          ...insert(5),
          sync,
        );
        expect(await client.rows("select id from batches order by id")).toEqual([["1"], ["5"]]);
        return trace;
      }),
  );

  place.each(
    "named statements prepared, used and closed in one write, with an error between",
    vias,
    (target) =>
      withClient(target, (client) =>
        client.ask(
          parse("a", "select 'a' || $1"),
          parse("b", "select 'b' || $1"),
          ...run("a", ["1"]),
          ...run("b", ["2"]),
          sync,
          ...run("a", ["3"]),
          parse("c", "selec"),
          closeStatement("a"),
          ...run("b", ["skipped"]),
          sync,
          ...run("a", ["4"]),
          ...run("b", ["5"]),
          closeStatement("a"),
          sync,
          parse("c", "select 'c' || $1"),
          ...run("c", ["6"]),
          sync,
          ...run("a", ["gone"]),
          sync,
          closeStatement("b"),
          closeStatement("c"),
          sync,
        ),
      ),
  );

  place.each("transactions in one write", withBlocks, (target) =>
    withClient(target, async (client) => {
      await client.ask(query("drop table if exists piped; create table piped (id int)"));
      const trace = await client.ask(
        query("begin"),
        query("insert into piped values (1)"),
        query("commit"),
        query("begin"),
        ...unnamed("insert into piped values ($1)", ["2"]),
        sync,
        query("select 1/0"),
        ...unnamed("insert into piped values ($1)", ["3"]),
        sync,
        query("rollback"),
        ...unnamed("begin"),
        ...unnamed("insert into piped values (4)"),
        ...unnamed("commit"),
        ...unnamed("begin"),
        ...unnamed("insert into piped values (5)"),
        sync,
        ...unnamed("rollback"),
        sync,
      );
      expect(await client.rows("select id from piped order by id")).toEqual([["1"], ["4"]]);
      return trace;
    }),
  );

  place.each("replies come at each Flush, before any Sync", vias, (target) =>
    withClient(target, async (client) => {
      const traces: string[] = [];
      client.send(parse("flushed", "select $1::int"), describeStatement("flushed"), flush);
      for (const message of await client.until("RowDescription")) traces.push(client.trace(message));
      client.send(bind("flushed", ["7"]), describePortal(), flush);
      for (const message of await client.until("RowDescription")) traces.push(client.trace(message));
      client.send(execute(), flush);
      for (const message of await client.until("CommandComplete")) traces.push(client.trace(message));
      client.send(closePortal(), closeStatement("flushed"), flush);
      for (const _ of [1, 2]) {
        for (const message of await client.until("CloseComplete")) traces.push(client.trace(message));
      }
      client.send(parse("", "selec"), flush);
      for (const message of await client.until("ErrorResponse")) traces.push(client.trace(message));
      client.send(bind("flushed"), execute(), flush);
      return [...traces, await client.ask(sync), await client.ask(query("select 1"))];
    }),
  );

  place.each("a Close of a statement is answered where it stands", vias, (target) =>
    withClient(target, (client) =>
      client.ask(
        closeStatement("never was"),
        ...unnamed("select 1"),
        closeStatement(""),
        closeStatement("never was"),
        ...unnamed("select 2"),
        closeStatement("never was"),
        sync,
        closeStatement("never was"),
        sync,
      ),
    ),
  );

  place.each("several statements in one query string", vias, (target) =>
    withClient(target, (client) =>
      client.ask(
        query("select 1; select 2, 3; select 4 where false; values (5), (6); ; select 7"),
        query(
          "drop table if exists several; create table several (id int); insert into several values (1), (2); select count(*) from several",
        ),
        query("insert into several values (3); select 1/0; insert into several values (4)"),
        query("select count(*) from several"),
        query("select 'a;b'; -- c;\nselect 'd' /* ; */"),
      ),
    ),
  );

  place.each("a transaction that begins and ends in one query string", withBlocks, (target) =>
    withClient(target, async (client) => [
      await client.ask(query("begin; select 1; commit; select 2")),
      await client.ask(query("select 1; begin; select 2")),
      await client.ask(query("select 3; rollback; select 4")),
      await client.ask(query("begin; select 1/0; commit"), query("rollback")),
    ]),
  );

  place.each("function calls", vias, (target) =>
    withClient(target, async (client) => {
      const oid = Number(await client.value("select 'pg_catalog.int4pl'::regproc::oid"));
      const call = (a: string, b: string) =>
        ({
          kind: "FunctionCall",
          functionOid: oid,
          formats: [0],
          values: [Buffer.from(a), Buffer.from(b)],
          resultFormat: 0,
        }) as const;
      const trace = await client.ask(
        call("40", "2"),
        query("select 1"),
        call("1", "x"),
        call("1", "2"),
        ...unnamed("select 3"),
        sync,
      );
      expect(trace).toContain("'42'");
      return trace;
    }),
  );

  place.each("5 MB of query text, simple and prepared", vias, (target) =>
    withClient(target, async (client) => {
      const text = "x".repeat(5_000_000);
      expect(await client.value(`select length('${text}')`)).toBe("5000000");
      const large = `select length('${text}'), $1::int`;
      return client.ask(
        ...unnamed(large, ["1"]),
        parse("large", large),
        ...run("large", ["2"]),
        sync,
        ...run("large", ["3"]),
        ...unnamed("select length($1)", [text]),
        closeStatement("large"),
        sync,
        query(`select '${text}' = repeat('x', 5000000)`),
      );
    }),
  );

  place.each("a parameter of 70 MB", vias, (target) =>
    withClient(target, (client) => {
      const value = "x".repeat(70_000_000);
      return client.ask(parse("large value", "select length($1)"), ...run("large value", [value]), sync);
    }),
  );

  place.each("messages that come byte by byte", vias, (target) =>
    withClient(target, async (client) => {
      const bytes = Buffer.concat(
        [
          query("select 'slow'"),
          parse("s", "select $1::text"),
          ...run("s", ["typed"]),
          closeStatement("s"),
          sync,
        ].map(encodeFrontend),
      );
      for (const byte of bytes) {
        client.send(Buffer.of(byte));
        await new Promise(setImmediate);
      }
      return client.untilReady(2);
    }),
  );
});

place.each("pg: queries queued without waiting", vias, async (target) => {
  const client = await pgClient(target);
  const results = await Promise.allSettled(
    Array.from({ length: 60 }, (_, i) =>
      i % 7 === 3
        ? client.query("select 1/0")
        : client.query({
            text: `select $1::int + ${i % 4} as sum`,
            values: [i],
            ...(i % 2 === 0 ? {} : { name: `n${i % 4}` }),
          }),
    ),
  );
  await client.end();
  return results.map((result) =>
    result.status === "fulfilled" ? result.value.rows : (result.reason as { code: string }).code,
  );
});

place.each("postgres: queries pipelined on one connection", vias, async (target) => {
  const sql = postgresSql(target, { max: 1 });
  const results = await Promise.allSettled(
    Array.from({ length: 60 }, (_, i) =>
      i % 7 === 3 ? sql`select 1 / ${i - i}::int` : sql`select ${i}::int as n, ${"ü"} as u`,
    ),
  );
  await sql.end();
  return results.map((result) =>
    result.status === "fulfilled" ? [...result.value] : (result.reason as { code: string }).code,
  );
});

describe.skipIf(!hasPsql)("psql", () => {
  place.each("psql: several statements in one string, and nothing at all", vias, async (target) => {
    const result = await psql(target, "select 1\\; select 2\\; select 3;\n;\n;;\nselect 4;\n");
    expect(result.output.trim().split("\n")).toEqual(["1", "2", "3", "4"]);
    return result;
  });
});

test("statement mode refuses transaction blocks and says so", async () => {
  const target = place.target("statement");
  await withConnection("pg", target, (connection) => connection.simple("select 1"));
  const client = await pgClient(target);
  const ended = new Promise((resolve) => client.once("end", resolve));
  client.on("error", () => undefined);
  await expect(client.query("begin")).rejects.toMatchObject({
    code: "08P01",
    message: "transaction blocks not allowed in statement pooling mode",
  });
  await ended;
});
