/** A connection that comes to nothing tells everything that was tried. */
import { ConnectError, connect, sqlState } from "pgsluice/client";

//#region attempts
try {
  await connect("host=127.0.0.1,127.0.0.1 port=1,2 user=app");
} catch (error) {
  if (!(error instanceof ConnectError)) throw error;
  console.log(error.code, error.sqlstate); //=> client.connect_failed 08001
  for (const { host, port, phase, message } of error.attempts)
    console.log(host, port, phase, message.length > 0);
  //=> 127.0.0.1 1 STARTED true
  //=> 127.0.0.1 2 STARTED true
}

try {
  await connect({ password: "wrong", sslmode: "require" });
} catch (error) {
  if (!(error instanceof ConnectError)) throw error;
  console.log(error.code, error.sqlstate === sqlState.invalid_password); //=> client.server_refused true
}
//#endregion
