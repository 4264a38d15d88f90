/**
 * A TCP proxy that does to a connection what networks do: delay, lose, cut, reset, tear apart, stall. It
 * stands between a pooler and a server, or a client and a pooler. A fault set is for connections that are open
 * and for those to come, from the next byte on.
 *
 * Each direction of a link is a queue of pieces with the time at which they may leave; one loop per direction
 * sends them in order. Reading pauses while the queue is long, so that pressure passes through.
 */
import { once } from "node:events";
import net from "node:net";

export interface Faults {
  /** Milliseconds by which each piece is late, in each direction. */
  readonly latencyMs: number;
  /** Bytes per write at most: pieces arrive torn apart. */
  readonly writeBytesMax: number;
  /** Nothing passes, and nobody is told: what is sent meanwhile is lost. */
  readonly drop: boolean;
  /** New connections are refused by the system: the port is closed. */
  readonly refuse: boolean;
  /** Bytes from the server, counted per connection, after which nothing more comes; the connection stays open. */
  readonly stallAfterBytes: number;
  /** Bytes from the server, counted per connection, after which the connection is cut. */
  readonly cutAfterBytes: number;
  /** Who is meant by the two above. */
  readonly direction: "from-server" | "from-client";
}

export interface FaultTarget {
  readonly host?: string;
  readonly port: number;
}

const harmless: Faults = {
  latencyMs: 0,
  writeBytesMax: Number.POSITIVE_INFINITY,
  drop: false,
  refuse: false,
  stallAfterBytes: Number.POSITIVE_INFINITY,
  cutAfterBytes: Number.POSITIVE_INFINITY,
  direction: "from-server",
};
const queuedBytesMax = 1024 * 1024;

export class FaultProxy {
  readonly host = "127.0.0.1";
  #port = 0;
  #target: FaultTarget;
  #faults: Faults = harmless;
  #server: net.Server | undefined;
  readonly #links = new Set<Link>();
  #accepted = 0;

  private constructor(target: FaultTarget) {
    this.#target = target;
  }

  /** Listens on a free port of the loopback address, without any fault. */
  static async start(target: FaultTarget): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    await proxy.#listen();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  /** Connections open now. */
  get connections(): number {
    return this.#links.size;
  }

  /** Connections accepted since the start. */
  get accepted(): number {
    return this.#accepted;
  }

  get faults(): Faults {
    return this.#faults;
  }

