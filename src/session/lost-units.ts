/**
 * A client's own server is lost before it has answered, and its pool follows the primary: whether the session goes on in
 * auto mode, and with what. It does if all that the client waits for stands outside of a transaction and nothing of its
 * session was on that server alone: each unit is answered with one error and one ReadyForQuery, or, if it is a plain read
 * of which the client has seen nothing, runs again.
 *
 * In a transaction the session ends: a client that takes no notice of an error would go on outside of it, each of its
 * statements committed for itself.
 */
import { Failure } from "../base/errors.ts";
import type { Server } from "../pool/server.ts";
import { TransactionStatus } from "../wire/constants.ts";
import type { SharingParts } from "./auto/shared-unit.ts";
import { errorReply } from "./replies.ts";

/** A read that ends its server, each time, is not to end all of them. */
const rereadsMax = 2;

export class LostUnits {
  readonly #parts: SharingParts;
  /** ReadyForQuery messages that clients had got from the server when all was answered last. */
  #units = 0;
  /** The client has seen something of a reply since. */
  #relayed = false;
  #rereads = 0;

  constructor(parts: SharingParts) {
    this.#parts = parts;
  }

  /** The unit goes to a server that was just given to the client. */
  begin({ replies }: Server): void {
    this.#units = replies.units;
    this.#relayed = false;
  }

  onReplies(): void {
    this.#relayed = true;
  }

  onSettled({ replies }: Server): void {
    this.#units = replies.units;
    this.#relayed = false;
    this.#rereads = 0;
  }

  /** `owed`: how many units the client waits for, if that can be said. */
  outlives(server: Server, owed: number | undefined): boolean {
    const { auto } = this.#parts;
    if (owed === undefined || owed === 0 || server.midReply) return false;
    if (!auto.follows || auto.begins || server.replies.status !== TransactionStatus.idle) return false;
    return auto.holdsNothing(server.replies.units === this.#units);
  }

  /** Whether the one unit on its way is a read that can run again, as if it had not run yet. Takes note of it. */
  runsAgain({ replies }: Server, owed: number): boolean {
    const { sender } = this.#parts;
    if (owed !== 1 || !sender.rereads || this.#relayed || replies.units !== this.#units) return false;
    if (++this.#rereads > rereadsMax) return false;
    sender.reset();
    return true;
  }

  /** What the client gets instead of its answers. */
  answer(failure: Failure, owed: number, asPgbouncer: boolean): Buffer {
    const { auto, activity, clock, gathering, sender } = this.#parts;
    // Of a read it is known that it has changed nothing.
    const told = sender.rereads && failure.cause instanceof Failure ? failure.cause : failure;
    auto.onLost();
    sender.end();
    activity.settled(clock.now(), TransactionStatus.idle);
    const reply = Buffer.concat([errorReply("ERROR", told, asPgbouncer), gathering.ready]);
    return Buffer.concat(Array.from({ length: owed }, () => reply));
  }
}
