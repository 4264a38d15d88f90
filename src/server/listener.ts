/**
 * Accepts connections on TCP and Unix sockets, its own or those that were passed to the process. A failing accept (no more file descriptors) is logged once
 * and never ends the process; connections beyond a hard cap take the place of one that waits to be refused,
 * so that a flood of half-open logins costs bounded memory.
 */
import { chmod, unlink } from "node:fs/promises";
import net from "node:net";
import { OperationError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { Transport, type TransportWatcher, unixSocketPath } from "../base/transport.ts";
import type { Settings } from "../config/schema.ts";
import { type InheritedSocket, inheritedFailure, unixPathOf } from "./inherited.ts";
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

/** A socket that is listened on. */
interface Listening {
  readonly server: net.Server;
  /** Undefined: it is a TCP socket. */
  readonly unixPath: string | undefined;
  /** Nobody else accepts here. */
  readonly own: boolean;
}

export class Listener implements TransportWatcher {
  readonly #settings: () => Settings;
  readonly #logger: Logger;
  readonly #onAccept: (accepted: Accepted) => void;
  /** Closes a connection that matters less than a new one; false if there is none. */
  readonly #makeRoom: () => boolean;
  readonly #inherited: readonly InheritedSocket[];
  readonly #listening: Listening[] = [];
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
    inherited: readonly InheritedSocket[] = [],
  ) {
    this.#settings = settings;
    this.#logger = logger;
    this.#onAccept = onAccept;
    this.#makeRoom = makeRoom;
    this.#inherited = inherited;
  }

  /** The first TCP address, or the Unix socket if there is none. */
  get address(): { readonly host: string; readonly port: number } {
    for (const { server } of this.#listening) {
      const address = server.address();
      if (address !== null && typeof address === "object")
        return { host: address.address, port: address.port };
    }
    return { host: this.#settings().unix_socket_dir, port: this.#settings().listen_port };
  }

  /** All of them, as PgBouncer writes them: `127.0.0.1:6432`, `[::1]:6432`, `unix:/tmp/.s.PGSQL.6432`. */
  get addresses(): readonly string[] {
    return this.#listening.map(({ server, unixPath }) => {
      if (unixPath !== undefined) return `unix:${unixPath}`;
      const { address, family, port } = server.address() as net.AddressInfo;
      return `${family === "IPv6" ? `[${address}]` : address}:${port}`;
    });
  }

  /** Opens every socket; throws the system's error (EADDRINUSE, EACCES, …) and leaves none open. */
  async open(): Promise<void> {
    try {
      if (this.#inherited.length > 0) await this.#openInherited();
      else await this.#openOwn(this.#settings());
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Stops accepting; connections that were accepted live on. */
  async close(): Promise<void> {
    for (const { server } of this.#listening.splice(0)) server.close();
    for (const file of this.#files.splice(0)) await unlink(file).catch(() => undefined);
  }

  /** Stops accepting where another process can take over; on a Unix socket of our own nobody can. */
  closeShared(): void {
    const open = this.#listening.splice(0);
    for (const listening of open) {
      if (listening.unixPath !== undefined && listening.own) this.#listening.push(listening);
      else listening.server.close();
    }
  }

  async #openOwn(settings: Settings): Promise<void> {
    const backlog = settings.listen_backlog;
    const sharing = settings.so_reuseport ? { reusePort: reusePort() } : {};
    let port = settings.listen_port;
    for (const host of settings.listen_addr.split(",").map((part) => part.trim())) {
      if (host === "") continue;
      const address = host === everywhere ? {} : { host };
      const server = await this.#listen({ ...address, ...sharing, port, backlog }, false);
      this.#listening.push({ server, unixPath: undefined, own: true });
      // Port 0 means any; all addresses then share the one that was found.
      const bound = server.address();
      if (port === 0 && bound !== null && typeof bound === "object") port = bound.port;
    }
    if (settings.unix_socket_dir !== "") await this.#openUnix(settings, port);
  }

  async #openUnix(settings: Settings, port: number): Promise<void> {
    const path = unixSocketPath(settings.unix_socket_dir, port);
    const isFile = !path.startsWith("\0");
    if (isFile) await removeStaleSocket(path);
    const server = await this.#listen({ path, backlog: settings.listen_backlog }, true);
    this.#listening.push({ server, unixPath: path.replace("\0", "@"), own: true });
    if (!isFile) return;
    this.#files.push(path);
    if (settings.unix_socket_group !== "") await giveToGroup(path, settings.unix_socket_group);
    await chmod(path, Number.parseInt(settings.unix_socket_mode, 8));
  }

  async #openInherited(): Promise<void> {
    const backlog = this.#settings().listen_backlog;
    for (const { descriptor, name } of this.#inherited) {
      const label = name === "" ? `${descriptor}` : `${descriptor} (${name})`;
      let server: net.Server;
      try {
        server = await this.#listen({ fd: descriptor, backlog } as net.ListenOptions, undefined);
      } catch (error) {
        throw inheritedFailure(`the passed descriptor ${label} is no socket to listen on`, error);
      }
      // Node knows no address of a Unix socket that it has not opened itself.
      const local = server.address() === null;
      const unixPath = local ? (unixPathOf(descriptor) ?? label) : undefined;
      this.#listening.push({ server, unixPath, own: false });
    }
    const settings = this.#settings();
    // What is passed, all the peers may have; this is where they reach us alone.
    if (settings.peer_id !== 0 && settings.unix_socket_dir !== "") {
      await this.#openUnix(settings, this.address.port);
    }
  }

  /** `local`: a Unix socket; undefined: known only when it is open. */
  #listen(options: net.ListenOptions, local: boolean | undefined): Promise<net.Server> {
    let isLocal = local === true;
    const server = net.createServer({ noDelay: true, pauseOnConnect: true }, (socket) =>
      this.#accept(socket, isLocal),
    );
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(options, () => {
        isLocal = local ?? server.address() === null;
        server.off("error", reject);
        server.on("error", (error) => this.#noteFailure(error.message));
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

/** True. Throws OperationError `server.so_reuseport` if this Node.js cannot share a port (it can from 22.12 and 23.1 on). */
function reusePort(): true {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12)) return true;
  throw new OperationError(
    `so_reuseport needs Node.js 22.12 or later, and this is ${process.versions.node}`,
    {
      code: "server.so_reuseport",
      sqlstate: "F0000",
      source: "internal",
      hint: "Use a newer Node.js, or let systemd hold the socket and pass it to every process (docs/operations.md).",
    },
  );
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
