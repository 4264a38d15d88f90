/** Statements are prepared by themselves, and again when they have gone stale. */
import { connect } from "pgsluice/client";

//#region prepared
await using connection = await connect("", { prepareThreshold: 2 });
await connection.query("CREATE TEMP TABLE t AS SELECT 1 AS a");
for (let round = 0; round < 4; round++) await connection.query("SELECT * FROM t");

const { rows } = await connection.query("SELECT statement FROM pg_prepared_statements");
console.log(rows); //=> [ { statement: 'SELECT * FROM t' } ]

await connection.query("ALTER TABLE t ADD COLUMN b int DEFAULT 2");
console.log((await connection.query("SELECT * FROM t")).rows); //=> [ { a: 1, b: 2 } ]
//#endregion
