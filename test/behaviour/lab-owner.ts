/** A program that starts a lab in the folder of its first argument, says so, and waits to be killed. */
import { Lab } from "../../src/lab/index.ts";

const folder = process.argv[2];
const lab = await Lab.start({ standbys: 1, ...(folder === undefined ? {} : { folder }) });
process.stdout.write(`${JSON.stringify({ folder: lab.folder, pids: lab.nodes.map(({ pid }) => pid) })}\n`);
setInterval(() => undefined, 60_000);
