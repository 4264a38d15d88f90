/** Queries asked for together, and pipeline mode. */
import { connect } from "pgsluice/client";

await using connection = await connect();
await connection.query("CREATE TEMP TABLE account (id int PRIMARY KEY, balance int CHECK (balance >= 0))");

//#region together
const outcomes = await Promise.allSettled([
  connection.query("INSERT INTO account VALUES (1, 100)"),
  connection.query("INSERT INTO account VALUES (1, 100)"), // fails, and fails alone
  connection.query("INSERT INTO account VALUES (2, 0)"),
]);
console.log(outcomes.map(({ status }) => status)); //=> [ 'fulfilled', 'rejected', 'fulfilled' ]
//#endregion

//#region pipeline
{
  await using pipeline = connection.pipeline();
  const move = "UPDATE account SET balance = balance + $1 WHERE id = $2";
  const moved = Promise.allSettled([pipeline.query(move, [500, 2]), pipeline.query(move, [-500, 1])]);
  await pipeline.sync(); // one implicit transaction up to here: the second failed, so neither holds
  console.log((await moved).map(({ status }) => status)); //=> [ 'fulfilled', 'rejected' ]
}
console.log((await connection.query("SELECT * FROM account ORDER BY id")).rows);
//=> [ { id: 1, balance: 100 }, { id: 2, balance: 0 } ]
//#endregion
