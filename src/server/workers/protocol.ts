/** What the primary process asks of its workers, and they of it. Everything here can be written as JSON. */
import type { Answer } from "../../admin/command.ts";
import type { ConsoleStatement, ShutdownWait, WorkerView } from "../../admin/context.ts";
import type { Config } from "../../config/schema.ts";
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

/** A cancel request; the key in hexadecimal. */
export interface CancelAsk {
  readonly pid: number;
  readonly key: string;
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
  reload: { ask: null; answer: void };
  change: { ask: { readonly name: string; readonly value: string }; answer: void };
  beginShutdown: { ask: ShutdownWait; answer: void };
  /** So many connections have ended since the last time. */
  ended: { ask: number; answer: void };
  state: { ask: PoolerState; answer: void };
};
