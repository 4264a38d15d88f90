/**
 * The sockets that are listened on: TCP and Unix sockets, our own or those that were passed to the process. Whoever connects is handed on
 * as it is, not yet read from.
 */
import { chmod, unlink } from "node:fs/promises";
import net from "node:net";
import type { Descriptors } from "../base/descriptors.ts";
import { OperationError } from "../base/errors.ts";
import { type AcceptedHandle, acceptHandles } from "../base/handle-stream.ts";
import type { AcceptedSocket } from "../base/transport.ts";
import { unixSocketPath } from "../base/unix-socket.ts";
import type { Settings } from "../config/schema.ts";
import { type InheritedSocket, inheritedFailure, unixPathOf } from "./inherited.ts";
import { giveToGroup } from "./socket-group.ts";

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

/** Who takes what comes. */
export interface SocketsListener {
  /** `local`: it came by a Unix socket. */
  onSocket(socket: AcceptedSocket, local: boolean): void;
  onAcceptFailed(reason: string): void;
}

/** Where clients come in. */
export interface Doors {
  /** The first TCP address, or the Unix socket if there is none. */
  readonly address: { readonly host: string; readonly port: number };
  /** All of them, as PgBouncer writes them: `127.0.0.1:6432`, `[::1]:6432`, `unix:/tmp/.s.PGSQL.6432`. */
  readonly addresses: readonly string[];
  /** Opens every socket; throws the system's error (EADDRINUSE, EACCES, …) and leaves none open. */
  open(listener: SocketsListener): Promise<void>;
  /** Nobody comes in any more. */
  close(): Promise<void>;
  /** Nobody comes in where another process can take over; on a Unix socket of our own nobody can. */
  closeShared(): void;
}

export class Sockets implements Doors {
  readonly #settings: () => Settings;
  readonly #inherited: readonly InheritedSocket[];
  readonly #descriptors: Descriptors | undefined;
  readonly #listening: Listening[] = [];
  readonly #files: string[] = [];
  /** What ends the accepting by descriptors, to be done before a server is closed. */
  readonly #stops = new Map<net.Server, () => void>();
  #listener: SocketsListener | undefined;

  /** `descriptors`: who accepts in Node's place. */
  constructor(
    settings: () => Settings,
    inherited: readonly InheritedSocket[] = [],
    descriptors?: Descriptors,
  ) {
    this.#settings = settings;
    this.#inherited = inherited;
    this.#descriptors = descriptors;
  }

  get address(): { readonly host: string; readonly port: number } {
    for (const { server } of this.#listening) {
      const address = server.address();
      if (address !== null && typeof address === "object")
        return { host: address.address, port: address.port };
    }
    return { host: this.#settings().unix_socket_dir, port: this.#settings().listen_port };
  }

  get addresses(): readonly string[] {
    return this.#listening.map(({ server, unixPath }) => {
      if (unixPath !== undefined) return `unix:${unixPath}`;
      const { address, family, port } = server.address() as net.AddressInfo;
      return `${family === "IPv6" ? `[${address}]` : address}:${port}`;
    });
  }

  async open(listener: SocketsListener): Promise<void> {
    this.#listener = listener;
    try {
      if (this.#inherited.length > 0) await this.#openInherited();
      else await this.#openOwn(this.#settings());
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const { server } of this.#listening.splice(0)) this.#closeServer(server);
    for (const file of this.#files.splice(0)) await unlink(file).catch(() => undefined);
  }

  closeShared(): void {
    const open = this.#listening.splice(0);
    for (const listening of open) {
      if (listening.unixPath !== undefined && listening.own) this.#listening.push(listening);
      else this.#closeServer(listening.server);
    }
  }

  #closeServer(server: net.Server): void {
    this.#stops.get(server)?.();
    this.#stops.delete(server);
    server.close();
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
      this.#listener?.onSocket(socket, isLocal),
    );
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(options, () => {
        isLocal = local ?? server.address() === null;
        server.off("error", reject);
        const onFailed = (error: Error): void => this.#listener?.onAcceptFailed(error.message);
        server.on("error", onFailed);
        // A socket that Node makes is taken apart again, at half of what a connection costs.
        const onAccept = (accepted: AcceptedSocket): void => this.#listener?.onSocket(accepted, isLocal);
        acceptHandles(server, onAccept, onFailed);
        this.#acceptByDescriptor(server, onAccept, onFailed);
        resolve(server);
      });
    });
  }

  /** If this process reads descriptors, no handle is made for a connection: another half of what is left. */
  #acceptByDescriptor(
    server: net.Server,
    onAccept: (accepted: AcceptedSocket) => void,
    onFailed: (error: Error) => void,
  ): void {
    const descriptors = this.#descriptors;
    const { _handle: handle } = server as unknown as { _handle?: AcceptedHandle | null };
    if (descriptors === undefined || handle === undefined || handle === null) return;
    let stop: (() => void) | undefined;
    // libuv watches a new socket from the next time on that it waits, and it has to, in order to be made to stop: it waits between the two.
    let begun = setImmediate(() => {
      begun = setImmediate(() => {
        stop = descriptors.accept(handle, onAccept, onFailed);
      });
    });
    this.#stops.set(server, () => {
      clearImmediate(begun);
      stop?.();
    });
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
