/**
 * A program that opens many connections to 127.0.0.1 and keeps them: port, how many, and what each of them
 * sends, in base64. Says so when all are open or have failed; ends with its parent.
 */
import net from "node:net";

const [port = "", count = "", opening = ""] = process.argv.slice(2);
const bytes = Buffer.from(opening, "base64");
/** More at once would only fill the queue of the listening socket. */
const atOnce = 200;

let open = 0;
const failures = [];
let begun = 0;

function next() {
  if (begun === Number(count)) {
    if (open + failures.length === begun) process.send?.({ open, failures: failures.slice(0, 5) });
    return;
  }
  begun++;
  const socket = net.connect({ host: "127.0.0.1", port: Number(port) });
  let settled = false;
  const settle = (failure) => {
    if (settled) return;
    settled = true;
    if (failure === undefined) open++;
    else failures.push(failure);
    next();
  };
  socket.on("connect", () => socket.write(bytes, () => settle()));
  socket.on("error", (error) => settle(error.message));
  socket.on("data", () => undefined);
}

process.on("disconnect", () => process.exit());
for (let index = 0; index < Math.min(atOnce, Number(count)); index++) next();
