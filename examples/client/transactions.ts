/** Transactions as a call and as a value. */
import { connect, ServerError, sqlState } from "pgsluice/client";

await using connection = await connect();
await connection.query("CREATE TEMP TABLE seat (id int PRIMARY KEY, guest text)");

//#region call
await connection.transaction(async () => {
  await connection.query("INSERT INTO seat VALUES (1, 'Ada')");
  await connection.query("INSERT INTO seat VALUES (2, 'Grace')");
});

const failed = connection.transaction(
  async () => {
    await connection.query("DELETE FROM seat");
    throw new Error("on second thoughts");
  },
  { isolation: "serializable" },
);
console.log(await failed.catch((error: unknown) => String(error))); //=> Error: on second thoughts
console.log((await connection.query("SELECT guest FROM seat")).rowCount); //=> 2
//#endregion

//#region value
{
  await using transaction = await connection.begin({ isolation: "repeatable read" });
  await connection.query("UPDATE seat SET guest = 'Edsger' WHERE id = 2");
  await transaction.commit(); // left out, or not reached: ROLLBACK at the end of the block
}
//#endregion

//#region retry
async function retried<Value>(work: () => Promise<Value>): Promise<Value> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await connection.transaction(work, { isolation: "serializable" });
    } catch (error) {
      const mayRetry = error instanceof ServerError && error.sqlstate === sqlState.serialization_failure;
      if (!mayRetry || attempt === 5) throw error;
    }
  }
}
const guests = await retried(async () => (await connection.query("SELECT guest FROM seat ORDER BY id")).rows);
console.log(guests); //=> [ { guest: 'Ada' }, { guest: 'Edsger' } ]
//#endregion
