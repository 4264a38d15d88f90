/**
 * Accepts connections on TCP and Unix sockets. A failing accept (no more file descriptors) is logged once
 * and never ends the process; connections beyond a hard cap take the place of one that waits to be refused,
 * so that a flood of half-open logins costs bounded memory.
 */
import { chmod, unlink } from "node:fs/promises";
import net from "node:net";
import { OperationError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { Transport, type TransportWatcher, unixSocketPath } from "../base/transport.ts";
import type { Settings } from "../config/schema.ts";
import { giveToGroup } from "./socket-group.ts";

export interface Accepted {
  readonly transport: Transport;
  /** Address and port as people write them, or `unix`. */
  readonly peer: string;
}

/** Accept failures of one kind are logged this often at most. */
const failureLogIntervalMs = 10_000;
/** Every address of the machine. */
const everywhere = "*";

export class Listener implements TransportWatcher {
  readonly #settings: () => Settings;
  readonly #logger: Logger;
  readonly #onAccept: (accepted: Accepted) => void;
  /** Closes a connection that matters less than a new one; false if there is none. */
  readonly #makeRoom: () => boolean;
  readonly #servers: net.Server[] = [];
  readonly #files: string[] = [];
  #openConnections = 0;
  /** Those of them that are being closed and whose clients have not closed their side yet. */
  readonly #ending = new Set<Transport>();
  #failureLoggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    settings: () => Settings,
    logger: Logger,
    onAccept: (accepted: Accepted) => void,
    makeRoom: () => boolean,
  ) {
    this.#settings = settings;
    this.#logger = logger;
    this.#onAccept = onAccept;
    this.#makeRoom = makeRoom;
  }

  /** The first TCP address, or the Unix socket if there is none. */
  get address(): { readonly host: string; readonly port: number } {
    for (const server of this.#servers) {
      const address = server.address();
      if (address !== null && typeof address === "object")
        return { host: address.address, port: address.port };
    }
    return { host: this.#settings().unix_socket_dir, port: this.#settings().listen_port };
  }

  /** All of them, as PgBouncer writes them: `127.0.0.1:6432`, `[::1]:6432`, `unix:/tmp/.s.PGSQL.6432`. */
  get addresses(): readonly string[] {
    return this.#servers.map((server) => {
      const address = server.address();
      if (address === null || typeof address === "string")
        return `unix:${(address ?? "").replace("\0", "@")}`;
      return `${address.family === "IPv6" ? `[${address.address}]` : address.address}:${address.port}`;
    });
  }

  /** Opens every socket; throws the system's error (EADDRINUSE, EACCES, …) and leaves none open. */
  async open(): Promise<void> {
    const settings = this.#settings();
    try {
      let port = settings.listen_port;
      for (const host of settings.listen_addr.split(",").map((part) => part.trim())) {
        if (host === "") continue;
        const address = host === everywhere ? {} : { host };
        const server = await this.#listen({ ...address, port, backlog: settings.listen_backlog });
        // Port 0 means any; all addresses then share the one that was found.
        const bound = server.address();
        if (port === 0 && bound !== null && typeof bound === "object") port = bound.port;
      }
      if (settings.unix_socket_dir !== "") await this.#openUnix(settings, port);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Stops accepting; connections that were accepted live on. */
  async close(): Promise<void> {
    for (const server of this.#servers.splice(0)) server.close();
    for (const file of this.#files.splice(0)) await unlink(file).catch(() => undefined);
  }

  async #openUnix(settings: Settings, port: number): Promise<void> {
    const path = unixSocketPath(settings.unix_socket_dir, port);
    const isFile = !path.startsWith("\0");
    if (isFile) await removeStaleSocket(path);
    await this.#listen({ path, backlog: settings.listen_backlog });
    if (!isFile) return;
    this.#files.push(path);
    if (settings.unix_socket_group !== "") await giveToGroup(path, settings.unix_socket_group);
    await chmod(path, Number.parseInt(settings.unix_socket_mode, 8));
  }

  #listen(options: net.ListenOptions): Promise<net.Server> {
    const server = net.createServer({ noDelay: true, pauseOnConnect: true }, (socket) =>
      this.#accept(socket, options.path !== undefined),
    );
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(options, () => {
        server.off("error", reject);
        server.on("error", (error) => this.#noteFailure(error.message));
        this.#servers.push(server);
        resolve(server);
      });
    });
  }

  onEnding(transport: Transport): void {
    this.#ending.add(transport);
  }

  onGone(transport: Transport): void {
    this.#openConnections--;
    this.#ending.delete(transport);
  }

  #accept(socket: net.Socket, local: boolean): void {
    if (this.#openConnections >= this.#connectionsMax && !this.#closeEnding() && !this.#makeRoom()) {
      this.#noteFailure("too many connections: closed unread");
      socket.destroy();
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
      const settings = this.#settings();
      transport.setKeepAlive({ enabled: settings.tcp_keepalive, idleSeconds: settings.tcp_keepidle });
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

  #noteFailure(reason: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#failureLoggedAtMs < failureLogIntervalMs) return;
    this.#failureLoggedAtMs = nowMs;
    this.#logger.error({ reason }, "accept failed");
  }
}

/** A socket file that nobody listens on is left over from a process that was killed. */
async function removeStaleSocket(path: string): Promise<void> {
  const inUse = await new Promise<boolean>((resolve) => {
    const probe = net.connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (inUse) {
    throw new OperationError(`another process listens on ${path}`, {
      code: "server.socket_in_use",
      sqlstate: "F0000",
      source: "internal",
    });
  }
  await unlink(path).catch(() => undefined);
}
