/**
 * A way to PostgreSQL on which cancel requests can be held back, so that a test decides what happens before
 * one arrives. Everything else passes as it comes.
 */
import { once } from "node:events";
import net from "node:net";

/** Where a packet says what it is, and what a cancel request says (pqcomm.h CANCEL_REQUEST_CODE). */
const codeOffset = 4;
const cancelRequestCode = 80_877_102;

interface Target {
  readonly host: string;
  readonly port: number;
}

export class CancelGate implements AsyncDisposable {
  readonly port: number;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly #held: (() => net.Socket)[] = [];
  #holds = false;
  #cancels = 0;

  private constructor(server: net.Server, target: Target) {
    this.#server = server;
    this.port = (server.address() as net.AddressInfo).port;
    server.on("connection", (socket) => this.#accept(socket, target));
  }

  static async start(target: Target): Promise<CancelGate> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true });
    server.listen({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    return new CancelGate(server, target);
  }

  /** Cancel requests that have come so far, held or not. */
  get cancels(): number {
    return this.#cancels;
  }

  /** Cancel requests that are held now. */
  get held(): number {
    return this.#held.length;
  }

  /** Holds cancel requests from now on. */
  hold(): void {
    this.#holds = true;
  }

  /**
   * Lets those that are held pass, also if their senders have given up; and all others from now on. Resolves
   * when PostgreSQL has acted on those that were held.
   */
  async release(): Promise<void> {
    this.#holds = false;
    await Promise.all(this.#held.splice(0).map((pass) => once(pass(), "end")));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(socket: net.Socket, target: Target): void {
    this.#keep(socket);
    socket.once("data", (first: Buffer) => {
      socket.pause();
      const pass = (): net.Socket => this.#pass(socket, first, target);
      if (first.length < codeOffset + 4 || first.readInt32BE(codeOffset) !== cancelRequestCode) {
        pass();
        return;
      }
      this.#cancels++;
      if (this.#holds) this.#held.push(pass);
      else pass();
    });
  }

  #pass(socket: net.Socket, first: Buffer, target: Target): net.Socket {
    const onward = net.connect({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true });
    this.#keep(onward);
    onward.write(first);
    if (socket.destroyed) {
      onward.end();
      onward.resume();
    } else {
      socket.pipe(onward);
      onward.pipe(socket);
    }
    return onward;
  }

  #keep(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => this.#sockets.delete(socket));
  }
}
