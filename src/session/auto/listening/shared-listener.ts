/**
 * One connection that listens for all clients of a pool.
 *
 *     channel ─▶ its subscribers        each hears its notifications in the order of their commits
 *     marker  ─▶ whoever sent it        a place in that order: PostgreSQL keeps one order for all listeners of a
 *                                       database (async.c), so what is before a marker here is before it everywhere
 *
 * What was committed before a question is asked here is here before its answer: a commit signals the listeners
 * before its client hears of it (async.c SignalBackends), and they send what they have been signalled before
 * ReadyForQuery (postgres.c PostgresMain). So one empty query is enough to be sure (`afterAllBefore`).
 *
 * Its end is the end of all who listen here: nobody can tell what they have missed.
 */
import { randomBytes } from "node:crypto";
import type { Clock } from "../../../base/clock.ts";
import { type Failure, OperationError } from "../../../base/errors.ts";
import type { ListeningServers } from "../../../pool/listening.ts";
import type { Server, ServerOwner } from "../../../pool/server.ts";
import { askUnseen } from "../../../pool/unseen.ts";
import { encodeQuery } from "../../../wire/encode-frontend.ts";
import { channelOf, inOneTransaction, listen, payloadOf, pidOf, unlisten, withPid } from "./notification.ts";

/** A client that listens here. */
export interface Subscriber {
  onShared(notification: Buffer): void;
  onListenerLost(failure: Failure): void;
}

interface Channel {
  readonly subscribers: Set<Subscriber>;
  /** The server has confirmed it. */
  listening: boolean;
}

/** Texts as virtual listeners take them, a name to find it by in pg_stat_activity, and no limit on what we ask. */
const settings = [
  "SET client_encoding TO 'UTF8'",
  "SET application_name TO 'pgsluice listener'",
  "SET statement_timeout TO 0",
];
/** Unknown before PostgreSQL 14. */
const idleSetting = encodeQuery("SET idle_session_timeout TO 0");
const empty = encodeQuery("");

export class SharedListener implements ServerOwner {
  /** A channel of our own. */
  readonly marker: string = `pgsluice_${randomBytes(12).toString("hex")}`;
  /** Notifications that came, other than markers. */
  notificationCount = 0;
  readonly #servers: ListeningServers;
  readonly #clock: Clock;
  /** The pid that clients know the notifying client by, if it is one of ours. */
  readonly #pidFor: (pid: number, listener: Server) => number;
  readonly #channels = new Map<string, Channel>();
  readonly #markers = new Map<string, { readonly onSeen: () => void; readonly sinceMs: number }>();
  #markerNumber = 0;
  #server: Server | undefined;
  #state: "new" | "opening" | "ready" | "over" = "new";
  /** Whom to tell that something has changed that they wait for. */
  readonly #waiting = new Set<() => void>();
  /** Questions that are asked once the one on its way is answered. */
  #askedAtMs: number | undefined;
  #questions: (() => void)[] = [];

  constructor(servers: ListeningServers, clock: Clock, pidFor: (pid: number, listener: Server) => number) {
    this.#servers = servers;
    this.#clock = clock;
    this.#pidFor = pidFor;
  }

  get server(): Server | undefined {
    return this.#server;
  }

  /** Nobody may come to listen here any more. */
  get over(): boolean {
    return this.#state === "over" || this.#server?.closeReason !== undefined;
  }

  get closed(): boolean {
    return this.#state === "over";
  }

