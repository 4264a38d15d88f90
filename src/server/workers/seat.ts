/** What a pooler is given when it is one of several workers: where it sits among them, and the way to them. */
import type { Fleet, ShutdownWait, WorkerView } from "../../admin/context.ts";
import type { CancelTarget } from "../../pool/cancel-registry.ts";
import type { Pool } from "../../pool/pool.ts";
import type { SessionPlaces } from "../../session/admission.ts";
import type { Alteration } from "../auto-databases.ts";
import type { Doors } from "../sockets.ts";
import type { PermitsOfPool } from "./permits.ts";
import type { PidChanges, PoolerState, SignalAsk } from "./protocol.ts";

export interface Seat extends Fleet {
  /** From 0. */
  readonly slot: number;
  readonly count: number;
  readonly doors: Doors;
  readonly mockKey: Buffer;
  /** What PAUSE and DISABLE had done when this worker was started. */
  readonly state: PoolerState;
  /** The limits on clients. */
  readonly sessions: SessionPlaces;
  /** The limits on servers. */
  permitsFor(database: string, user: string, nodeName: string, pool: () => Pool): PermitsOfPool;
  /** Clients have altered what those of other workers have to know. */
  onAltered(alteration: Alteration): void;
  /** Clients of auto mode have come and gone. */
  tellPids(changes: Omit<PidChanges, "slot">): void;
  /** To a client of another worker. */
  signal(ask: SignalAsk): void;
  /** The node that pools which follow the primary are on. */
  onPrimary(nodeName: string | undefined): void;
  onState(state: PoolerState): void;
  /** Who hands a cancel request to the worker whose key it is; undefined: the key is of this one. `otherwise`: nobody has it. */
  cancelTarget(
    pid: number,
    secret: Buffer,
    otherwise: () => CancelTarget | undefined,
  ): CancelTarget | undefined;
  workers(): Promise<readonly WorkerView[]>;
  reload(): Promise<void>;
  /** SET of the console. */
  change(name: string, value: string): Promise<void>;
  beginShutdown(wait: ShutdownWait): void;
}
