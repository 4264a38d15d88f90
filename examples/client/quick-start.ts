/** The first ten lines: connect, write, read. */
//#region all
import { connect } from "pgsluice/client";

await using connection = await connect(); // PGHOST, PGUSER and so on; or connect("postgres://app@host/app")

await connection.query("CREATE TEMP TABLE book (id int PRIMARY KEY, title text, tags text[])");
await connection.query("INSERT INTO book VALUES ($1, $2, $3)", [1, "Middlemarch", ["novel", "1871"]]);

const { rows } = await connection.query("SELECT title, tags FROM book WHERE id = $1", [1]);
console.log(rows); //=> [ { title: 'Middlemarch', tags: [ 'novel', '1871' ] } ]
//#endregion
