/** Columns whose types are stated once, for the compiler and for the check at run time. */
import { connect, nonNull, types } from "pgsluice/client";

await using connection = await connect();
await connection.query("CREATE TEMP TABLE person (id int PRIMARY KEY, name text NOT NULL, born date)");
await connection.query("INSERT INTO person VALUES (1, 'Ada', '1815-12-10'), (2, 'Grace', NULL)");

//#region columns
const { rows } = await connection.query("SELECT id, name, born FROM person ORDER BY id", [], {
  columns: { id: nonNull(types.int4), name: nonNull(types.text), born: types.date },
});
// rows: { id: number; name: string; born: string | number | null }[]
console.log(rows.map(({ id, name, born }) => `${id + 1} ${name.toUpperCase()} ${born ?? "unknown"}`));
//=> [ '2 ADA 1815-12-10', '3 GRACE unknown' ]

const wrong = connection.query("SELECT id::text FROM person", [], { columns: { id: types.int4 } });
console.log(await wrong.catch((error: unknown) => String(error)));
//=> OperationError: column "id" has the type with the identifier 25, not int4 (23); asked for were "id"
//#endregion
