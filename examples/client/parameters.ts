/** What values become as parameters. */
import { connect, escapeIdentifier, Range, Timestamp } from "pgsluice/client";

await using connection = await connect();

//#region values
const { rows } = await connection.query(
  "SELECT $1::int8 AS big, $2::timestamptz AS at, $3::bytea AS bytes, $4::int4range AS span, $5::text AS nothing",
  [2n ** 60n, new Timestamp(Date.UTC(2026, 0, 1), 250), new Uint8Array([1, 255]), new Range(1, 10), null],
);
console.log(rows[0]?.["big"], rows[0]?.["nothing"]); //=> 1152921504606846976n null
//#endregion

//#region arrays
const value = ["a", "b"];
const both = await connection.query("SELECT $1::text[] AS list, $2::jsonb AS json", [value, value]);
console.log(both.rows); //=> [ { list: [ 'a', 'b' ], json: [ 'a', 'b' ] } ]

// A string goes as it is: it has to be JSON already.
const text = await connection.query("SELECT $1::jsonb AS json", [JSON.stringify("a")]);
console.log(text.rows); //=> [ { json: 'a' } ]
//#endregion

//#region many
const ids = [1, 2, 3];
const some = await connection.query("SELECT n FROM generate_series(1, 9) AS n WHERE n = ANY ($1)", [ids]);
console.log(some.rowCount); //=> 3

await connection.query("CREATE TEMP TABLE person (id int, name text)");
const people = [
  { id: 1, name: "Ada" },
  { id: 2, name: "Grace" },
];
const inserted = await connection.query("INSERT INTO person SELECT * FROM unnest($1::int[], $2::text[])", [
  people.map(({ id }) => id),
  people.map(({ name }) => name),
]);
console.log(inserted.rowCount); //=> 2

const table = "person"; // names cannot be parameters
const counted = await connection.query(`SELECT count(*)::int AS n FROM ${escapeIdentifier(table)}`);
console.log(counted.rows); //=> [ { n: 2 } ]
//#endregion
