/**
 * The own load driver as a process: options as JSON in the first argument, the result as one JSON line.
 *
 * It runs apart from the benchmark, so that the load does not share a thread with the measuring. For `idle` it
 * prints a line when all clients are in, and keeps them until its standard input ends.
 */
import { once } from "node:events";
import { type HeldClients, type LoadOptions, openAll, runLoad } from "./run-load.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as LoadOptions;

try {
  if (options.kind === "idle") await holdClients(options);
  else process.stdout.write(`${JSON.stringify(await runLoad(options))}\n`);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(1);
}

async function holdClients(held: LoadOptions): Promise<void> {
  const openedMs = performance.now();
  const connections = await openAll(held);
  const clients: HeldClients = { connectMs: performance.now() - openedMs };
  process.stdout.write(`${JSON.stringify(clients)}\n`);
  process.stdin.resume();
  await once(process.stdin, "end");
  for (const connection of connections) connection.close();
}
