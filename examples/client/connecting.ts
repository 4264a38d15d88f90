/** Several hosts, time limits, and what is known of the connection that was made. */
import { env } from "node:process";
import { connect } from "pgsluice/client";

//#region hosts
await using connection = await connect(
  {
    host: "127.0.0.1,127.0.0.1",
    port: `1,${env["PGPORT"]}`, // nobody listens on port 1: the second host is tried
    target_session_attrs: "read-write",
    connect_timeout: 5, // seconds, for each address
    application_name: "shop",
  },
  { signal: AbortSignal.timeout(20_000) }, // for the whole
);
console.log(connection.endpoint.host, connection.user, connection.database); //=> 127.0.0.1 app app
//#endregion
