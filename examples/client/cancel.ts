/** What an AbortSignal does, and cancel without one. */
import { connect, ServerError, sqlState } from "pgsluice/client";

await using connection = await connect();

//#region signal
const slow = connection.query("SELECT pg_sleep(10)", [], { signal: AbortSignal.timeout(100) });
const next = connection.query("SELECT 'at once' AS answer"); // waits here until the first is over
console.log(await slow.catch((error: unknown) => error instanceof Error && error.name)); //=> TimeoutError
console.log((await next).rows); //=> [ { answer: 'at once' } ]
//#endregion

//#region cancel
try {
  for await (const { n } of connection.query<{ n: number }>("SELECT generate_series(1, 1000000000) AS n")) {
    if (n === 1) await connection.cancel(); // asks; the loop goes on with what has come already
  }
} catch (error) {
  if (!(error instanceof ServerError)) throw error;
  console.log(error.sqlstate === sqlState.query_canceled); //=> true
}
//#endregion
