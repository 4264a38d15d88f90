/** Notifications as a sequence. */
import { connect } from "pgsluice/client";

await using connection = await connect();
await using other = await connect();

//#region listen
{
  await using orders = await connection.listen("orders");
  for (const id of [1, 2]) await other.query("SELECT pg_notify('orders', $1)", [`order ${id}`]);

  for await (const { channel, payload } of orders) {
    console.log(channel, payload);
    //=> orders order 1
    //=> orders order 2
    if (payload === "order 2") break; // UNLISTEN
  }
}
//#endregion
