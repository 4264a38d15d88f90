/** Errors and notices: all that the server says of them, and sessions that work on behind them. */
import { describe, expect } from "vitest";
import { type Connection, type DriverName, drivers, failure, withConnection } from "./drivers.ts";
import { usePlace, vias, withBlocks } from "./place.ts";
import { hasPsql, psql } from "./psql.ts";
import { query, sync, unnamed, withClient } from "./trace-client.ts";

const place = usePlace();

/** Statements that fail, of every class that applications meet. */
const failing: readonly string[] = [
  "selec 1",
  "select 1/0",
  "select * from no_such_table",
  "select no_such_column from pg_class",
  "select 'abc'::int",
  "select 99999999999::int",
  "select no_such_function(1)",
  "insert into errors values (1)",
  "insert into errors values (2, null)",
  "insert into errors values (3, -1)",
  "insert into errors values (4, 400, 99)",
  "select '{\"a\": }'::json",
  "select errors_nested(0)",
  "do $$ begin raise exception 'said %', 42 using errcode = 'P0042', detail = 'the detail', hint = 'the hint', column = 'c', constraint = 'k', datatype = 'd', table = 't', schema = 's'; end $$",
  "commit prepared 'nothing'",
  "lock table errors",
  "savepoint outside",
  "set no_such_parameter = 1",
  "set work_mem = 'much'",
  "create table errors (id int)",
  "copy errors from '/no/such/file'",
  "vacuum (no_such_option)",
];

async function prepareErrors(driver: DriverName, connection: Connection): Promise<void> {
  await connection.simple(`
    drop schema if exists errors_${driver} cascade;
    create schema errors_${driver};
    create table errors_${driver}.errors (
      id int primary key,
      amount int not null constraint positive check (amount > 0),
      parent int constraint parents references errors_${driver}.errors
    );
    insert into errors_${driver}.errors values (1, 1);
    create function errors_${driver}.errors_nested(x int) returns int language plpgsql as $$
      begin return (select 1 / x); end $$`);
}

