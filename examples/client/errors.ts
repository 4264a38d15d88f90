/** What a failed query says. */
import { connect, ServerError, sqlState } from "pgsluice/client";

await using connection = await connect();
await connection.query("CREATE TEMP TABLE person (email text CONSTRAINT person_email UNIQUE)");

//#region server
try {
  await connection.query("INSERT INTO person VALUES ('a@example.org'), ('a@example.org')");
} catch (error) {
  if (!(error instanceof ServerError) || error.sqlstate !== sqlState.unique_violation) throw error;
  console.log(error.message); //=> duplicate key value violates unique constraint "person_email"
  console.log(error.detail); //=> Key (email)=(a@example.org) already exists.
  console.log(error.fields.constraint, error.fields.severity); //=> person_email ERROR
}
//#endregion
