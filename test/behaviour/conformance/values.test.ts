/** Values of every common type, as text, as parameters and as results, in all drivers. */
import { describe, expect } from "vitest";
import { connect, drivers, withConnection } from "./drivers.ts";
import { usePlace, vias } from "./place.ts";
import { hasPsql, psql } from "./psql.ts";
import { describePortal, execute, parse, query, sync, unnamed, withClient } from "./trace-client.ts";

/** An SQL expression per type; what it becomes is compared with what PostgreSQL itself sends. */
const expressions: readonly string[] = [
  "true",
  "false",
  "null::boolean",
  "(-32768)::int2",
  "2147483647::int4",
  "(-9223372036854775808)::int8",
  "3.4028235e38::float4",
  "'-Infinity'::float8",
  "'NaN'::float8",
  "0.1::float8 + 0.2::float8",
  "123456789012345678901234567890.12345678901234567890::numeric",
  "'NaN'::numeric",
  "'Infinity'::numeric",
  "(-0.000001)::numeric(10,6)",
  "'12.34'::money",
  "''::text",
  "'it''s'::text",
  String.raw`'back\slash'::text`,
  "E'line\\nbreak\\ttab\\x01control'",
  "'grüße, 世界, 🐘, a\u0301'::text",
  "repeat('é', 70000)",
  "'padded'::char(10)",
  "'x'::\"char\"",
  "'a_name'::name",
  String.raw`'\x00ff10'::bytea`,
  "''::bytea",
  "'2024-02-29'::date",
  "'infinity'::date",
  "'4713-01-01 BC'::date",
  "'12:34:56.789012'::time",
  "'12:34:56+05:30'::timetz",
  "'2024-02-29 23:59:59.999999'::timestamp",
  "'2024-02-29 23:59:59.999999+00'::timestamptz",
  "'-infinity'::timestamptz",
  "'1 year 2 mons -3 days 04:05:06.789'::interval",
  "'3f2504e0-4f89-11d3-9a0c-0305e82c3301'::uuid",
  `'{"a": [1, null, "ü"], "b": {}}'::json`,
  `'{"b": 1, "a": "\\u00e9"}'::jsonb`,
  `'null'::jsonb`,
  "'<a>text</a>'::xml",
  "array[1, null, 3]",
  "'{}'::int[]",
  "array[['a', 'b c'], ['\"', null]]",
  "'[0:1]={1,2}'::int[]",
  "array['2024-01-01'::timestamptz]",
  "array[true, false]",
  "'{1.5,NaN}'::numeric[]",
  "'192.168.0.1/24'::inet",
  "'2001:db8::/32'::cidr",
  "'08:00:2b:01:02:03'::macaddr",
  "'(1.5,-2)'::point",
  "'((0,0),(1,1))'::box",
  "'<(0,0),5>'::circle",
  "'[1,10)'::int4range",
  "'{[1,3),[5,7)}'::int4multirange",
  "'empty'::tstzrange",
  "B'10101'::varbit",
  "'a fat cat'::tsvector",
  "'fat & (rat | cat)'::tsquery",
  "'pg_class'::regclass",
  "row(1, 'a', null)",
  "'2/A0'::pg_lsn",
  "16384::oid",
];