/** The same statement with its tables in the schema of the driver. */
function inSchema(driver: DriverName, sql: string): string {
  return sql.replaceAll(/\berrors(?=[ (]|$|_nested)/g, `errors_${driver}.errors`);
}

describe.each(drivers)("%s", (driver) => {
  place.each(`${driver}: every field of every error, and the session works on`, vias, (target) =>
    withConnection(driver, target, async (connection) => {
      await prepareErrors(driver, connection);
      const fields: unknown[] = [];
      for (const sql of failing.map((text) => inSchema(driver, text))) {
        const simple = await failure(connection.simple(sql));
        const extended = await failure(connection.query(sql));
        expect(extended["code"], sql).toBe(simple["code"]);
        expect(await connection.query("select 1")).toEqual([[1]]);
        fields.push(simple, extended, (await failure(connection.prepared(sql)))["code"]);
      }
      return fields;
    }),
  );

  place.each(`${driver}: a failed transaction refuses everything until it ends`, withBlocks, (target) =>
    withConnection(driver, target, async (connection) => {
      await connection.simple(
        `drop table if exists failed_${driver}; create table failed_${driver} (id int)`,
      );
      const results: unknown[] = [];
      for (const end of ["rollback", "commit"]) {
        await connection.simple("begin");
        await connection.query(`insert into failed_${driver} values ($1)`, [1]);
        results.push(await failure(connection.query("select 1/$1::int", [0])));
        results.push(await failure(connection.simple("select 1")));
        results.push(await failure(connection.query("select $1::int", [1])));
        results.push(await failure(connection.prepared("select $1::int", [1])));
        await connection.simple(end);
        results.push(await connection.query(`select count(*)::int from failed_${driver}`));
      }
      expect(results.at(-1)).toEqual([[0]]);
      expect(results[1]).toMatchObject({ code: "25P02" });
      return results;
    }),
  );

  place.each(`${driver}: savepoints undo a part of a transaction`, withBlocks, (target) =>
    withConnection(driver, target, async (connection) => {
      await connection.simple(
        `drop table if exists saved_${driver}; create table saved_${driver} (id int primary key)`,
      );
      const insert = `insert into saved_${driver} values ($1)`;
      await connection.simple("begin");
      await connection.prepared(insert, [1]);
      await connection.simple("savepoint first");
      await connection.prepared(insert, [2]);
      const duplicate = await failure(connection.prepared(insert, [2]));
      expect(duplicate["code"]).toBe("23505");
      await connection.simple("rollback to first");
      await connection.prepared(insert, [3]);
      await connection.simple("savepoint second");
      await connection.prepared(insert, [4]);
      await connection.simple("release second");
      const unknown = await failure(connection.simple("rollback to second"));
      await connection.simple("rollback to first");
      await connection.prepared(insert, [5]);
      await connection.simple("commit");
      const rows = await connection.query(`select id from saved_${driver} order by id`);
      expect(rows).toEqual([[1], [5]]);
      return [duplicate, unknown, rows];
    }),
  );

  place.each(`${driver}: an error at commit`, withBlocks, (target) =>
    withConnection(driver, target, async (connection) => {
      await connection.simple(`
        drop table if exists late_${driver};
        create table late_${driver} (id int primary key, other int references late_${driver} deferrable initially deferred)`);
      await connection.simple("begin");
      await connection.query(`insert into late_${driver} values ($1, $2)`, [1, 2]);
      const error = await failure(connection.simple("commit"));
      expect(error["code"]).toBe("23503");
      return [error, await connection.query(`select * from late_${driver}`)];
    }),
  );

  place.each(`${driver}: notices with all their fields`, vias, async (target) => {
    const notices: unknown[] = [];
    await withConnection(
      driver,
      target,
      async (connection) => {
        await connection.simple("set client_min_messages = debug1");
        for (const level of ["debug", "log", "info", "notice", "warning"]) {
          await connection.query(
            `do $$ begin raise ${level} 'a % of grüße', '${level}' using detail = 'more', hint = 'do', errcode = '01N42'; end $$`,
          );
        }
        await connection.simple("drop table if exists never_was");
        await connection.simple("reset client_min_messages");
      },
      // The greeting of a server and the reset of a setting are no part of it.
      { onNotice: (notice) => notices.push(notice) },
    );
    const own = notices.filter((notice) => JSON.stringify(notice).match(/grüße|never_was/));
    expect(own.length).toBeGreaterThanOrEqual(6);
    return own;
  });
});

place.each("many errors in a row, in both protocols (raw)", vias, (target) =>
  withClient(target, async (client) => {
    const traces: string[] = [];
    for (let i = 0; i < 20; i++) {
      traces.push(await client.ask(query("select 1/0"), ...unnamed("select $1::int", [`x${i}`]), sync));
      traces.push(
        await client.ask(query("select 1; select 1/0; select 2"), sync, ...unnamed("select 3"), sync),
      );
    }
    return traces;
  }),
);

place.each("an error in the middle of rows that are being sent (raw)", vias, (target) =>
  withClient(target, async (client) => {
    const sql = "select 1000 / (500 - n) from generate_series(1, 1000) n";
    const traces = [await client.ask(query(sql)), await client.ask(...unnamed(sql), sync)];
    for (const trace of traces) {
      expect(trace.match(/DataRow/g)).toHaveLength(499);
      expect(trace).toContain('C "22012"');
    }
    return [...traces, await client.ask(query("select 'goes on'"))];
  }),
);

describe.skipIf(!hasPsql)("psql", () => {
  place.each("psql: errors with all their fields", vias, async (target) => {
    const script = `
      drop table if exists psql_errors;
      create table psql_errors (id int primary key, n int check (n > 0));
      insert into psql_errors values (1, 0);
      insert into psql_errors values (1, 1), (1, 1);
      select 1/0;
      \\errverbose
      do $$ begin raise warning 'careful' using hint = 'a hint'; end $$;
      select count(*) from psql_errors;`;
    const result = await psql(target, script);
    expect(result.errors).toContain("23514");
    expect(result.errors).toContain("23505");
    expect(result.output.trim()).toBe("0");
    return { ...result, errors: withoutPlaces(result.errors) };
  });

  place.each("psql: savepoints of its own (ON_ERROR_ROLLBACK)", withBlocks, async (target) => {
    const script = `
      drop table if exists psql_saved;
      create table psql_saved (id int primary key);
      begin;
      insert into psql_saved values (1);
      insert into psql_saved values (1);
      insert into psql_saved values (2);
      commit;
      select * from psql_saved;`;
    const result = await psql(target, script, ["-v", "ON_ERROR_ROLLBACK=on"]);
    expect(result.output.trim().split("\n")).toEqual(["1", "2"]);
    return { ...result, errors: withoutPlaces(result.errors) };
  });
});

/** Line numbers of the server's source stay the same within one server, but psql's own prefix may hold a port. */
function withoutPlaces(errors: string): string {
  return errors.replaceAll(/port \d+/g, "port N");
}
