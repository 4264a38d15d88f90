/**
 * One client's read-only transaction on a standby, from the answer to its first statement (standby-read.ts) to its end.
 * The server is the transaction's; the client itself holds none meanwhile, and each of its units is looked at as a whole before
 * it is sent, one behind the other.
 *
 *     unit ─▶ may it run on a standby? ─▶ sent ─▶ answered: next one, or the end: given back
 *                │ no                       │ lost: an ERROR, in a transaction that has failed
 *                ▼                          ▼
 *     nothing done that another snapshot could contradict? ─▶ the transaction begins again, on the primary, unseen
 *                │ no
 *                ▼
 *     an ERROR (40001), and the client's next transactions begin on the primary
 *
 * Another snapshot contradicts nothing in READ COMMITTED, where each statement has its own, nor before anything was read. What was
 * done besides (local settings, savepoints) is done again there, behind the BEGIN; but cursors cannot be taken along. Nothing
 * that is sent here can leave something beyond the transaction's end.
 */
import { assert } from "../../base/assert.ts";
import { type Failure, OperationError } from "../../base/errors.ts";
import type { Pool } from "../../pool/pool.ts";
import { repliesPendingBytesMax, type Server, type ServerOwner } from "../../pool/server.ts";
import { TransactionStatus } from "../../wire/constants.ts";
import { sqlstateOf } from "../../wire/fields.ts";
import { Frame } from "../../wire/framer.ts";
import type { Rest } from "../gathering.ts";
import { flushSynthesised, leaveServer, rollBack } from "../handover.ts";
import { endsUnit, leavesPortal, type Unit } from "../unit.ts";
import { seesAnew } from "./read-only.ts";
import type { SharingParts } from "./shared-unit.ts";

/** Last words about limits that the client has set itself (25P03, 25P04): they end its session, as everywhere. */
const limitsOfClient = /^25P/;

/** What the session does. */
export interface TransactionClient {
  /** The unit is answered. */
  onReadDone(): void;
  /** The server is gone before the end of a unit. `torn`: in the middle of a message, of the server or the client; `rest`: what of it is still to come from the client. */
  onReadLost(failure: Failure, torn: boolean, rest: Rest): void;
  /** The client has the server's last words, and its session is over. */
  onServerLost(failure: Failure): void;
  onServerDrain(): void;
}

export class StandbyTransaction implements ServerOwner {
  readonly #client: TransactionClient;
  readonly #parts: SharingParts;
  #pool: Pool | undefined;
  #server: Server | undefined;
  /** Each statement has a snapshot of its own. */
  #seesAnew = false;
  /** Something was read in this transaction. */
  #hasRead = false;
  /** Something was done that ends with the transaction. */
  #leaves = false;
  /** The unit that runs ends the transaction, and the next one begins with that. */
  #chains = false;
  /** The unit that runs, to be done again where the transaction begins again. */
  #repeats: Buffer | undefined;
  /** A unit is not answered; its batch has not ended; its last message is not complete. */
  #running = false;
  #open = false;
  #streams = false;

  constructor(client: TransactionClient, parts: SharingParts) {
    this.#client = client;
    this.#parts = parts;
  }

  get server(): Server | undefined {
    return this.#server;
  }

  /** The first statement is answered, on `server`, which nobody has now. */
  begin(pool: Pool, server: Server): void {
    assert(this.#server === undefined && server.owner === undefined, "a client has one transaction");
    const { auto } = this.#parts;
    this.#pool = pool;
    this.#server = server;
    server.owner = this;
    this.#start();
    auto.heldBegin.runElsewhere(server.replies.status as TransactionStatus);
  }

  /** As {@link begin}, but the server is gone already. */
  beginLost(failure: Failure): void {
    this.#start();
    this.#lose(failure, false);
  }

  #start(): void {
    const { auto } = this.#parts;
    this.#seesAnew = seesAnew(auto.heldBegin.modes, auto.client);
    this.#hasRead = !auto.route.opens;
    this.#leaves = false;
    this.#running = false;
    this.#open = false;
  }

