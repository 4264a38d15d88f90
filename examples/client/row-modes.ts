/** Rows as arrays and as bytes, and values in binary format. */
import { connect } from "pgsluice/client";

await using connection = await connect();

//#region modes
const text = "SELECT 1 AS a, 2 AS a, NULL AS b";
console.log((await connection.query(text)).rows); //=> [ { a: 2, b: null } ]
console.log((await connection.query(text, [], { rowMode: "array" })).rows); //=> [ [ 1, 2, null ] ]

const { rows } = await connection.query("SELECT 'é' AS a", [], { rowMode: "raw" });
console.log(rows[0]?.[0]?.toString("hex")); //=> c3a9

const binary = await connection.query("SELECT now() - now() AS a, 1.50 AS b", [], { format: "binary" });
console.log(binary.rows); //=> [ { a: '00:00:00', b: '1.50' } ]
//#endregion
