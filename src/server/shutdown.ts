/**
 * How a pooler ends. PostgreSQL's three modes: *smart* stops listening and waits until the clients have left; *fast*
 * tells each of them 57P01 and closes; *immediate* closes sockets as they are. A more urgent one may overtake.
 *
 * And the console's SHUTDOWN, by PgBouncer's rules: at once; when all servers are free, where whoever wants another
 * one is sent away; or when the clients have left. While such a one waits, Unix sockets of its own stay open for
 * administrators, and for cancel requests that come by way of who has the port now.
 */
import type { ShutdownWait } from "../admin/context.ts";
import type { Logger } from "../base/log.ts";
import type { Roster } from "../base/roster.ts";
import type { Peers } from "../pool/peers.ts";
import type { Admission } from "../session/admission.ts";
import type { Login } from "../session/login.ts";
import { administratorShutdown } from "../session/replies.ts";
import type { Session } from "../session/session.ts";
import type { Authentication } from "./authentication.ts";
import type { Consoles } from "./consoles.ts";
import type { Listener } from "./listener.ts";
import type { Pools } from "./pools.ts";

export type ShutdownMode = "smart" | "fast" | "immediate";

/** What has to be ended. */
export interface ShutdownSubject {
  readonly admission: Admission;
  readonly listener: Listener;
  readonly logins: Roster<Login>;
  readonly sessions: Roster<Session>;
  readonly pools: Pools;
  readonly peers: Peers;
  readonly consoles: Consoles;
  readonly authentication: Authentication;
  /** Cancel requests come by way of others as well. */
  readonly hasPeers: () => boolean;
  readonly logger: Logger;
  /** A shutdown has begun; told again when a more urgent one overtakes it. */
  readonly onBegun: () => void;
  /** Nothing waits for time any more. */
  readonly onClosed: () => Promise<void>;
}

/** A fast shutdown gives its last messages this long to leave. */
const fastShutdownMs = 2000;
/** Statements of clients that were cut off are cancelled, if PostgreSQL takes that in this time. */
const immediateShutdownMs = 250;

export class Shutdown {
  /** Resolves when everything is closed, whoever asked for it. */
  readonly ended: Promise<void>;
  readonly #subject: ShutdownSubject;
  #closed = false;
  #onEmpty: (() => void) | undefined;
  #onEnded: () => void = () => undefined;

  constructor(subject: ShutdownSubject) {
    this.#subject = subject;
    this.ended = new Promise((resolve) => {
      this.#onEnded = resolve;
    });
  }

  get begun(): boolean {
    return this.#subject.admission.state === "shutting_down";
  }

  /** The last session has ended. */
  onSessionsGone(): void {
    this.#onEmpty?.();
  }

  /** As the console's SHUTDOWN. */
  async asCommanded(wait: ShutdownWait): Promise<void> {
    if (wait === "servers") await this.#withoutServers();
    else if (wait === "clients") await this.#end("smart", true);
    else await this.begin("immediate");
  }

  /** Resolves when everything is closed. */
  begin(mode: ShutdownMode): Promise<void> {
    return this.#end(mode, mode === "smart" && this.#subject.hasPeers());
  }

  async #end(mode: ShutdownMode, staysLocal: boolean): Promise<void> {
    if (this.#closed) return;
    const { admission, listener, logins, sessions, pools, peers, consoles, logger } = this.#subject;
    admission.state = "shutting_down";
    // Who is waited for may take hours.
    logger.info({ mode, clients: sessions.size }, "shutting down");
    this.#subject.onBegun();
    if (staysLocal) listener.closeShared();
    else await listener.close();
    if (mode === "immediate") for (const session of [...sessions]) session.destroy();
    if (mode === "fast") for (const session of [...sessions]) session.fail(administratorShutdown());
    if (mode !== "smart") for (const login of [...logins]) login.destroy();
    await this.#sessionsGone(mode === "smart" ? undefined : fastShutdownMs);
    const cancelsMs = mode === "immediate" ? immediateShutdownMs : fastShutdownMs;
    await Promise.all([pools.endCancels(cancelsMs), peers.end(cancelsMs)]);
    if (this.#closed) return;
    this.#closed = true;
    await this.#subject.onClosed();
    await listener.close();
    // A login that was under way may have become a session meanwhile.
    for (const session of [...sessions]) session.fail(administratorShutdown());
    pools.close();
    this.#subject.authentication.close();
    for (const login of logins) login.destroy();
    consoles.close(mode === "immediate");
    logger.info({ mode }, "shut down");
    this.#onEnded();
  }

  /** Whoever needs a server is sent away; the end comes when the servers that are in use have come free. */
  async #withoutServers(): Promise<void> {
    const { admission, listener, pools, consoles } = this.#subject;
    admission.state = "shutting_down";
    this.#subject.onBegun();
    listener.closeShared();
    pools.drain();
    const { signal } = new AbortController();
    await consoles.until(() => consoles.serverCount(undefined, false) === 0, signal);
    await this.begin("fast");
  }

  /** Resolves when no session is left, or after `limitMs` with those that are left closed by force. */
  #sessionsGone(limitMs: number | undefined): Promise<void> {
    const { sessions } = this.#subject;
    if (sessions.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer =
        limitMs === undefined
          ? undefined
          : setTimeout(() => {
              for (const session of [...sessions]) session.destroy();
            }, limitMs);
      const before = this.#onEmpty;
      this.#onEmpty = () => {
        clearTimeout(timer);
        before?.();
        resolve();
      };
    });
  }
}
