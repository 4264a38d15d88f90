/**
 * SHOW MEM: the memory of the process, in pieces of 1 KiB. PgBouncer lists its caches of objects here; Node has none
 * that could be told apart.
 */
import { type Command, showCommand } from "../command.ts";
import { columnsOf, type Row } from "../result.ts";

const columns = columnsOf(["text", "name"], ["int4", "size", "used", "free", "memtotal"]);
const pieceBytes = 1024;
/** Of the column's type. */
const totalMax = 2 ** 31 - 1;

export const showMem: Command<undefined> = showCommand("MEM", columns, () => {
  const { heapUsed, heapTotal, arrayBuffers, rss } = process.memoryUsage();
  return [
    rowOf("heap", heapUsed, heapTotal),
    rowOf("buffers", arrayBuffers, arrayBuffers),
    rowOf("process", rss, rss),
  ];
});

function rowOf(name: string, usedBytes: number, totalBytes: number): Row {
  const used = Math.ceil(usedBytes / pieceBytes);
  const total = Math.max(used, Math.ceil(totalBytes / pieceBytes));
  return [name, pieceBytes, used, total - used, Math.min(total * pieceBytes, totalMax)];
}
