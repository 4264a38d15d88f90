/** Transports over real sockets on the loopback interface, and what they tell. */
import { once } from "node:events";
import net from "node:net";
import { afterEach } from "vitest";
import { Transport } from "../../../src/base/transport.ts";

export const readBufferBytes = 8192;
export const servers: net.Server[] = [];
export const transports: Transport[] = [];

afterEach(() => {
  for (const transport of transports.splice(0)) transport.destroy();
  for (const server of servers.splice(0)) server.close();
});

/** Writes down what a transport tells, and lets a test wait for it. */
export class Recorder {
  chunks: Buffer[] = [];
  drains = 0;
  closes: (Error | undefined)[] = [];
  readonly transport: Transport;

  constructor(transport: Transport, keep: (chunk: Buffer) => Buffer = (chunk) => Buffer.from(chunk)) {
    this.transport = transport;
    transports.push(transport);
    transport.listener = {
      onData: (chunk) => this.chunks.push(keep(chunk)),
      onDrain: () => this.drains++,
      onClose: (error) => this.closes.push(error),
    };
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  get bytes(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export async function listen(
  target: net.ListenOptions = { host: "127.0.0.1", port: 0 },
): Promise<net.Server> {
  const server = net.createServer({ noDelay: true });
  servers.push(server);
  server.listen(target);
  await once(server, "listening");
  return server;
}

export function portOf(server: net.Server): number {
  return (server.address() as net.AddressInfo).port;
}

/** A connected pair: `near` connected, `far` was accepted. */
export async function pair(keep?: (chunk: Buffer) => Buffer): Promise<{ near: Recorder; far: Recorder }> {
  const server = await listen();
  const accepted = once(server, "connection") as Promise<[net.Socket]>;
  let connected = false;
  const transport = Transport.connect({ host: "127.0.0.1", port: portOf(server) }, readBufferBytes, () => {
    connected = true;
  });
  const near = new Recorder(transport, keep);
  const [socket] = await accepted;
  const far = new Recorder(Transport.accept(socket));
  await until(() => connected, "the connecting side knows");
  return { near, far };
}
