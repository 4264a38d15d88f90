/** The same query awaited, iterated over by rows and by chunks. */
import { connect } from "pgsluice/client";

await using connection = await connect();

//#region await
const result = await connection.query<{ n: number }>(
  "SELECT n FROM generate_series($1::int, $2) AS n",
  [1, 3],
);
console.log(result.command, result.rowCount, result.rows); //=> SELECT 3 [ { n: 1 }, { n: 2 }, { n: 3 } ]
console.log(result.columns.map(({ name, typeOid }) => `${name}: ${typeOid}`)); //=> [ 'n: 23' ]
//#endregion

//#region iterate
let sum = 0;
for await (const { n } of connection.query<{ n: number }>("SELECT generate_series(1, 1000000) AS n")) {
  sum += n;
  if (n === 100) break; // the rest is cancelled, and the connection is ready
}
console.log(sum); //=> 5050
//#endregion

//#region chunks
let rowCount = 0;
for await (const rows of connection.query("SELECT generate_series(1, 100000)").chunks())
  rowCount += rows.length;
console.log(rowCount); //=> 100000
//#endregion

//#region execute
const results = await connection.execute(
  "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2); TABLE t",
);
console.log(results.map(({ command, rowCount }) => `${command} ${rowCount}`));
//=> [ 'CREATE TABLE null', 'INSERT 2', 'SELECT 2' ]

const { parameterTypes, columns } = await connection.describe("SELECT a FROM t WHERE a = $1");
console.log(
  parameterTypes,
  columns?.map(({ name }) => name),
); //=> [ 23 ] [ 'a' ]
//#endregion
