/** What a connection string comes to, without connecting. */
import { parseConninfo, resolveConninfo } from "pgsluice/client";

//#region resolve
const { hosts, database, sslmode } = resolveConninfo(
  "postgres://app@db1.example,db2.example:5433/shop?sslmode=require",
);
console.log(hosts.map(({ host, port }) => `${host}:${port}`)); //=> [ 'db1.example:5432', 'db2.example:5433' ]
console.log(database, sslmode); //=> shop require

console.log(parseConninfo("host=db.example application_name='my shop'").get("application_name")); //=> my shop
//#endregion
