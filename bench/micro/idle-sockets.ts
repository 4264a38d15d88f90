/**
 * Memory per accepted socket that is idle after one exchange, by the way it is read.
 *
 *   node --expose-gc --import tsx bench/micro/idle-sockets.ts [SOCKETS]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { hookAccept, type ReadMode, readAccepted, usesHandle } from "./read-modes.ts";

const modes: readonly ReadMode[] = ["data", "onread", "shared", "shared-patch", "shared-hook"];
const [, file, role = "10000", mode = "data", count = "0"] = process.argv;

if (role === "serve") await serve(mode as ReadMode, Number(count));
else await compare(Number(role));

/** One process per mode accepts; this one connects. */
async function compare(sockets: number): Promise<void> {
  for (const each of modes) {
    const child = fork(fileURLToPath(`file://${file}`), ["serve", each, String(sockets)], {
      execArgv: [...process.execArgv, "--expose-gc"],
    });
    const [{ port }] = (await once(child, "message")) as [{ port: number }];
    const opened: net.Socket[] = [];
    for (let index = 0; index < sockets; index++) {
      const socket = net.connect(port, "127.0.0.1");
      await once(socket, "connect");
      socket.write("x".repeat(100));
      await once(socket, "data");
      opened.push(socket);
    }
    child.send("measure");
    const [{ bytes }] = (await once(child, "message")) as [{ bytes: number }];
    console.log(`${each.padEnd(14)}${bytes.toFixed(0).padStart(7)} bytes per socket`);
    for (const socket of opened) socket.destroy();
    child.disconnect();
    await once(child, "exit");
  }
}

async function serve(readMode: ReadMode, sockets: number): Promise<void> {
  const accepted: net.Socket[] = [];
  const server = net.createServer({ noDelay: true, pauseOnConnect: usesHandle(readMode) }, (socket) => {
    answer((onBytes) => readAccepted(socket, readMode, onBytes));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  if (readMode === "shared-hook") hookAccept(server, true, answer);
  await collected();
  const before = process.memoryUsage.rss();
  process.send?.({ port: (server.address() as net.AddressInfo).port });
  await once(process, "message");
  await collected();
  process.send?.({ bytes: (process.memoryUsage.rss() - before) / sockets });
  process.on("disconnect", () => process.exit(0));

  function answer(take: (onBytes: (chunk: Buffer) => boolean) => net.Socket): void {
    const socket: net.Socket = take((chunk) => {
      socket.write(Buffer.from(chunk));
      return true;
    });
    socket.on("error", () => socket.destroy());
    accepted.push(socket);
  }
}

async function collected(): Promise<void> {
  for (let time = 0; time < 3; time++) {
    globalThis.gc?.();
    await sleep(200);
  }
}
