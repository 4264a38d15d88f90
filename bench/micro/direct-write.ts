/**
 * What a write costs by the stream and by the handle, in turns, in one process: `node --import tsx bench/micro/direct-write.ts`. 64 sockets
 * get 80 bytes each and a turn to be taken in; the processor time is that of the writes and of the ticks that follow them.
 */
import { once } from "node:events";
import net from "node:net";
import { directHandle, writeDirectly } from "../../src/base/direct-write.ts";

const socketCount = 64;
const messageBytes = 80;
const turnsPerBlock = 20;
const rounds = 200;
/** Until the compiler has seen enough. */
const warmUpRounds = 20;

const server = net.createServer((socket) => socket.resume());
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as net.AddressInfo;
const sockets: net.Socket[] = [];
for (let index = 0; index < socketCount; index++) {
  const socket = net.connect(port, "127.0.0.1");
  await once(socket, "connect");
  sockets.push(socket);
}
const bytes = Buffer.alloc(socketCount * messageBytes);
const written = (): void => undefined;
const writer = { onWriteEnded: written };

function writeByStream(socket: net.Socket, chunk: Buffer): void {
  socket.write(chunk, written);
}

function writeByHandle(socket: net.Socket, chunk: Buffer): void {
  const handle = directHandle((socket as unknown as { _handle: object })._handle);
  if (handle === undefined) throw new Error("this runtime has no handle to write to");
  writeDirectly(handle, chunk, writer);
}

/** Microseconds of processor time for a write. */
async function block(write: (socket: net.Socket, chunk: Buffer) => void): Promise<number> {
  let spent = 0;
  for (let turn = 0; turn < turnsPerBlock; turn++) {
    const before = process.cpuUsage();
    for (const [index, socket] of sockets.entries())
      write(socket, bytes.subarray(index * messageBytes, (index + 1) * messageBytes));
    await new Promise<void>((resolve) => process.nextTick(resolve));
    const { user, system } = process.cpuUsage(before);
    spent += user + system;
    for (let wait = 0; wait < 2; wait++) await new Promise((resolve) => setImmediate(resolve));
  }
  return spent / (turnsPerBlock * socketCount);
}

const ways = [
  { name: "stream", write: writeByStream, results: [] as number[] },
  { name: "handle", write: writeByHandle, results: [] as number[] },
];
for (let round = 0; round < warmUpRounds + rounds; round++) {
  for (const { write, results } of round % 2 === 0 ? ways : ways.toReversed()) {
    const microseconds = await block(write);
    if (round >= warmUpRounds) results.push(microseconds);
  }
}
for (const { name, results } of ways) {
  results.sort((a, b) => a - b);
  const least = results[0] ?? 0;
  const median = results[results.length >> 1] ?? 0;
  process.stdout.write(`${name}: least ${least.toFixed(2)}, median ${median.toFixed(2)} us a write\n`);
}
process.exit();
