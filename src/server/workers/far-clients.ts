/**
 * Clients in auto mode of other workers, by the process ids that they were told: each worker tells the others of its own, through the primary. So one that runs
 * pg_cancel_backend() or pg_terminate_backend() knows whether the number means a client elsewhere. PostgreSQL is asked by a server of the same role that
 * stands in for it (session/auto/signals.ts); if it says yes, the worker whose client it is does it.
 */
import type { Pool } from "../../pool/pool.ts";
import type { Server } from "../../pool/server.ts";
import { type FarPids, nodeOf, onSameNode, type ToldClient } from "../../session/auto/pids.ts";
import type { PidChanges, SignalAsk, ToldPid } from "./protocol.ts";

/** Where they are told of, and where servers are found that stand in for them. */
export interface FarSurroundings {
  readonly pools: Iterable<Pool>;
  /** Who logs in to the servers of a pool; undefined: it is none of auto mode. */
  userOf(pool: Pool): string | undefined;
  tell(changes: Omit<PidChanges, "slot">): void;
  signal(ask: SignalAsk): void;
}

export class FarClients implements FarPids {
  readonly #around: FarSurroundings;
  readonly #byPid = new Map<number, FarPid[]>();
  #told: ToldPid[] = [];
  #gone: ToldPid[] = [];

  constructor(around: FarSurroundings) {
    this.#around = around;
  }

  // ---- own clients, for the others ----

  told(pid: number, client: ToldClient): void {
    this.#note(this.#told, pid, client);
  }

  gone(pid: number, client: ToldClient): void {
    this.#note(this.#gone, pid, client);
  }

  /** Many come and go at once. */
  #note(list: ToldPid[], pid: number, { pool, node }: ToldClient): void {
    const user = pool && this.#around.userOf(pool);
    if (user === undefined) return;
    if (this.#told.length + this.#gone.length === 0) setImmediate(() => this.#flush());
    list.push({ pid, user, node });
  }

  #flush(): void {
    const [told, gone] = [this.#told, this.#gone];
    this.#told = [];
    this.#gone = [];
    this.#around.tell({ told, gone });
  }

  // ---- those of others ----

  hear({ slot, told, gone }: PidChanges): void {
    for (const { pid, ...where } of told) {
      const others = this.#byPid.get(pid);
      if (others === undefined) this.#byPid.set(pid, [{ slot, ...where }]);
      else others.push({ slot, ...where });
    }
    if (gone === "all") this.#forget(slot);
    else for (const one of gone) this.#remove(slot, one);
  }

  #remove(slot: number, { pid, user, node }: ToldPid): void {
    const known = this.#byPid.get(pid) ?? [];
    const at = known.findIndex((one) => one.slot === slot && one.user === user && one.node === node);
    if (at >= 0) known.splice(at, 1);
    if (known.length === 0) this.#byPid.delete(pid);
  }

  #forget(slot: number): void {
    for (const [pid, known] of this.#byPid) {
      const left = known.filter((one) => one.slot !== slot);
      if (left.length === 0) this.#byPid.delete(pid);
      else this.#byPid.set(pid, left);
    }
  }

  find(pid: number, asking: Server, own: Pool): ToldClient | undefined {
    const where = nodeOf(asking);
    const far = this.#byPid.get(pid)?.find(({ node }) => node === "" || node === where);
    if (far === undefined) return undefined;
    const pool = this.#poolOf(far.user, asking, own);
    const signal = (terminates: boolean): void => this.#around.signal({ pid, terminates, ...far });
    return new FarClient(far, pool, signal);
  }

  /** A pool of the same role: one with an idle server if there is one, else the caller's own. */
  #poolOf(user: string, asking: Server, own: Pool): Pool | undefined {
    for (const pool of this.#around.pools) {
      if (this.#around.userOf(pool) !== user) continue;
      for (const server of pool.servers)
        if (server.state === "idle" && onSameNode(server, asking)) return pool;
    }
    return this.#around.userOf(own) === user ? own : undefined;
  }
}

interface FarPid extends Omit<ToldPid, "pid"> {
  /** The worker. */
  readonly slot: number;
}

class FarClient implements ToldClient {
  readonly pool: Pool | undefined;
  readonly node: string;
  readonly server: undefined;
  readonly ownServer: undefined;
  readonly #signal: (terminates: boolean) => void;

  constructor({ node }: FarPid, pool: Pool | undefined, signal: (terminates: boolean) => void) {
    this.node = node;
    this.pool = pool;
    this.#signal = signal;
  }

  cancel(): Promise<void> {
    this.#signal(false);
    return Promise.resolve();
  }

  fail(): void {
    this.#signal(true);
  }
}