  /** Changes the faults that are named; the others stay. */
  async set(faults: Partial<Faults>): Promise<void> {
    this.#faults = { ...this.#faults, ...faults };
    if (this.#faults.refuse) await this.#closeListener();
    else await this.#listen();
  }

  /** Takes all faults away. What was dropped stays lost, what was stalled goes on. */
  async heal(): Promise<void> {
    this.#faults = harmless;
    for (const link of this.#links) link.advance();
    await this.#listen();
  }

  /** Where new connections lead from now on. */
  retarget(target: FaultTarget): void {
    this.#target = target;
  }

  /** Resets all open connections (RST), on both sides. */
  resetAll(): void {
    for (const link of this.#links) link.reset();
  }

  /** Closes all open connections in an orderly way (FIN), on both sides. */
  closeAll(): void {
    for (const link of this.#links) link.close();
  }

  async stop(): Promise<void> {
    for (const link of this.#links) link.reset();
    await this.#closeListener();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #listen(): Promise<void> {
    if (this.#server !== undefined) return;
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    this.#server = server;
    server.listen({ port: this.#port, host: this.host });
    await once(server, "listening");
    this.#port = (server.address() as net.AddressInfo).port;
  }

  async #closeListener(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    // Only the listener: connections that are open stay, and "close" would wait for them.
    const links = [...this.#links];
    server.close();
    if (links.length === 0) await once(server, "close");
  }

  #accept(client: net.Socket): void {
    this.#accepted++;
    const { host = "127.0.0.1", port } = this.#target;
    const server = net.connect({ host, port, allowHalfOpen: true, noDelay: true });
    const link = new Link(client, server, () => this.#faults);
    this.#links.add(link);
    link.onGone = () => this.#links.delete(link);
  }
}

/** One connection: two sockets, and a lane for each direction. */
class Link {
  onGone: () => void = () => undefined;
  readonly #sockets: readonly [client: net.Socket, server: net.Socket];
  readonly #lanes: readonly Lane[];

  constructor(client: net.Socket, server: net.Socket, faults: () => Faults) {
    this.#sockets = [client, server];
    const cut = (): void => this.close();
    this.#lanes = [
      new Lane(client, server, "from-client", faults, cut),
      new Lane(server, client, "from-server", faults, cut),
    ];
    for (const socket of this.#sockets) {
      // A broken half breaks the other: an error on one side arrives as a reset on the other.
      socket.on("error", () => this.reset());
      socket.on("close", () => {
        if (this.#sockets.every(({ destroyed }) => destroyed)) this.onGone();
      });
    }
  }

  advance(): void {
    for (const lane of this.#lanes) lane.advance();
  }

  reset(): void {
    for (const lane of this.#lanes) lane.stop();
    for (const socket of this.#sockets) {
      // A socket that never connected has nothing to reset.
      if (socket.connecting) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  close(): void {
    for (const lane of this.#lanes) lane.stop();
    for (const socket of this.#sockets) socket.destroy();
  }
}

interface Piece {
  /** Undefined: the end of the stream. */
  readonly bytes: Buffer | undefined;
  readonly dueMs: number;
}

/** One direction of a link. */
class Lane {
  readonly #source: net.Socket;
  readonly #sink: net.Socket;
  readonly #direction: Faults["direction"];
  readonly #faults: () => Faults;
  readonly #cut: () => void;
  readonly #pieces: Piece[] = [];
  #queuedBytes = 0;
  #sentBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(
    source: net.Socket,
    sink: net.Socket,
    direction: Faults["direction"],
    faults: () => Faults,
    cut: () => void,
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#direction = direction;
    this.#faults = faults;
    this.#cut = cut;
    source.on("data", (bytes: Buffer) => this.#take(bytes));
    source.on("end", () => this.#take(undefined));
    sink.on("drain", () => this.advance());
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Sends what may be sent now; asks to be woken for the rest. */
  advance(): void {
    clearTimeout(this.#timer);
    for (let piece = this.#pieces[0]; piece !== undefined && !this.#stopped; piece = this.#pieces[0]) {
      const waitMs = piece.dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.advance(), Math.ceil(waitMs));
        break;
      }
      if (this.#sink.writableNeedDrain || !this.#send(piece)) break;
    }
    if (this.#queuedBytes < queuedBytesMax) this.#source.resume();
  }

  #take(bytes: Buffer | undefined): void {
    const { drop, latencyMs } = this.#faults();
    if (this.#stopped || drop) return;
    this.#pieces.push({ bytes, dueMs: performance.now() + latencyMs });
    this.#queuedBytes += bytes?.length ?? 0;
    if (this.#queuedBytes >= queuedBytesMax) this.#source.pause();
    this.advance();
  }

  /** Sends a piece, or its beginning; false if nothing more can be sent now. */
  #send(piece: Piece): boolean {
    const { bytes } = piece;
    if (bytes === undefined) {
      this.#pieces.shift();
      this.#sink.end();
      return true;
    }
    const faults = this.#faults();
    const counted = faults.direction === this.#direction;
    const stallRoom = counted ? faults.stallAfterBytes - this.#sentBytes : Number.POSITIVE_INFINITY;
    if (stallRoom <= 0) return false;
    const cutRoom = counted ? faults.cutAfterBytes - this.#sentBytes : Number.POSITIVE_INFINITY;
    const length = Math.max(0, Math.min(bytes.length, faults.writeBytesMax, stallRoom, cutRoom));
    const rest = bytes.subarray(length);
    this.#pieces.shift();
    if (rest.length > 0) this.#pieces.unshift({ bytes: rest, dueMs: piece.dueMs });
    this.#queuedBytes -= length;
    this.#sentBytes += length;
    if (cutRoom <= length) {
      this.#sink.write(bytes.subarray(0, length), this.#cut);
      this.stop();
      return false;
    }
    this.#sink.write(bytes.subarray(0, length));
    if (faults.writeBytesMax === Number.POSITIVE_INFINITY || rest.length === 0) return true;
    // The next part in a turn of its own, else the system would join them.
    this.#timer = setTimeout(() => this.advance(), 0);
    return false;
  }
}
