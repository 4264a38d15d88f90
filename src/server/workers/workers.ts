/**
 * A pooler of several processes. This one, the primary, has the sockets, the signals and the configuration, and serves nobody: what it accepts it hands to
 * its workers (dispatch.ts), each of which is a whole pooler in a process of its own. It starts them, and starts another one where one has died;
 * takes reloads to all of them, or to none; and carries to the others what the console of one is told.
 *
 *     clients ──> sockets ──> primary ──connection──> worker 1 ──> its servers
 *                                │  └────connection──> worker 2 ──> its servers
 *                                └── start, reload, commands, cancel requests, shutdown
 */
import { randomBytes } from "node:crypto";
import type { ConsoleStatement, ShutdownWait, WorkerView } from "../../admin/context.ts";
import { readStatement, shows } from "../../admin/grammar.ts";
import { Failure, OperationError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { AcceptedSocket } from "../../base/transport.ts";
import { withSetting } from "../../config/changes.ts";
import type { Config } from "../../config/schema.ts";
import { slotOfKey } from "../../pool/cancel-registry.ts";
import type { PoolerCounts } from "../counts.ts";
import type { InheritedSocket } from "../inherited.ts";
import type { ShutdownMode } from "../shutdown.ts";
import { Sockets, type SocketsListener } from "../sockets.ts";
import { ClientPlaces } from "./client-places.ts";
import { Dispatch } from "./dispatch.ts";
import { type Handlers, packFailure } from "./link.ts";
import { Member } from "./member.ts";
import type { CancelAsk, PlainAnswer, PoolerState, ToPrimary } from "./protocol.ts";
import { Pulse } from "./pulse.ts";
import { Replacement } from "./replacement.ts";
import { ServerPlaces } from "./server-places.ts";
import { ToldPids } from "./told-pids.ts";

export interface WorkersOptions {
  readonly count: number;
  /** The program that a worker runs. */
  readonly file: string;
  readonly logger: Logger;
  readonly quiet: boolean;
  readonly sockets: readonly InheritedSocket[];
  /** As in PoolerOptions. */
  readonly beforeListening: () => void;
  readonly onReload: () => Promise<void>;
  readonly onConfigured: (config: Config) => void;
  readonly onShutdown: () => void;
}

/** A shutdown that waits for nobody takes workers no longer; then they are killed. */
const shutdownMs = 10_000;

export class Workers implements SocketsListener {
  /** Resolves when everything is closed, whoever asked for it; then {@link failure} says whether that was meant. */
  readonly ended: Promise<void>;
  /** Why it has ended by itself. */
  failure: Failure | undefined;

  readonly #options: WorkersOptions;
  readonly #logger: Logger;
  #config: Config;
  #state: PoolerState = { allPaused: false, paused: [], disabled: [] };
  readonly #mockKey = randomBytes(32).toString("hex");
  readonly #sockets: Sockets;
  readonly #dispatch: Dispatch;
  /** By their slots. A slot is empty while its worker is being replaced. */
  readonly #members = new Map<number, Member>();
  readonly #clientPlaces: ClientPlaces;
  readonly #serverPlaces: ServerPlaces;
  readonly #toldPids: ToldPids = new ToldPids(() => this.#members.values());
  readonly #replacement: Replacement;
  #changing: Promise<void> = Promise.resolve();
  #stopping = false;
  #onEnded: () => void = () => undefined;
  readonly #pulse: Pulse;
  #killTimer: NodeJS.Timeout | undefined;

  private constructor(config: Config, options: WorkersOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#config = config;
    this.#sockets = new Sockets(() => this.#config.pgsluice, options.sockets);
    this.#dispatch = new Dispatch(() => this.#members.values(), this.#logger);
    this.#clientPlaces = new ClientPlaces(config);
    this.#serverPlaces = new ServerPlaces(config, () => this.#members.values(), this.#logger);
    this.#pulse = new Pulse(
      () => this.#members.values(),
      this.#logger,
      () => this.#dispatch.goOn(),
    );
    this.#replacement = new Replacement({
      logger: this.#logger,
      begin: (slot) => void this.#begin(slot),
      giveUp: (failure) => this.#giveUp(failure),
    });
    this.ended = new Promise((resolve) => {
      this.#onEnded = resolve;
    });
  }

  /** Starts the workers, and then listens. Rejects with the reason of the worker that could not be started, or the system's error for an address. */
  static async start(config: Config, options: WorkersOptions): Promise<Workers> {
    options.beforeListening();
    const workers = new Workers(config, options);
    try {
      await workers.#open();
    } catch (error) {
      await workers.#abandon();
      throw error;
    }
    return workers;
  }

  get address(): { readonly host: string; readonly port: number } {
    return this.#sockets.address;
  }

  /** As they were a moment ago. */
  get counts(): PoolerCounts {
    const counts = { sessions: 0, logins: 0, servers: 0, waiting: 0 };
    for (const { status } of this.#members.values()) {
      counts.sessions += status.clients;
      counts.servers += status.servers;
      counts.waiting += status.waiting;
    }
    return counts;
  }

  /** Takes over a new configuration in every worker or, if one cannot, in none. Several take effect in the order of the calls. */
  reload(config: Config): Promise<void> {
    return this.#change(() => config);
  }

  pauseServers(): void {
    this.#state = { ...this.#state, allPaused: true };
    for (const { link } of this.#ready()) link.tell("pause", null);
  }

  resumeServers(): void {
    if (this.#stopping) return;
    this.#state = { ...this.#state, allPaused: false, paused: [] };
    for (const { link } of this.#ready()) link.tell("resume", null);
  }

  reopenLogs(): void {
    for (const { link } of this.#ready()) link.tell("reopenLogs", null);
  }

  shutdown(mode: ShutdownMode): Promise<void> {
    const keepsLocal = mode === "smart" && this.#config.pgsluice.peer_id !== 0;
    void this.#stop(keepsLocal, mode === "smart");
    for (const { link } of this.#members.values()) link.tell("shutdown", mode);
    return this.ended;
  }

  beginShutdown(wait: ShutdownWait): void {
    void this.#stop(wait !== "none", wait !== "none");
    for (const { link } of this.#members.values()) link.tell("beginShutdown", wait);
  }

  onSocket(socket: AcceptedSocket, local: boolean): void {
    this.#dispatch.add(socket, local);
  }

  onAcceptFailed(reason: string): void {
    this.#logger.error({ reason }, "accept failed");
  }

  // ---- the life of workers ----

  async #open(): Promise<void> {
    const slots = Array.from({ length: this.#options.count }, (_, slot) => slot);
    const members = slots.map((slot) => this.#spawn(slot));
    await Promise.all(members.map((member) => this.#bring(member)));
    await this.#sockets.open(this);
    const { addresses, address } = this.#sockets;
    this.#logger.info({ addresses, workers: this.#options.count, address }, "listening");
  }

  #spawn(slot: number): Member {
    const member = new Member(
      slot,
      this.#options.file,
      (own) => this.#handlers(own),
      (own, how) => this.#onExit(own, how),
    );
    this.#members.set(slot, member);
    return member;
  }

  /** Resolves when the worker can serve. */
  async #bring(member: Member): Promise<void> {
    const { count, quiet } = this.#options;
    const { slot, link } = member;
    const [config, state] = [this.#config, this.#state];
    const start = { slot, count, config, state, mockKey: this.#mockKey, quiet };
    const begun = link.call("start", start);
    member.begun = begun.catch((error: unknown) => {
      member.failure = error;
    });
    await begun;
    // What has changed meanwhile; nobody has told it, because it was not ready.
    if (this.#state !== state) link.tell("assume", this.#state);
    if (this.#config !== config) {
      await link.call("prepare", this.#config);
      await link.call("apply", null);
    }
    if (this.#stopping) return;
    member.ready = true;
    this.#toldPids.onReady(member);
    this.#logger.info({ worker: slot + 1, workerPid: member.pid }, "worker started");
    this.#dispatch.goOn();
  }

  /** In the place of one that has died. */
  async #begin(slot: number): Promise<void> {
    if (this.#stopping) return;
    const member = this.#spawn(slot);
    try {
      await this.#bring(member);
    } catch {
      member.kill();
    }
  }

  #onExit(member: Member, how: string): void {
    if (this.#members.get(member.slot) === member) this.#members.delete(member.slot);
    this.#clientPlaces.onExit(member);
    this.#serverPlaces.onExit(member);
    this.#toldPids.onExit(member);
    if (this.#stopping) {
      if (this.#members.size === 0) void this.#finish();
      return;
    }
    this.#replacement.onExit(member, how);
  }

  /** A worker cannot be started: without it the limits and the load are not what was meant. */
  #giveUp(failure: Failure): void {
    this.failure = failure;
    this.#logger.error({ reason: failure.message }, "giving up");
    void this.shutdown("fast");
  }

  // ---- the end ----

  async #stop(keepsLocal: boolean, waits: boolean): Promise<void> {
    const first = !this.#stopping;
    this.#stopping = true;
    this.#options.onShutdown();
    if (!waits && this.#killTimer === undefined) {
      this.#killTimer = setTimeout(() => {
        for (const member of this.#members.values()) member.kill();
      }, shutdownMs);
    }
    if (first) this.#replacement.stop();
    for (const member of this.#members.values()) if (!member.ready && first) member.kill();
    if (keepsLocal) this.#sockets.closeShared();
    else await this.#sockets.close();
    if (this.#members.size === 0) await this.#finish();
  }

  async #finish(): Promise<void> {
    clearTimeout(this.#killTimer);
    this.#pulse.stop();
    this.#serverPlaces.close();
    this.#dispatch.close();
    await this.#sockets.close();
    this.#onEnded();
  }

  /** The start has failed: leaves no process behind. */
  async #abandon(): Promise<void> {
    this.#stopping = true;
    for (const member of this.#members.values()) member.kill();
    if (this.#members.size === 0) await this.#finish();
    await this.ended;
  }

  // ---- what workers ask for ----

  #handlers(member: Member): Handlers<ToPrimary> {
    return {
      everywhere: (statement, { signal }) =>
        Promise.all(this.#ready().map((one) => commanded(one, statement, signal))),
      workers: () => this.#views(),
      cancel: (ask) => this.#cancel(ask),
      want: (ask) => this.#serverPlaces.want(member, ask),
      spare: (ask) => this.#serverPlaces.spare(member, ask),
      altered: (alteration) => {
        for (const other of this.#ready()) if (other !== member) other.link.tell("altered", alteration);
      },
      pids: (changes) => this.#toldPids.change(member, changes),
      signal: (ask) => this.#members.get(ask.slot)?.link.tell("signal", ask),
      primary: (nodeName) => this.#serverPlaces.follow(nodeName ?? undefined),
      gone: (ask) => this.#serverPlaces.gone(member, ask),
      yields: (number) => this.#serverPlaces.yields(number),
      admit: (ask) => this.#clientPlaces.admit(member, ask),
      leave: (id) => this.#clientPlaces.leave(member, id),
      reload: () => this.#options.onReload(),
      change: ({ name, value }) => this.#change((config) => withSetting(config, name, value)),
      beginShutdown: (wait) => this.beginShutdown(wait),
      ended: (count) => {
        member.connections -= count;
      },
      state: (state) => {
        this.#state = state;
      },
    };
  }

  async #cancel(ask: CancelAsk): Promise<boolean> {
    const member = this.#members.get(slotOfKey(Buffer.from(ask.key, "hex"), this.#options.count));
    return member?.ready === true ? member.ask("cancel", ask).catch(() => false) : false;
  }

  #ready(): Member[] {
    return [...this.#members.values()].filter(({ ready }) => ready).sort((a, b) => a.slot - b.slot);
  }

  async #views(): Promise<WorkerView[]> {
    await Promise.all(
      this.#ready().map(async (member) => {
        member.status = await member.ask("status", null).catch(() => member.status);
      }),
    );
    return [...this.#members.values()]
      .sort((a, b) => a.slot - b.slot)
      .map(({ slot, pid, ready, silent, status, startedAtEpochMs }) => ({
        worker: slot + 1,
        pid,
        state: ready ? (silent ? "silent" : "active") : "starting",
        ...status,
        startedAtEpochMs,
        restarts: this.#replacement.countOf(slot),
      }));
  }

  // ---- configuration ----

  /** One after the other. */
  #change(from: (config: Config) => Config): Promise<void> {
    const changed = this.#changing.then(() => this.#putInForce(from(this.#config)));
    this.#changing = changed.catch(ignore);
    return changed;
  }

  async #putInForce(config: Config): Promise<void> {
    const prepared = new Set<Member>();
    await Promise.all(
      [...this.#members.values()].map(async (member) => {
        await member.begun;
        if (member.failure !== undefined) return;
        await unlessGone(member.link.call("prepare", config));
        prepared.add(member);
      }),
    );
    // Those that are started from now on begin with it.
    this.#config = config;
    this.#clientPlaces.reconfigure(config);
    this.#serverPlaces.reconfigure(config);
    await Promise.all([...prepared].map(({ link }) => unlessGone(link.call("apply", null))));
    this.#options.onConfigured(config);
  }
}

const ignore = (): undefined => undefined;

/** One that dies takes nobody's reload with it: whoever comes in its place has the new configuration. */
async function unlessGone(done: Promise<void>): Promise<void> {
  try {
    await done;
  } catch (error) {
    if (!(error instanceof OperationError && error.code === "server.worker_gone")) throw error;
  }
}

/** What one worker makes of a statement. One that does not answer is waited for only where something is to be done: it will be, or the worker is killed. */
function commanded(member: Member, statement: ConsoleStatement, signal: AbortSignal): Promise<PlainAnswer> {
  const worker = member.slot + 1;
  const answered = shows(readStatement(statement.part, statement.whole))
    ? member.ask("command", statement, { signal })
    : member.link.call("command", statement, { signal });
  return answered.then(
    (answer) => ({ worker, answer }),
    (error: unknown) => ({ worker, ...failureOf(error) }),
  );
}

/** A worker that died has nothing to say. */
function failureOf(error: unknown): Pick<PlainAnswer, "failure"> {
  if (error instanceof Failure && error.code === "server.worker_gone") return {};
  return { failure: packFailure(error) };
}
