/** Queries seen by whoever subscribes to the diagnostics channels, notices, and a trace of messages. */
import { subscribe } from "node:diagnostics_channel";
import { connect, type TraceContext } from "pgsluice/client";

//#region channels
subscribe("tracing:pgsluice:query:asyncEnd", (message) => {
  const context = message as TraceContext;
  console.log(
    context["db.query.text"],
    context["db.response.returned_rows"] ?? context["db.response.status_code"],
  );
});
//#endregion

//#region notices
await using connection = await connect("", {
  onNotice: ({ severity, message }) => console.log(severity, message),
});
await connection.query("SELECT $1::int AS a", [1]); //=> SELECT $1::int AS a 1
await connection.query("SELECT 1 / 0").catch(() => {}); //=> SELECT 1 / 0 22012
await connection.execute("DO $$ BEGIN RAISE WARNING 'hot'; END $$"); //=> WARNING hot
//#endregion

//#region trace
connection.trace((line) => console.log(line.trimEnd()), { regress: true });
await connection.execute("SELECT 1 AS a");
//=> F	18	Query	 "SELECT 1 AS a"
//=> B	26	RowDescription	 1 "a" NNNN 0 NNNN 4 -1 0
//=> B	11	DataRow	 1 1 '1'
//=> B	13	CommandComplete	 "SELECT 1"
//=> B	5	ReadyForQuery	 I
connection.untrace();
//#endregion
