/** The end of a session, and a new beginning. */
import { connect, ServerError } from "pgsluice/client";

//#region life
const connection = await connect();
const pid = connection.backendPid;

const lost = connection.query("SELECT pg_terminate_backend(pg_backend_pid())");
console.log(await lost.catch((error: unknown) => error instanceof ServerError && error.sqlstate)); //=> 57P01

const reason = await connection.closed; // resolves when the session is over
console.log(connection.usable, reason?.code, reason?.sqlstate); //=> false client.connection_lost 57P01

await connection.reset(); // connects anew, with the same options
console.log(connection.usable, connection.backendPid !== pid); //=> true true

await connection.close(); // lets what was asked for finish; never rejects
console.log(await connection.closed); //=> undefined
//#endregion
