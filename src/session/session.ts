/**
 * One logged-in client.
 *
 * Its bytes go through one guarded loop, `advance`, which decides the only next step:
 *
 *     bytes -> framer -> no server yet?  gather until the unit can run (Query, Sync, Flush), lease a server
 *                        server?         forward, each request noted in the server's reply queue
 *     replies -> client, by the server; when all are in and no transaction is open the server goes back
 *                (transaction, statement) or stays (session)
 *
 * A client that waits for a server, or whose server does not take bytes, is not read from; a client that
 * does not take replies stops its server. Nothing is awaited and nothing is decoded that no decision needs.
 */
import { assert } from "../base/assert.ts";
import { type Failure, PeerError } from "../base/errors.ts";
import type { Transport, TransportListener } from "../base/transport.ts";
import type { CancelKey, CancelTarget } from "../pool/cancel-registry.ts";
import { type ParameterVector, trackedName } from "../pool/parameters.ts";
import type { Pool } from "../pool/pool.ts";
import { repliesPendingBytesMax, type Server, type ServerOwner } from "../pool/server.ts";
import type { PoolMode } from "../pool/settings.ts";
import { Frontend, TransactionStatus } from "../wire/constants.ts";
import { Frame, type Framer } from "../wire/framer.ts";
import type { Activity } from "./activity.ts";
import type { AutoSession } from "./auto/auto.ts";
import type { HeldFor } from "./auto/causes.ts";
import type { ListeningClient } from "./auto/listening/peer.ts";
import type { SessionContext, SessionIdentity } from "./context.ts";
import { beginsUnit, type Flow } from "./flow.ts";
import { Gathered, type Gathering } from "./gathering.ts";
import { applySettings, closeReason, flushSynthesised, quitServer } from "./handover.ts";
import type { Inbox } from "./inbox.ts";
import type { Leasing, LeasingClient } from "./leasing.ts";
import type { Output } from "./output.ts";
import { sessionParts } from "./parts.ts";
import {
  canceledByUser,
  errorReply,
  failureOf,
  invalidServerParameter,
  transactionInStatementMode,
} from "./replies.ts";
import type { ClientStatements } from "./statements.ts";
import { replacesUnnamed } from "./unit.ts";
import type { UnitSender } from "./unit-sender.ts";

export class Session implements TransportListener, ServerOwner, CancelTarget, LeasingClient, ListeningClient {
  readonly identity: SessionIdentity;
  readonly parameters: ParameterVector;
  readonly activity: Activity;
  readonly pool: Pool;
  readonly transport: Transport;
  readonly #context: SessionContext;
  /** As it was when the client came: a reload changes it for those who come later. */
  readonly #mode: PoolMode;
  readonly #statements: ClientStatements | undefined;
  readonly #auto: AutoSession | undefined;
  /** In auto mode reports of parameters wait for the end of the statement. */
  readonly reportsDue: ServerOwner["reportsDue"];
  readonly onNotification: ServerOwner["onNotification"];
  readonly #sender: UnitSender;
  readonly #inbox: Inbox;
  readonly #output: Output;
  readonly #flow: Flow;
  readonly #gathering: Gathering;
  readonly #leasing: Leasing;
  #cancelKey: CancelKey | undefined;
  #server: Server | undefined;
  #advancing = false;
  #ended = false;
  /** Settings were sent to this server and their replies are not all in. */
  #settingsPending = false;

  constructor(
    context: SessionContext,
    transport: Transport,
    pool: Pool,
    identity: SessionIdentity,
    parameters: ParameterVector,
  ) {
    this.#context = context;
    this.transport = transport;
    this.pool = pool;
    this.identity = identity;
    this.parameters = parameters;
    parameters.shareBy(pool.vectors);
    this.#mode = pool.settings.mode;
    const parts = sessionParts(this, context, pool, identity, parameters);
    this.activity = parts.activity;
    this.#statements = parts.statements;
    this.#auto = parts.auto;
    this.#sender = parts.sender;
    this.#inbox = parts.inbox;
    this.#output = parts.output;
    this.#flow = parts.flow;
    this.#gathering = parts.gathering;
    this.#leasing = parts.leasing;
    if (parts.auto !== undefined) this.reportsDue = (names) => this.#takeReports(names);
    if (parts.auto !== undefined) this.onNotification = (bytes) => this.#takeNotification(bytes);
    pool.clients++;
    transport.listener = this;
  }

  /** The server that the client holds now. */
  get server(): Server | undefined {
    return this.#server ?? this.#leasing.sharedServer;
  }

  get cancelKey(): CancelKey | undefined {
    return this.#cancelKey;
  }

  /** Given by the login as soon as the session exists; taken back when it ends. */
  set cancelKey(key: CancelKey) {
    this.#cancelKey = key;
    this.#auto?.announce(key.pid);
  }

