/** COPY in and out. */
import { connect } from "pgsluice/client";

await using connection = await connect();
await connection.query("CREATE TEMP TABLE reading (at int, value float8)");

//#region in
async function* lines(): AsyncGenerator<string> {
  for (let at = 0; at < 10_000; at++) yield `${at},${Math.sqrt(at)}\n`;
}
const { rowCount } = await connection.copyFrom("COPY reading FROM STDIN (FORMAT csv)", lines());
console.log(rowCount); //=> 10000
//#endregion

//#region out
let bytes = 0;
for await (const chunk of connection.copyTo("COPY reading TO STDOUT (FORMAT csv)")) bytes += chunk.length;
console.log(bytes > 100_000); //=> true

const copy = connection.copyTo("COPY (SELECT 1, 'two') TO STDOUT");
console.log(JSON.stringify(await new Response(copy.readable()).text())); //=> "1\ttwo\n"
//#endregion