/** Values that are sent: the type, and what JavaScript sends for it. */
const parameters: readonly (readonly [type: string, value: unknown])[] = [
  ["bool", true],
  ["bool", null],
  ["int2", -5],
  ["int4", 2147483647],
  ["int8", "-9223372036854775808"],
  ["float8", 1.7976931348623157e308],
  ["numeric", "12345678901234567890.123456789"],
  ["text", ""],
  ["text", "null"],
  ["text", "quote ' double \" back \\ dollar $1"],
  ["text", "grüße, 世界, 🐘"],
  ["text", "x".repeat(300_000)],
  ["varchar", null],
  ["bytea", Buffer.from([0, 1, 2, 255, 0])],
  ["bytea", Buffer.alloc(0)],
  ["timestamptz", new Date("2024-02-29T23:59:59.123Z")],
  ["date", "2024-02-29"],
  ["uuid", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"],
  ["inet", "10.0.0.1"],
];

const place = usePlace();

describe.each(drivers)("%s", (driver) => {
  place.each(`${driver}: literals of every type by the simple protocol`, vias, (target) =>
    withConnection(driver, target, (connection) => connection.simple(`select ${expressions.join(", ")}`)),
  );

  place.each(`${driver}: literals of every type by the extended protocol`, vias, (target) =>
    withConnection(driver, target, (connection) => connection.query(`select ${expressions.join(", ")}`)),
  );

  place.each(`${driver}: literals of every type from a prepared statement`, vias, (target) =>
    withConnection(driver, target, async (connection) => {
      const sql = `select ${expressions.join(", ")}`;
      const first = await connection.prepared(sql);
      expect(await connection.prepared(sql)).toEqual(first);
      return first;
    }),
  );

  place.each(`${driver}: parameters of every type come back as they were sent`, vias, (target) =>
    withConnection(driver, target, async (connection) => {
      const results: unknown[] = [];
      for (const [type, value] of parameters) {
        const sql = `select $1::${type}, ($1::${type})::text, $1::${type} is null`;
        const [row] = await connection.query(sql, [value]);
        expect(row?.[2], `${type} ${String(value)}`).toBe(value === null);
        expect(await connection.prepared(sql, [value])).toEqual([row]);
        results.push(row);
      }
      return results;
    }),
  );

  place.each(`${driver}: arrays and JSON as parameters`, vias, async (target) => {
    const connection = await connect(driver, target);
    try {
      const ints = await connection.query("select $1::int[]", [driver === "pg" ? [1, 2, 3] : "{1,2,3}"]);
      const json = await connection.query("select $1::jsonb -> 'list' ->> 1", [
        driver === "pg" ? { list: ["a", "ü"] } : JSON.stringify({ list: ["a", "ü"] }),
      ]);
      return [ints, json];
    } finally {
      await connection.close();
    }
  });

  place.each(`${driver}: a table with every kind of null and empty value`, vias, (target) =>
    withConnection(driver, target, async (connection) => {
      await connection.simple(`drop table if exists nulls_${driver}`);
      await connection.simple(
        `create table nulls_${driver} (id int, a text, b int, c bytea, d jsonb, e int[])`,
      );
      const insert = `insert into nulls_${driver} values ($1, $2, $3, $4, $5, $6)`;
      await connection.prepared(insert, [1, null, null, null, null, null]);
      await connection.prepared(insert, [2, "", 0, Buffer.alloc(0), "{}", "{}"]);
      return connection.query(`select * from nulls_${driver} order by id`);
    }),
  );
});

place.each("binary results and parameters (raw)", vias, (target) =>
  withClient(target, (client) => {
    const binaryExpressions = expressions.filter((text) => !/row\(|regclass/.test(text));
    return client.ask(
      parse("", `select $1::int8, $2::bytea, ${binaryExpressions.join(", ")}`),
      {
        kind: "Bind",
        portal: "",
        statement: "",
        formats: [1],
        values: [Buffer.from("00000000075bcd15", "hex"), Buffer.from([0, 255])],
        resultFormats: [1],
      },
      describePortal(),
      execute(),
      sync,
    );
  }),
);

place.each("a row without columns, and no rows (raw)", vias, (target) =>
  withClient(target, (client) =>
    client.ask(...unnamed("select"), ...unnamed("select 1 where false"), sync, query("select"), query("")),
  ),
);

describe.skipIf(!hasPsql)("psql", () => {
  place.each("psql: literals of every type", vias, async (target) => {
    const script = expressions.map((expression) => `select ${expression};`).join("\n");
    const result = await psql(target, `\\pset null 'NULL'\n${script}\n`);
    expect(result.errors).toBe("");
    return result;
  });
});
