/** libpq's non-blocking connect, as its manual describes the loop. */
//#region loop
import * as libpq from "pgsluice/libpq";

const conn = libpq.connectStart("application_name=polled");
let step: libpq.PollingStatus = libpq.status(conn) === "BAD" ? "failed" : "writing";
const endTimeMs = performance.now() + 10_000; // how long to go on is the application's decision
while (step === "reading" || step === "writing") {
  if (!(await libpq.ready(conn, { endTimeMs }))) break;
  step = libpq.connectPoll(conn);
}
console.log(step, libpq.status(conn), libpq.errorMessage(conn) === ""); //=> ok OK true
console.log(libpq.db(conn), libpq.sslInUse(conn), libpq.transactionStatus(conn)); //=> app true IDLE
libpq.finish(conn); // also after a failure
//#endregion

//#region ping
console.log(await libpq.ping("")); //=> OK
console.log(await libpq.ping("host=127.0.0.1 port=1")); //=> NO_RESPONSE
//#endregion
