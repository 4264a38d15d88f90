/** What the primary process asks of its workers, and they of it. Everything here can be written as JSON. */
import type { Answer } from "../../admin/command.ts";
import type { ConsoleStatement, ShutdownWait, WorkerView } from "../../admin/context.ts";
import type { Config } from "../../config/schema.ts";
import type { SessionOwner, SessionVerdict } from "../../session/admission.ts";
import type { Alteration } from "../auto-databases.ts";
import type { PauseState } from "../pools.ts";
import type { ShutdownMode } from "../shutdown.ts";
import type { PlainFailure } from "./link.ts";

/** What a worker is told first. */
export interface WorkerStart {
  /** Which worker it is, from 0, of how many. */
  readonly slot: number;
  readonly count: number;
  readonly config: Config;
  /** What PAUSE and DISABLE of the console have left. */
  readonly state: PoolerState;
  /** Where the salts of made-up secrets come from, in hexadecimal: the same in all of them, or their clients could tell them apart. */
  readonly mockKey: string;
  /** Nothing goes to standard error. */
  readonly quiet: boolean;
}

/** What the console has done to databases. */
export interface PoolerState extends PauseState {
  readonly disabled: readonly string[];
}

/** How a worker is doing. */
export interface WorkerStatus {
  readonly connections: number;
  readonly clients: number;
  readonly servers: number;
  readonly waiting: number;
}

/** What one worker, counted from 1, made of a statement: either of the two. */
export interface PlainAnswer {
  readonly worker: number;
  readonly answer?: Answer;
  readonly failure?: PlainFailure;
}

/** Whose servers a pool has: those of a database, as clients call it, and a user on a node; empty: on the primary. */
export interface PoolSubject {
  readonly database: string;
  readonly user: string;
  readonly nodeName: string;
}

/** What one pool of a worker wants: `count` servers, for clients of which the first has waited so long. */
export interface WantAsk extends PoolSubject {
  /** The worker's number of the pool. */
  readonly id: number;
  readonly count: number;
  readonly waitedMs: number;
  /** Servers that it will hand out soon. */
  readonly coming: number;
}

/** A connection that nobody waits for; `beside`: it is not of the pool's servers. */
export interface SpareAsk extends PoolSubject {
  readonly id: number;
  readonly beside: boolean;
}

/** A limit, by its key and the setting that it comes from. */
export interface LimitName {
  readonly key: string;
  readonly name: string;
}

/** Idle servers under these limits are to be closed. */
export interface EvictAsk {
  readonly limits: readonly LimitName[];
  /** Also those that were used a moment ago. */
  readonly urgent: boolean;
  /** The worker's own pool that they are wanted for. */
  readonly except: number | undefined;
}

/** A pool that has waited for a place in vain. */
export interface HungryPool {
  /** The primary's number of it. */
  readonly number: number;
  /** Those that leave no place for it. */
  readonly limits: readonly LimitName[];
  /** The key of its `pool_size`; how many servers all processes have under it, and how many its own has. */
  readonly group: string;
  readonly groupSize: number;
  readonly size: number;
  /** How long its first client has waited, and how long it has wanted a place. */
  readonly waitedMs: number;
  readonly hungryMs: number;
  /** The worker's own pool, if it is that. */
  readonly own: number | undefined;
  /** It is no pool: there are more servers than there may be. */
  readonly tooMany: boolean;
}

/** A client that has logged in and wants a place. */
export interface AdmitAsk {
  /** The worker's number of it. */
  readonly id: number;
  readonly owner: SessionOwner;
  readonly isAdministrator: boolean;
}

/** A cancel request; the key in hexadecimal. */
export interface CancelAsk {
  readonly pid: number;
  readonly key: string;
}

/** A process id that a client in auto mode was told; `user`: who logs in to its servers. */
export interface ToldPid {
  readonly pid: number;
  readonly user: string;
  /** Where its server is; empty: that is not known. */
  readonly node: string;
}

/** Clients of a worker that have come and gone. */
export interface PidChanges {
  readonly slot: number;
  readonly told: readonly ToldPid[];
  readonly gone: readonly ToldPid[] | "all";
}

/** pg_cancel_backend(), or pg_terminate_backend(), for a client of the worker `slot`. */
export interface SignalAsk {
  readonly slot: number;
  readonly pid: number;
  readonly node: string;
  readonly terminates: boolean;
}

export type ToWorker = {
  /** Answered when it can serve clients. */
  start: { ask: WorkerStart; answer: void };
  /** With a connection; answered when it is taken. */
  connection: { ask: { readonly local: boolean }; answer: void };
  /** Reads everything that a configuration names. */
  prepare: { ask: Config; answer: void };
  /** Puts in force what was prepared. */
  apply: { ask: null; answer: void };
  command: { ask: ConsoleStatement; answer: Answer };
  /** Answered when it is carried out; false: the key is none of this worker's. */
  cancel: { ask: CancelAsk; answer: boolean };
  /** A server may be opened for this pool. */
  grant: { ask: number; answer: void };
  /** Answered with how many were closed. */
  evict: { ask: EvictAsk; answer: number };
  /** All that starve now. */
  hungry: { ask: readonly HungryPool[]; answer: void };
  /** Clients of another worker have. */
  altered: { ask: Alteration; answer: void };
  pids: { ask: PidChanges; answer: void };
  signal: { ask: SignalAsk; answer: void };
  status: { ask: null; answer: WorkerStatus };
  /** What PAUSE and DISABLE have left while it was started. */
  assume: { ask: PoolerState; answer: void };
  pause: { ask: null; answer: void };
  resume: { ask: null; answer: void };
  reopenLogs: { ask: null; answer: void };
  shutdown: { ask: ShutdownMode; answer: void };
  beginShutdown: { ask: ShutdownWait; answer: void };
};

export type ToPrimary = {
  /** Has a statement of the console carried out by every worker. */
  everywhere: { ask: ConsoleStatement; answer: readonly PlainAnswer[] };
  workers: { ask: null; answer: readonly WorkerView[] };
  /** Answered when it is carried out; false: nobody knows the key. */
  cancel: { ask: CancelAsk; answer: boolean };
  want: { ask: WantAsk; answer: void };
  /** Leave for one connection that nobody waits for; false: there is no place. */
  spare: {
    ask: SpareAsk;
    answer: boolean;
  };
  /** A server is about to be closed for the hungry pool of this number. */
  yields: { ask: number; answer: void };
  /** Clients have altered what those of other workers have to know. */
  altered: { ask: Alteration; answer: void };
  pids: { ask: Omit<PidChanges, "slot">; answer: void };
  signal: { ask: SignalAsk; answer: void };
  /** The node that is the primary now; null: none is. */
  primary: { ask: string | null; answer: void };
  /** So many connections of a pool are gone, or were not opened. */
  gone: { ask: Pick<WantAsk, "id" | "count">; answer: void };
  admit: { ask: AdmitAsk; answer: SessionVerdict };
  /** A client that was admitted has left. */
  leave: { ask: number; answer: void };
  reload: { ask: null; answer: void };
  change: { ask: { readonly name: string; readonly value: string }; answer: void };
  beginShutdown: { ask: ShutdownWait; answer: void };
  /** So many connections have ended since the last time. */
  ended: { ask: number; answer: void };
  state: { ask: PoolerState; answer: void };
};
