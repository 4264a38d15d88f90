/**
 * One of several workers: a pooler whose connections come from the primary process, one by one, and whose console speaks for all of them. It ends when the
 * primary says so, or when that is gone: without it nobody would come, and no limit would hold.
 */
import type { Answer } from "../../admin/command.ts";
import type { ConsoleStatement, ShutdownWait, WorkerAnswer, WorkerView } from "../../admin/context.ts";
import { prepare } from "../../admin/execution.ts";
import { type AcceptedHandle, asAccepted } from "../../base/handle-stream.ts";
import type { Logger } from "../../base/log.ts";
import type { Config } from "../../config/schema.ts";
import { type CancelTarget, slotOfKey } from "../../pool/cancel-registry.ts";
import type { SessionOwner, SessionVerdict } from "../../session/admission.ts";
import { Pooler } from "../app.ts";
import type { Doors, SocketsListener } from "../sockets.ts";
import { type Handlers, Link, type Port, unpackFailure } from "./link.ts";
import { PermitDesks } from "./permits.ts";
import type { PoolerState, ToPrimary, ToWorker, WorkerStart, WorkerStatus } from "./protocol.ts";
import type { Seat } from "./seat.ts";

/** What a worker needs of the program around it. */
export interface WorkerSurroundings {
  /** Where its log goes. */
  openLogs(start: WorkerStart): WorkerLogs;
  /** The worker has done its work: the process may end. */
  onEnded(): void;
}

export interface WorkerLogs {
  readonly logger: Logger;
  /** Another configuration is in force. */
  follow(config: Config): void;
  /** Files may have been moved away. */
  reopen(): void;
}

/** How often the primary is told of connections that have ended. */
const endedIntervalMs = 100;

/** Serves until the primary ends it. `port`: the process itself. */
export function serveAsWorker(
  port: Port & { once(event: "disconnect", listener: () => void): unknown },
  surroundings: WorkerSurroundings,
): void {
  const worker = new Worker(port, surroundings);
  port.once("disconnect", () => worker.onPrimaryGone());
}

class Worker {
  readonly #surroundings: WorkerSurroundings;
  readonly #link: Link<ToPrimary, ToWorker>;
  readonly #permits: PermitDesks;
  readonly #connections = new HandedConnections();
  #logs: WorkerLogs | undefined;
  #pooler: Pooler | undefined;
  #apply: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;
  #lastAdmitted = 0;

  constructor(port: Port, surroundings: WorkerSurroundings) {
    this.#surroundings = surroundings;
    this.#link = new Link(port, this.#handlers());
    this.#permits = new PermitDesks(this.#link);
  }

  onPrimaryGone(): void {
    if (this.#ended) return;
    this.#link.close();
    this.#logs?.logger.error({}, "the primary process is gone: this worker ends");
    if (this.#pooler === undefined) this.#surroundings.onEnded();
    else void this.#pooler.shutdown("fast");
  }

  #handlers(): Handlers<ToWorker> {
    return {
      start: (start) => this.#start(start),
      connection: ({ local }, { handle }) => this.#connections.take(handle, local),
      prepare: async (config) => {
        this.#apply = await this.#own.inside.prepare(config);
      },
      apply: () => this.#apply?.(),
      command: (statement, { signal }) => this.#run(statement, signal),
      cancel: async ({ pid, key }) => {
        const target = this.#own.inside.cancels.find(pid, Buffer.from(key, "hex"));
        await target?.cancel();
        return target !== undefined;
      },
      grant: (id) => this.#permits.grant(id),
      evict: (ask) => this.#permits.evict(ask),
      hungry: (pools) => this.#permits.hear(pools),
      altered: (alteration) => this.#own.inside.autoDatabases.learn(alteration),
      pids: (changes) => this.#own.inside.autoDatabases.hearPids(changes),
      signal: (ask) => this.#own.inside.autoDatabases.signal(ask),
      status: () => this.#status(),
      assume: (state) => this.#own.inside.consoles.assume(state),
      pause: () => this.#own.pauseServers(),
      resume: () => this.#own.resumeServers(),
      reopenLogs: () => this.#logs?.reopen(),
      shutdown: (mode) => this.#own.shutdown(mode),
      beginShutdown: (wait) => this.#own.beginShutdown(wait),
    };
  }

  /** The primary asks for nothing else before it has heard that this is there. */
  get #own(): Pooler {
    return this.#pooler as Pooler;
  }

