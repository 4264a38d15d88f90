/** The clients in auto mode of a whole pooler, by the process ids that they were told. */
import type { Failure } from "../../base/errors.ts";
import { NumberMap } from "../../base/number-map.ts";
import type { Pool } from "../../pool/pool.ts";
import type { Server } from "../../pool/server.ts";

/** What a signal does to a client. */
export interface SignalTarget {
  /** The server that it has for itself now. */
  readonly ownServer: Server | undefined;
  cancel(): Promise<void>;
  /** Ends its session; `words`: what it is told of that, if the failure does not say it all. */
  fail(failure: Failure, words?: Buffer): void;
}

/** A client that was told a process id. */
export interface ToldClient extends SignalTarget {
  /** Where servers of its role are; undefined: this process has none. */
  readonly pool: Pool | undefined;
  /** Its home. */
  readonly server: Server | undefined;
  /** The node that its process id is of; empty: that was not known at its login. */
  readonly node: string;
}

/** Clients of other workers, who hear of those of this one. */
export interface FarPids {
  told(pid: number, client: ToldClient): void;
  gone(pid: number, client: ToldClient): void;
  /** `own`: the pool of the client that asks. */
  find(pid: number, asking: Server, own: Pool): ToldClient | undefined;
}

export class Pids {
  readonly #clients = new NumberMap<ToldClient[]>();
  readonly #far: FarPids | undefined;

  /** `far`: there are other workers. */
  constructor(far?: FarPids) {
    this.#far = far;
  }

  add(pid: number, client: ToldClient): void {
    this.#far?.told(pid, client);
    const others = this.#clients.get(pid);
    if (others === undefined) this.#clients.set(pid, [client]);
    else others.push(client);
  }

  remove(pid: number, client: ToldClient): void {
    this.#far?.gone(pid, client);
    const others = this.#clients.get(pid);
    const index = others?.indexOf(client) ?? -1;
    if (index < 0) return;
    if (others?.length === 1) this.#clients.delete(pid);
    else others?.splice(index, 1);
  }

  /** The client that a process id is of, on the node of `asking`: nodes may have processes of the same ids. */
  find(pid: number, asking: Server, own: Pool): ToldClient | undefined {
    const clients = this.#clients.get(pid)?.filter((client) => isThere(client, asking));
    const near = clients?.find(({ server }) => server?.backendPid === pid) ?? clients?.[0];
    return near ?? this.#far?.find(pid, asking, own);
  }

  /** The client of this process that was told `pid` as one of `node`. */
  ofNode(pid: number, node: string): ToldClient | undefined {
    return this.#clients.get(pid)?.find((client) => client.node === node);
  }
}

/** Whether a client is one of the node of `asking`. */
function isThere({ server, ownServer, pool }: ToldClient, asking: Server): boolean {
  const known = ownServer ?? server;
  if (known !== undefined) return onSameNode(known, asking);
  for (const other of pool?.servers ?? []) if (onSameNode(other, asking)) return true;
  return false;
}

/** Where a server is. */
export function nodeOf({ connection: { endpoint } }: Server): string {
  const { host, address, port } = endpoint;
  // The same text for all clients of a node.
  if (lastNode.host !== host || lastNode.address !== address || lastNode.port !== port)
    lastNode = { host, address, port, name: JSON.stringify([host, address, port]) };
  return lastNode.name;
}

let lastNode: { host?: unknown; address?: unknown; port?: unknown; name: string } = { name: "" };

export function onSameNode(one: Server, other: Server): boolean {
  const [a, b] = [one.connection.endpoint, other.connection.endpoint];
  return a.host === b.host && a.address === b.address && a.port === b.port;
}