  get channels(): readonly string[] {
    return [...this.#channels.keys()];
  }

  get subscriberCount(): number {
    return this.#subscribers().size;
  }

  #subscribers(): Set<Subscriber> {
    const all = new Set<Subscriber>();
    for (const { subscribers } of this.#channels.values()) for (const one of subscribers) all.add(one);
    return all;
  }

  /**
   * `subscriber` listens to these channels and no others. True: from now on; false: `onChange` will be called when
   * it is worth asking again; undefined: no connection can be had.
   */
  subscribe(subscriber: Subscriber, channels: readonly string[], onChange: () => void): boolean | undefined {
    if (this.over || (this.#state === "new" && !this.#servers.mayOpen)) return undefined;
    this.#leaveOthers(subscriber, new Set(channels));
    const missing: string[] = [];
    let confirmed = true;
    for (const name of channels) {
      let channel = this.#channels.get(name);
      if (channel === undefined) {
        channel = { subscribers: new Set(), listening: false };
        this.#channels.set(name, channel);
        missing.push(name);
      }
      channel.subscribers.add(subscriber);
      confirmed &&= channel.listening;
    }
    if (this.#state === "new") void this.#open();
    else if (missing.length > 0) this.#listen(missing);
    if (!confirmed) this.#waiting.add(onChange);
    return confirmed;
  }

  /** Hears no more; the last one to leave closes the connection. */
  unsubscribe(subscriber: Subscriber): void {
    this.#leaveOthers(subscriber, new Set());
    if (this.#channels.size > 0 || this.#state !== "ready") return;
    this.#close("nobody listens any more");
  }

  /** A number for a marker; `onSeen` is called when it comes. */
  expectMarker(onSeen: () => void): number {
    const number = ++this.#markerNumber;
    this.#markers.set(String(number), { onSeen, sinceMs: this.#clock.now() });
    return number;
  }

  /** It will not come, or nobody waits for it any more. */
  forgetMarker(number: number): void {
    this.#markers.delete(String(number));
  }

  /** Calls back when everything has been heard that was committed before this call. */
  afterAllBefore(then: () => void): void {
    this.#questions.push(then);
    if (this.#askedAtMs === undefined) this.#ask();
  }

  /** A connection that does not answer in time is lost, or leads elsewhere by now: a balancer in between can do that. */
  tick(limitMs: number): void {
    const server = this.#server;
    if (server === undefined || server.closed) return;
    let sinceMs = this.#askedAtMs ?? Number.POSITIVE_INFINITY;
    for (const marker of this.#markers.values()) sinceMs = Math.min(sinceMs, marker.sinceMs);
    if (this.#clock.now() - sinceMs >= limitMs) server.destroy(silent());
  }

  // ---- from the server ----

  onReplies(): boolean {
    return true;
  }

  onNotification(bytes: Buffer): undefined {
    const name = channelOf(bytes);
    if (name === this.marker) {
      const number = payloadOf(bytes);
      const marker = this.#markers.get(number);
      this.#markers.delete(number);
      marker?.onSeen();
      return;
    }
    this.notificationCount++;
    const server = this.#server;
    const channel = this.#channels.get(name);
    if (channel === undefined || server === undefined) return;
    const notification = withPid(bytes, this.#pidFor(pidOf(bytes), server));
    for (const subscriber of [...channel.subscribers]) subscriber.onShared(notification);
  }

  onSettled(): void {}

  onParameter(): void {}

  onDropped(): void {}

  onServerDrain(): void {}

  onServerLost(failure: Failure): void {
    this.#state = "over";
    const lost = this.#subscribers();
    this.#channels.clear();
    this.#markers.clear();
    this.#questions = [];
    for (const subscriber of lost) subscriber.onListenerLost(failure);
    this.#tellWaiting();
  }

  // ---- the connection ----

  async #open(): Promise<void> {
    this.#state = "opening";
    const server = await this.#servers.open();
    if (server === undefined) {
      this.#end();
      return;
    }
    this.#server = server;
    server.owner = this;
    this.#run(encodeQuery(settings.join("; ")), (failed) => {
      if (failed) this.#close("it refuses its settings");
    });
    this.#run(idleSetting, () => undefined);
    this.#run(encodeQuery(listen(this.marker)), (failed) => {
      if (this.#state !== "opening") return;
      if (failed) {
        this.#close("it does not listen");
        return;
      }
      this.#state = "ready";
      if (this.#channels.size === 0) this.#close("nobody listens any more");
      else this.#listen([...this.#channels.keys()]);
    });
  }

  /** No connection was to be had: whoever waits finds another way. */
  #end(): void {
    this.#state = "over";
    this.#channels.clear();
    this.#tellWaiting();
  }

  #close(reason: string): void {
    if (this.#server !== undefined) this.#servers.discard(this.#server, reason);
    this.#end();
  }

  #listen(names: readonly string[]): void {
    if (this.#state !== "ready") return;
    const channels = names.flatMap((name) => this.#channels.get(name) ?? []);
    this.#run(inOneTransaction(names.map(listen)), (failed) => {
      if (failed) this.#server?.destroy(notListening());
      for (const channel of channels) channel.listening = !failed;
      this.#tellWaiting();
    });
  }

  #leaveOthers(subscriber: Subscriber, kept: ReadonlySet<string>): void {
    const left: string[] = [];
    for (const [name, { subscribers }] of this.#channels) {
      if (kept.has(name) || !subscribers.delete(subscriber) || subscribers.size > 0) continue;
      this.#channels.delete(name);
      left.push(name);
    }
    if (this.#state === "ready" && left.length > 0)
      this.#run(encodeQuery(left.map(unlisten).join("; ")), () => undefined);
  }

  #ask(): void {
    const questions = this.#questions;
    this.#questions = [];
    this.#askedAtMs = this.#clock.now();
    this.#run(empty, () => {
      this.#askedAtMs = undefined;
      if (this.#questions.length > 0) this.#ask();
      for (const then of questions) then();
    });
  }

  #tellWaiting(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const tell of waiting) tell();
  }

  #run(query: Buffer, then: (failed: boolean) => void): void {
    const server = this.#server;
    if (server !== undefined && !server.closed) askUnseen(server, query, then);
  }
}

/** What a client can be told whose channels are not listened to. */
function notListening(): OperationError {
  return new OperationError("server refused to listen", {
    code: "session.listen_refused",
    sqlstate: "57P01",
    source: "server",
  });
}

function silent(): OperationError {
  return new OperationError("server does not tell what is notified", {
    code: "session.listener_silent",
    sqlstate: "57P01",
    source: "server",
  });
}