  /** What becomes of the gathered unit: it is sent here, or the transaction begins again, or that is not possible. */
  judge(): "here" | "elsewhere" | "nowhere" {
    const { replies } = this.#ownServer;
    const { route } = this.#parts.auto;
    // All it says then is that the transaction has failed, or that it is over.
    if (replies.status === TransactionStatus.failed) return "here";
    if (route.stays && (this.#hasRead || route.opens || !route.exclusive || route.ends)) return "here";
    if (this.#open || this.#leaves || (this.#hasRead && !this.#seesAnew)) return "nowhere";
    return "elsewhere";
  }

  /** Sends the gathered unit. Returns whether it will be answered; else more of its batch has to come. */
  send(unit: Unit): boolean {
    const server = this.#ownServer;
    const { auto, gathering, output, sender } = this.#parts;
    const { route } = auto;
    const last = unit.length - 1;
    this.#running = true;
    if (route.leaves) auto.reports.keep();
    this.#streams = unit.kind(last) === Frame.head;
    this.#open = !endsUnit(unit.type(last));
    this.#chains = route.chains;
    gathering.batchOpen = this.#open;
    this.#repeats = route.opens && !this.#open ? auto.heldBegin.repeatable(unit) : undefined;
    const leaves = (route.leaves || route.opens) && this.#repeats === undefined;
    this.#hasRead = !route.chains && (this.#hasRead || !route.opens);
    this.#leaves = !route.chains && (this.#leaves || leaves || leavesPortal(unit));
    sender.send(server);
    output.flush(server.transport);
    flushSynthesised(server, this.#parts.transport);
    return !this.#open;
  }

  /** The transaction begins again, elsewhere. */
  giveUp(): void {
    const [pool, server] = this.#end();
    if (this.#open) pool.discard(server, "a transaction has ended in the middle of a batch");
    else rollBack(pool, server);
    this.#parts.gathering.batchOpen = false;
    this.#parts.auto.reports.restore();
    this.#parts.auto.heldBegin.restore();
  }

  /** The unit that was judged cannot run anywhere: the transaction has failed. Returns what its client is told. */
  refuse(): Failure {
    this.giveUp();
    const { heldBegin, route } = this.#parts.auto;
    heldBegin.fail();
    route.keepsToPrimary = true;
    return cannotMove();
  }

  async cancel(): Promise<void> {
    const server = this.#ownServer;
    if (!server.replies.settled) await this.#pool?.cancel(server);
  }

  /** The client is gone. `stops`: what still runs is cancelled. */
  leave(stops: boolean): void {
    const unfinished = this.#streams;
    const [pool, server] = this.#end();
    if (server.closed) return;
    server.midRequest = unfinished;
    leaveServer(pool, server, { reason: "client is gone", resets: false, unfinished, stops });
  }

  /** The client's socket takes bytes again. */
  onDrain(): void {
    this.#server?.reading.resume();
  }

  // ---- from the server ----

  onReplies(bytes: Buffer): boolean {
    const { transport } = this.#parts;
    if (transport.write(bytes)) return true;
    if (transport.pendingBytes > repliesPendingBytesMax) this.#server?.reading.stop();
    return false;
  }

  onWords(message: Buffer): Buffer | undefined {
    const server = this.#ownServer;
    // Its last words are about a connection that the client does not have.
    if (server.dying && !limitsOfClient.test(sqlstateOf(message, 0, message.length))) return undefined;
    return this.#parts.sender.reword(server, message);
  }

  readonly reportsDue = (names: readonly string[]): Buffer | undefined =>
    this.#parts.auto.reports.take(this.#ownServer, names);
  readonly onNotification = (): undefined => undefined;

  onParameter(name: string, value: string): void {
    this.#parts.auto.reports.add(name, value);
  }

  onDropped(): void {
    // Nothing that is sent here drops something.
  }

  onServerDrain(): void {
    this.#client.onServerDrain();
  }

  onSettled(): void {
    const server = this.#ownServer;
    const { activity, auto, clock, sender } = this.#parts;
    const { status } = server.replies;
    const nowMs = clock.now();
    activity.settled(nowMs, status);
    sender.end();
    this.#running = false;
    this.#streams = false;
    if (status !== TransactionStatus.idle) {
      if (this.#chains) {
        auto.reports.settle();
        auto.heldBegin.chain();
      } else if (this.#repeats !== undefined && status === TransactionStatus.inTransaction) {
        auto.heldBegin.repeat(this.#repeats);
      }
      auto.heldBegin.runElsewhere(status as TransactionStatus);
    } else {
      const [pool] = this.#end();
      auto.reports.settle();
      auto.heldBegin.runElsewhere(undefined);
      pool.release(server, false, nowMs);
    }
    this.#client.onReadDone();
  }

  onServerLost(failure: Failure, relayed: boolean): void {
    const { midReply: torn, lastWords } = this.#ownServer;
    this.#end();
    if (relayed && limitsOfClient.test(lastWords?.code ?? "")) this.#client.onServerLost(failure);
    else this.#lose(failure, torn);
  }

  #lose(failure: Failure, torn: boolean): void {
    const { activity, auto, clock } = this.#parts;
    const failed = auto.heldBegin.status === TransactionStatus.failed;
    auto.reports.restore();
    auto.heldBegin.restore();
    if (this.#running) {
      this.#running = false;
      auto.heldBegin.fail();
      activity.settled(clock.now(), TransactionStatus.failed);
      // A Query of which not all has come has no end that could be answered.
      const cut = torn || (this.#streams && !this.#open);
      this.#client.onReadLost(failure, cut, this.#streams ? "message" : this.#open ? "messages" : "nothing");
    } else if (failed) {
      auto.heldBegin.fail();
    } else if (!this.#seesAnew || this.#leaves) {
      auto.heldBegin.fail(failure);
    }
    // Else its next statement begins it again, and sees what is there then, as it would have.
  }

  get #ownServer(): Server {
    assert(this.#server !== undefined, "the transaction has a server");
    return this.#server;
  }

  #end(): [Pool, Server] {
    const [pool, server] = [this.#pool, this.#ownServer];
    assert(pool !== undefined, "a server is of a pool");
    this.#pool = undefined;
    this.#server = undefined;
    if (server.owner === this) server.owner = undefined;
    server.reading.resume();
    return [pool, server];
  }
}

function cannotMove(): OperationError {
  return new OperationError("could not move the transaction from a standby to the primary", {
    code: "session.transaction_on_standby",
    sqlstate: "40001",
    source: "internal",
    retrySafe: true,
    detail:
      "The statement needs the primary, and what the transaction has read or done on the standby cannot be had there.",
    hint: "Try the transaction again: it will run on the primary.",
  });
}