  /** Where its messages go: also while it reads in a transaction on a standby. */
  #target(): Server | undefined {
    return this.#server ?? this.#leasing.transactionServer;
  }

  /** The server that it has for itself. */
  get ownServer(): Server | undefined {
    return this.#server;
  }

  goOn(): void {
    if (this.#inbox.behind) this.advance();
    else if (this.#inbox.held === undefined) this.#inbox.framer.release();
  }

  /** More has come than the message at hand. */
  get behind(): boolean {
    return this.#inbox.behind;
  }

  /** Statements of the extended protocol that the client has named, where they are handled here. */
  get statementCount(): number {
    return this.#statements?.size ?? 0;
  }

  /** Why the client keeps its server (auto mode). */
  get heldFor(): readonly HeldFor[] {
    return this.#auto?.heldFor(this.#target()) ?? [];
  }

  onData(chunk: Buffer): void {
    if (this.#ended) return;
    this.activity.hear(this.#context.tickMs());
    const target = this.#target();
    this.#inbox.push(chunk);
    this.advance();
    if (this.#inbox.passedOn && this.#gathering.unit === undefined) this.#flow.release(chunk, target);
  }

  onDrain(): void {
    this.#server?.reading.resume();
    this.#leasing.onClientDrain();
    if (this.#flow.stalled) this.advance();
  }

  onClose(error: Error | undefined): void {
    this.#end(closeReason(error));
  }

  /** Acts on time limits. `nowMs` is the time of this tick. */
  tick(nowMs: number): void {
    if (this.#ended) return;
    const limits = this.#context.clientLimits(this.identity.user);
    const begun = this.#gathering.status !== TransactionStatus.idle;
    const { server } = this;
    const waiting = server === undefined && this.#leasing.waiting;
    const failure = this.activity.exceeded(limits, server, waiting, nowMs, begun);
    if (failure !== undefined) this.fail(failure);
  }

  /** A cancel request with this client's key has come. Resolves when it has been passed on, or has no effect. */
  async cancel(): Promise<void> {
    if (this.#ended) return;
    const server = this.#server;
    if (this.#leasing.withdraw()) this.#drop(errorReply("ERROR", canceledByUser(), false));
    else if (this.#leasing.sharedServer !== undefined) await this.#leasing.cancelShared();
    else if (server !== undefined && !server.replies.settled) await this.pool.cancel(server);
  }

  /** Tells the client why (FATAL), perhaps in the `words` of a server, and ends its session. */
  fail(failure: Failure, words?: Buffer): void {
    if (this.#ended) return;
    // In the middle of a reply the client would take the text for the rest of that.
    const torn = this.server?.midReply === true;
    const reply = torn ? undefined : (words ?? errorReply("FATAL", failure, this.#context.asPgbouncer()));
    this.#context.onPoolerError(this, failure);
    this.transport.end(reply);
    this.#end(failure.message, failure instanceof PeerError);
  }

  /** Ends the session without a word. */
  destroy(): void {
    this.transport.destroy();
  }

  // ---- from the server ----

  onReplies(bytes: Buffer): boolean {
    if (this.#settingsPending && this.#settingsFailed()) return true;
    if (this.#auto?.keepsLoosely === true) return true; // Last words of a server that it can do without.
    const transport = this.transport;
    this.#leasing.onReplies(bytes.length);
    if (this.#mode === "statement" && this.#server?.replies.status !== TransactionStatus.idle) {
      // The ReadyForQuery that says so is among these bytes: the client must not take it for a success.
      this.fail(transactionInStatementMode());
      return true;
    }
    // What a held message waits for may turn out to be something that the client has yet to send.
    if (this.#inbox.held !== undefined || this.#flow.clearsByReplies(this.#server)) this.advanceSoon();
    if (transport.write(bytes)) return true;
    if (transport.pendingBytes > repliesPendingBytesMax) this.#server?.reading.stop();
    return false;
  }

  onSettled(): void {
    const server = this.#server;
    assert(server !== undefined, "replies come from a server that is held");
    if (this.#settingsPending && this.#settingsFailed()) return;
    this.#settingsPending = false;
    const nowMs = this.#context.clock.now();
    this.activity.settled(nowMs, server.replies.status);
    this.#leasing.onSettled(server, nowMs);
    this.#auto?.onSettled(server);
    this.#sender.end();
    if (!this.#advancing) this.#releaseIfDone(nowMs);
    if (this.#inbox.behind || this.#flow.stalled || this.#inbox.held !== undefined) this.advance();
  }

  onParameter(name: string, value: string): void {
    if (this.#auto !== undefined) return this.#auto.reports.add(name, value);
    const tracked = trackedName(name);
    if (tracked !== undefined) this.parameters.set(tracked, value);
  }

  #takeReports(names: readonly string[]): Buffer | undefined {
    return this.#server === undefined ? undefined : this.#auto?.reports.take(this.#server, names);
  }

  #takeNotification(bytes: Buffer): Buffer | undefined {
    return this.#server && this.#auto?.listening.onNative(bytes, this.#server);
  }

  onDropped(tag: string): void {
    if (tag !== "DISCARD SEQUENCES") this.#statements?.clear();
    if (tag !== "DEALLOCATE ALL") this.#auto?.onDiscarded(tag);
  }

  onWords(message: Buffer): Buffer | undefined {
    const server = this.#server;
    if (server === undefined) return message;
    // Its last words are about a connection that the client need not know of.
    return server.dying && this.#outlives(server) ? undefined : this.#sender.reword(server, message);
  }

  onServerDrain(): void {
    if (this.#flow.stalled) this.advance();
  }

  #outlives(server: Server, owed?: number): boolean {
    return !this.#advancing && !this.#inbox.midMessage && this.#leasing.outlives(server, owed);
  }

  onServerLost(failure: Failure, relayed: boolean, owed?: number): void {
    const server = this.#server;
    const outlives = server !== undefined && !relayed && this.#outlives(server, owed);
    this.#server = undefined;
    this.#settingsPending = false;
    if (this.#ended || this.#auto?.keepsLoosely === true) return;
    if (outlives) {
      if (this.#leasing.goOn(server, failure, owed ?? 0)) this.#context.onPoolerError(this, failure);
      return;
    }
    if (relayed || server?.midReply === true) {
      // Nothing of ours follows the server's own last words, or half a reply.
      this.transport.end();
      this.#end(`server connection was closed: ${failure.message}`);
      return;
    }
    this.fail(failure);
  }

  onListeningChanged(): void {
    if (this.#ended || this.#advancing) return;
    this.#releaseIfDone();
    this.advance();
  }

  // ---- the loop ----

  /** Reads and forwards until nothing is left or something has to be waited for. Never entered twice. */
  advance(): void {
    if (this.#advancing || this.#ended) return;
    this.#advancing = true;
    try {
      this.#loop();
      if (!this.#ended) this.#flush();
    } catch (error) {
      this.failBy(error);
    } finally {
      this.#advancing = false;
    }
    if (this.#ended) return;
    this.#releaseIfDone();
    if (this.#flow.clears(this.#target())) this.advanceSoon();
    this.#readOrPause();
  }

  advanceSoon(): void {
    queueMicrotask(() => this.advance());
  }

  #loop(): void {
    const inbox = this.#inbox;
    while (!this.#ended && !this.#leasing.waiting) {
      if (this.#flow.stalls(this.#target())) return;
      const kind = inbox.next();
      if (kind === Frame.need) return;
      const begins = kind === Frame.whole || kind === Frame.head;
      const others = begins && this.#mode !== "session" ? this.pool.queue.size : 0;
      const waits =
        this.#flow.givesWay(this.#server, others) ||
        (begins && this.#auto?.special === true && this.#auto.holds(this.#server)) ||
        (begins && this.#statements?.mustWait(inbox.framer) === true);
      inbox.held = waits ? kind : undefined;
      if (waits) return;
      this.#handle(kind, inbox.framer);
    }
  }

  #handle(kind: Frame, framer: Framer): void {
    if (kind === Frame.middle || kind === Frame.tail) return this.#handlePart(kind, framer);
    const { type } = framer;
    if (this.#gathering.skips(kind, type)) return;
    if (type === Frontend.terminate) {
      this.transport.finish();
      this.#end("client close request", true);
      return;
    }
    if (type === Frontend.query) this.#context.checkSimpleQuery();
    this.#flow.countText(type);
    this.activity.countBytes(framer.end - framer.start);
    if (this.#server !== undefined) {
      if (this.activity.queryStartMs === 0 && beginsUnit(type)) this.activity.begin(this.#context.clock);
      this.#auto?.note(type, framer.buffer, framer.start, framer.end, kind === Frame.whole, this.#server);
      this.#sender.forward(this.#server, kind, framer);
      flushSynthesised(this.#server, this.transport);
      return;
    }
    this.#gather(kind, framer);
  }

  #handlePart(kind: Frame, framer: Framer): void {
    if (this.#gathering.dropsPart(kind)) return;
    const server = this.#target();
    assert(server !== undefined, "a streamed message has a server to go to");
    this.activity.countBytes(framer.end - framer.start);
    this.#output.append(framer.buffer, framer.start, framer.end, server.transport);
  }

  /** Without a server: keeps the messages of a unit until it can run, then asks for a server. */
  #gather(kind: Frame, framer: Framer): void {
    const gathered = this.#gathering.add(kind, framer);
    if (gathered === Gathered.dropped) return;
    if (gathered === Gathered.answered) {
      this.transport.write(this.#gathering.ready);
      return;
    }
    if (this.activity.queryStartMs === 0) this.activity.begin(this.#context.clock);
    if (gathered === Gathered.complete && !this.#answerHere()) this.#leasing.begin();
  }

  /** Whether the unit needs no server, and is answered. */
  #answerHere(): boolean {
    const replies = this.#gathering.answer();
    if (replies === undefined) return false;
    this.transport.write(replies);
    this.activity.settled(this.#context.clock.now(), this.#gathering.status);
    return true;
  }

  /** The server is ours: bring its settings to the client's, then send what was gathered, in the same write. */
  attach(server: Server): void {
    assert(this.#server === undefined && server.owner === undefined, "a client holds one server at a time");
    this.#server = server;
    server.owner = this;
    server.used = true;
    this.activity.assigned(this.#context.clock, server);
    const sends =
      this.#auto === undefined
        ? applySettings(server, this.parameters, this.#output)
        : this.#auto.prepare(server, this.#output);
    if (sends) this.#settingsPending = true;
    if (this.#gathering.unit === undefined) return;
    this.#leasing.onSent(server);
    this.#sender.send(server);
    flushSynthesised(server, this.transport);
  }

  #flush(): void {
    const server = this.#target();
    if (server === undefined) return;
    this.#flow.askForReplies(server, this.#output);
    if (!this.#output.empty && !this.#output.flush(server.transport)) this.#flow.stalls(server);
  }

  /**
   * A client is not read from while its server is slow, or while it waits and has sent more than what waits.
   * (One that sends nothing meanwhile is left alone: to stop and start reading are system calls.)
   */
  #readOrPause(): void {
    const stops =
      this.#leasing.waiting || this.#inbox.held !== undefined ? this.#inbox.behind : this.#flow.stalled;
    if (stops) this.transport.pause();
    else this.transport.resume();
  }

  /** Gives the server back once nothing is owed, no transaction is open and no message is half sent. */
  #releaseIfDone(nowMs?: number): void {
    const server = this.#server;
    // The unit that has kept notifications from the client may have ended in any way.
    if (server === undefined) return this.#auto?.listening.flush();
    if (this.#mode === "session") return;
    if (!server.clean || this.#inbox.midMessage) return;
    if (this.#auto?.keeps(server, this.transport, nowMs) === true) return;
    this.#detach(server);
    this.pool.release(server, false, nowMs);
    this.#auto?.onReleased();
  }

  #detach(server: Server): void {
    this.#server = undefined;
    this.#sender.end();
    server.owner = undefined;
    server.reading.resume();
  }

  /** True (and the session is over) if the settings could not be applied: what follows ran with wrong ones. */
  #settingsFailed(): boolean {
    const server = this.#server;
    const error = server?.replies.takeSwallowedError();
    if (server === undefined || error === undefined) return false;
    server.closeReason ??= "invalid server parameter";
    this.fail(invalidServerParameter(error));
    return true;
  }

  refuse(failure: Failure): void {
    this.#context.onPoolerError(this, failure);
    this.#drop(errorReply("ERROR", failure, this.#context.asPgbouncer()));
  }

  /** The unit, which nobody runs, is answered as if it had begun. */
  #drop(error: Buffer): void {
    const { unit } = this.#gathering;
    if (unit !== undefined && replacesUnnamed(unit)) this.#statements?.dropUnnamedStatement();
    this.activity.dropped();
    const ready = this.#gathering.cancel();
    this.transport.write(error);
    if (ready !== undefined) this.transport.write(ready);
    this.advanceSoon();
  }

  failBy(error: unknown): void {
    this.fail(failureOf(error, this.identity, this.#context.logger));
  }

  /** The end, once: whatever the client held is given back or closed. `orderly`: what it sent before still runs to its end, as on a server. */
  #end(reason: string, orderly = false): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#leasing.end();
    this.#inbox.clear();
    if (orderly) this.#flush();
    else this.#output.clear();
    if (this.#server !== undefined) this.#leave(this.#server, reason, orderly);
    this.#auto?.end();
    this.#statements?.end();
    this.pool.clients--;
    this.#context.onSessionEnd(this, reason);
  }

  #leave(server: Server, reason: string, orderly: boolean): void {
    this.#detach(server);
    if (server.closed) return;
    const unfinished = this.#inbox.midMessage;
    server.midRequest = unfinished && !this.#gathering.dropping;
    const stops = !orderly && this.#context.cancelsForLostClients();
    const resets = this.#mode === "session";
    quitServer(this.pool, server, this.#auto, { reason, resets, unfinished, stops });
  }
}
