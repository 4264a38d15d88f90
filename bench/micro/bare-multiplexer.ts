/**
 * The bound for statement multiplexing in Node: a program that only pipelines.
 *
 * It opens its servers itself, answers every login with what the first server said, takes each chunk of a client for one
 * whole Query, and sends at the end of the turn of the event loop what has come in it, to one server after the other. It
 * classifies nothing, checks nothing, and has no limits: what a pooler does on top comes on top of its figures.
 *
 *   node --import tsx bench/micro/bare-multiplexer.ts '{"port":5432,"listen":6543,"user":"postgres","database":"bench","servers":4,"depth":16}'
 */
import net from "node:net";
import { protocolVersion30 } from "../../src/wire/constants.ts";
import { encodeStartup } from "../../src/wire/index.ts";
import { readAccepted, reader } from "./read-modes.ts";

interface Options {
  /** Where PostgreSQL listens on 127.0.0.1; it must trust the user. */
  readonly port: number;
  readonly listen: number;
  readonly user: string;
  readonly database: string;
  readonly servers: number;
  /** Units in one pipeline before the next server is used. */
  readonly depth: number;
}

interface Unit {
  readonly client: net.Socket;
  readonly query: Buffer;
}

interface Server {
  readonly socket: net.Socket;
  readonly waiting: net.Socket[];
  /** A reply that has come in part. */
  rest: Buffer | undefined;
}

const options = JSON.parse(process.argv[2] ?? "{}") as Options;
const readyForQuery = 0x5a;
const terminate = 0x58;
const servers: Server[] = [];
let arrived: Unit[] = [];
let due = false;

const welcome = await Promise.all(Array.from({ length: options.servers }, () => openServer()));
const listener = net.createServer({ noDelay: true, pauseOnConnect: true }, serve);
listener.listen({ port: options.listen, host: "127.0.0.1", backlog: 4096 });

function serve(accepted: net.Socket): void {
  let welcomed = false;
  const client: net.Socket = readAccepted(accepted, "shared", (chunk) => {
    if (welcomed && chunk[0] === terminate) {
      client.end();
    } else if (welcomed) {
      arrived.push({ client, query: Buffer.from(chunk) });
      if (!due) {
        due = true;
        setImmediate(send);
      }
    } else if (chunk.readUInt32BE(4) === 80_877_103) {
      client.write("N");
    } else {
      welcomed = true;
      client.write(welcome[0] as Buffer);
    }
    return true;
  });
  client.on("error", () => client.destroy());
  client.on("end", () => client.end());
}

/** What has come in this turn. */
function send(): void {
  due = false;
  const units = arrived;
  arrived = [];
  let next = 0;
  for (const server of servers) {
    const room = options.depth - server.waiting.length;
    if (room <= 0 || next >= units.length) continue;
    const batch = units.slice(next, next + room);
    next += batch.length;
    for (const { client } of batch) server.waiting.push(client);
    server.socket.write(
      batch.length === 1 ? (batch[0] as Unit).query : Buffer.concat(batch.map((unit) => unit.query)),
    );
  }
  if (next < units.length) arrived.push(...units.slice(next));
}

function onReplies(server: Server, chunk: Buffer): boolean {
  const bytes = server.rest === undefined ? Buffer.from(chunk) : Buffer.concat([server.rest, chunk]);
  let unitStart = 0;
  let at = 0;
  while (at + 5 <= bytes.length) {
    const end = at + 1 + bytes.readUInt32BE(at + 1);
    if (end > bytes.length) break;
    if (bytes[at] === readyForQuery) {
      server.waiting.shift()?.write(bytes.subarray(unitStart, end));
      unitStart = end;
    }
    at = end;
  }
  server.rest = unitStart < bytes.length ? bytes.subarray(unitStart) : undefined;
  if (arrived.length > 0 && !due) {
    due = true;
    setImmediate(send);
  }
  return true;
}

async function openServer(): Promise<Buffer> {
  let resolve: (welcome: Buffer) => void = () => undefined;
  const promise = new Promise<Buffer>((done) => {
    resolve = done;
  });
  let hello: Buffer | undefined = Buffer.alloc(0);
  const socket: net.Socket = net.connect({
    host: "127.0.0.1",
    port: options.port,
    noDelay: true,
    onread: reader("onread", (chunk) => {
      if (hello === undefined) return onReplies(server, chunk);
      hello = Buffer.concat([hello, chunk]);
      if (hello.at(-6) === readyForQuery) {
        resolve(hello);
        hello = undefined;
        servers.push(server);
      }
      return true;
    }),
  });
  const server: Server = { socket, waiting: [], rest: undefined };
  socket.write(
    encodeStartup(protocolVersion30, [
      ["user", options.user],
      ["database", options.database],
    ]),
  );
  return promise;
}
