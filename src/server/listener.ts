/**
 * Accepts connections at the doors of the process: its sockets, or a door by which it is handed what another process has accepted. A failing
 * accept (no more file descriptors) is logged once and never ends the process; connections beyond a hard cap take the place of one that waits
 * to be refused, so that a flood of half-open logins costs bounded memory.
 */
import net from "node:net";
import type { Logger } from "../base/log.ts";
import { type AcceptedSocket, Transport, type TransportWatcher } from "../base/transport.ts";
import type { Settings } from "../config/schema.ts";
import { keepAliveOf } from "./socket-options.ts";
import type { Doors, SocketsListener } from "./sockets.ts";

export interface Accepted {
  readonly transport: Transport;
  /** Address and port as people write them, or `unix`. */
  readonly peer: string;
}

/** Accept failures of one kind are logged this often at most. */
const failureLogIntervalMs = 10_000;

export class Listener implements TransportWatcher, SocketsListener {
  readonly #settings: () => Settings;
  readonly #logger: Logger;
  readonly #onAccept: (accepted: Accepted) => void;
  /** Closes a connection that matters less than a new one; false if there is none. */
  readonly #makeRoom: () => boolean;
  readonly #doors: Doors;
  #openConnections = 0;
  /** Those of them that are being closed and whose clients have not closed their side yet. */
  readonly #ending = new Set<Transport>();
  #failureLoggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    settings: () => Settings,
    logger: Logger,
    onAccept: (accepted: Accepted) => void,
    makeRoom: () => boolean,
    doors: Doors,
  ) {
    this.#settings = settings;
    this.#logger = logger;
    this.#onAccept = onAccept;
    this.#makeRoom = makeRoom;
    this.#doors = doors;
  }

  get address(): Doors["address"] {
    return this.#doors.address;
  }

  get addresses(): readonly string[] {
    return this.#doors.addresses;
  }

  /** Connections that are open. */
  get openConnections(): number {
    return this.#openConnections;
  }

  open(): Promise<void> {
    return this.#doors.open(this);
  }

  /** Stops accepting; connections that were accepted live on. */
  close(): Promise<void> {
    return this.#doors.close();
  }

  closeShared(): void {
    this.#doors.closeShared();
  }

  onEnding(transport: Transport): void {
    this.#ending.add(transport);
  }

  onGone(transport: Transport): void {
    this.#openConnections--;
    this.#ending.delete(transport);
  }

  onSocket(socket: AcceptedSocket, local: boolean): void {
    if (this.#openConnections >= this.#connectionsMax && !this.#closeEnding() && !this.#makeRoom()) {
      this.onAcceptFailed("too many connections: closed unread");
      if (socket instanceof net.Socket) socket.destroy();
      else socket.close();
      return;
    }
    this.#openConnections++;
    const transport = Transport.accept(socket, this);
    const { remoteAddress, remotePort } = transport;
    if (remoteAddress === undefined && !local) {
      // Reset before it was accepted. It has no address any more, and must not be taken for a local client,
      // from whom no encryption is asked: what it had sent can still be read.
      transport.destroy();
      return;
    }
    if (remoteAddress !== undefined) {
      transport.setKeepAlive(keepAliveOf(this.#settings()));
    }
    const host = remoteAddress?.includes(":") === true ? `[${remoteAddress}]` : remoteAddress;
    this.#onAccept({ transport, peer: host === undefined ? "unix" : `${host}:${remotePort}` });
  }

  /** The client that takes longest to close its side is waited for no more. False if there is none. */
  #closeEnding(): boolean {
    const [oldest] = this.#ending;
    if (oldest === undefined) return false;
    this.#ending.delete(oldest);
    oldest.destroy();
    return true;
  }

  /** Room for sessions, logins and as many dead ends again. */
  get #connectionsMax(): number {
    const { max_client_conn, superuser_reserved_connections } = this.#settings();
    return 4 * (max_client_conn + superuser_reserved_connections) + 1000;
  }

  onAcceptFailed(reason: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#failureLoggedAtMs < failureLogIntervalMs) return;
    this.#failureLoggedAtMs = nowMs;
    this.#logger.error({ reason }, "accept failed");
  }
}
