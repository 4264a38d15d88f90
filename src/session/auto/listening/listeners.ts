/** The shared listener of one pool, and who waits for one. */
import type { Clock } from "../../../base/clock.ts";
import type { Pool } from "../../../pool/pool.ts";
import type { Server } from "../../../pool/server.ts";
import { SharedListener } from "./shared-listener.ts";

/** A client that keeps its server because there is no shared listener. */
export interface ReservedListening {
  /** There may be one now. */
  retry(): void;
}

export class Listeners {
  readonly #pool: Pool;
  readonly #clock: Clock;
  /** A server of this process by its backend's pid. */
  readonly #serverOf: (pid: number, besides: Server) => Server | undefined;
  #current: SharedListener | undefined;
  readonly #made = new Set<SharedListener>();
  /** Clients that keep a server because there is no shared listener. */
  readonly #reserved = new Set<ReservedListening>();

  constructor(pool: Pool, clock: Clock, serverOf: (pid: number, besides: Server) => Server | undefined) {
    this.#pool = pool;
    this.#clock = clock;
    this.#serverOf = serverOf;
  }

  /** For clients that come now; one that takes nobody new goes on for those it has. */
  get current(): SharedListener {
    if (this.#current === undefined || this.#current.over) {
      this.#current = new SharedListener(this.#pool.listening, this.#clock, this.pidFor);
      for (const listener of this.#made) if (listener.closed) this.#made.delete(listener);
      this.#made.add(this.#current);
    }
    return this.#current;
  }

  /** Those that clients listen by: more than one while one is being replaced. */
  get used(): readonly SharedListener[] {
    for (const listener of this.#made) if (listener.closed) this.#made.delete(listener);
    return [...this.#made].filter(({ channels }) => channels.length > 0);
  }

  /** How many clients keep a server for want of one. */
  get reservedCount(): number {
    return this.#reserved.size;
  }

  /** The pid by which clients know who has notified: a client's, if the server is ours and worked for one. */
  readonly pidFor = (pid: number, receiver: Server): number =>
    this.#serverOf(pid, receiver)?.notifierPid ?? pid;

  noteReserved(client: ReservedListening, reserved: boolean): void {
    if (reserved) this.#reserved.add(client);
    else this.#reserved.delete(client);
  }

  /** Connections may be lost without a word; a place may have come free, or the node be there again. */
  tick(): void {
    for (const listener of this.#made) listener.tick(this.#pool.settings.serverConnectTimeoutMs);
    if (this.#reserved.size === 0 || !this.#pool.listening.mayOpen) return;
    for (const client of [...this.#reserved]) client.retry();
  }
}

/** Whether both are connections to one host. */
export function isSameHost(one: Server | undefined, other: Server): boolean {
  const a = one?.connection.endpoint;
  const b = other.connection.endpoint;
  return a !== undefined && a.address === b.address && a.port === b.port;
}