  async #start(start: WorkerStart): Promise<void> {
    const logs = this.#surroundings.openLogs(start);
    this.#logs = logs;
    const pooler = await Pooler.start(start.config, {
      logger: logs.logger,
      seat: this.#seat(start),
      onConfigured: (config) => logs.follow(config),
    });
    this.#pooler = pooler;
    this.#timer = setInterval(() => this.#tellEnded(), endedIntervalMs);
    void pooler.ended.then(() => {
      this.#ended = true;
      clearInterval(this.#timer);
      this.#surroundings.onEnded();
    });
  }

  #tellEnded(): void {
    const count = this.#connections.endedSince(this.#own.inside.listener.openConnections);
    if (count > 0) this.#link.tell("ended", count);
  }

  #run({ part, whole, administrator }: ConsoleStatement, signal: AbortSignal): Promise<Answer> {
    return prepare(part, whole, false).execute(this.#own.inside.consoles, { administrator, signal });
  }

  #status(): WorkerStatus {
    const { counts, inside } = this.#own;
    const connections = inside.listener.openConnections;
    return { connections, clients: counts.sessions, servers: counts.servers, waiting: counts.waiting };
  }

  #seat({ slot, count, mockKey, state }: WorkerStart): Seat {
    const link = this.#link;
    return {
      slot,
      count,
      doors: this.#connections,
      mockKey: Buffer.from(mockKey, "hex"),
      state,
      sessions: { ask: (owner, isAdministrator) => this.#admit(owner, isAdministrator) },
      permitsFor: (database, user, nodeName, pool) =>
        this.#permits.forPool({ database, user, nodeName }, pool),
      onAltered: (alteration) => link.tell("altered", alteration),
      tellPids: (changes) => link.tell("pids", changes),
      signal: (ask) => link.tell("signal", ask),
      onPrimary: (nodeName) => link.tell("primary", nodeName ?? null),
      onState: (now: PoolerState) => link.tell("state", now),
      cancelTarget: (pid, secret, otherwise) =>
        slotOfKey(secret, count) === slot
          ? undefined
          : { cancel: () => this.#cancelElsewhere(pid, secret, otherwise) },
      everywhere: async (statement, signal): Promise<WorkerAnswer[]> => {
        const answers = await link.call("everywhere", statement, { signal });
        return answers.flatMap(({ worker, answer, failure }): WorkerAnswer[] => {
          if (failure !== undefined) return [{ worker, answer: unpackFailure(failure) }];
          return answer === undefined ? [] : [{ worker, answer }];
        });
      },
      workers: (): Promise<readonly WorkerView[]> => link.call("workers", null),
      reload: () => link.call("reload", null),
      change: (name, value) => link.call("change", { name, value }),
      beginShutdown: (wait: ShutdownWait) => link.tell("beginShutdown", wait),
    };
  }

  async #admit(
    owner: SessionOwner,
    isAdministrator: boolean,
  ): Promise<{ verdict: SessionVerdict; leave: () => void }> {
    const id = ++this.#lastAdmitted;
    const verdict = await this.#link.call("admit", { id, owner: plain(owner), isAdministrator });
    return { verdict, leave: () => this.#link.tell("leave", id) };
  }

  async #cancelElsewhere(
    pid: number,
    secret: Buffer,
    otherwise: () => CancelTarget | undefined,
  ): Promise<void> {
    const found = await this.#link
      .call("cancel", { pid, key: secret.toString("hex") })
      .catch((): boolean => false);
    if (found) return;
    const target = otherwise();
    if (target === undefined) this.#logs?.logger.info({}, "failed cancel request");
    else await target.cancel();
  }
}

/** What is handed in may be much more. */
function plain({ database, user }: SessionOwner): SessionOwner {
  return { database, user };
}

/** The door of a worker: what the primary has accepted comes in by it. */
class HandedConnections implements Doors {
  readonly address = { host: "", port: 0 };
  readonly addresses: readonly string[] = [];
  #listener: SocketsListener | undefined;
  #taken = 0;
  #endedTold = 0;

  open(listener: SocketsListener): Promise<void> {
    this.#listener = listener;
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#listener = undefined;
    return Promise.resolve();
  }

  closeShared(): void {
    // The primary knows which of its sockets stay open.
  }

  /** `handle`: as Node passes it; undefined for a client that was gone before. */
  take(handle: unknown, local: boolean): void {
    this.#taken++;
    if (handle === undefined || handle === null) return;
    if (this.#listener === undefined) (handle as AcceptedHandle).close();
    else this.#listener.onSocket(asAccepted(handle), local);
  }

  /** How many have ended since the last call, where so many are open. */
  endedSince(open: number): number {
    const count = this.#taken - open - this.#endedTold;
    this.#endedTold += count;
    return count;
  }
}
