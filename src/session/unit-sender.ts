/**
 * Sends a client's gathered unit to the server that it has got, and once more if need be.
 *
 * A shared statement may have been planned before somebody changed its table, and is refused for good then: "cached
 * plan must not change result type" (plancache.c RevalidateCachedQuery). A client that has only just prepared it, as it
 * believes, must not hear of that. So in auto mode a unit that runs outside of a transaction is kept until it is
 * answered; on that error, if nothing has been executed, it is sent again, and the statement is parsed anew. What
 * the client has been told before the error is not told again.
 *
 *     sent       Bind s  Execute  Sync          Close s  Parse s  Bind s  Execute  Sync
 *     received   E 0A000 ─ ─ ─ ─ ─ Z            3        1        2 ─▶    D C ─▶   Z ─▶
 */
import { assert } from "../base/assert.ts";
import { Handling } from "../pool/replies.ts";
import type { Server } from "../pool/server.ts";
import { Frontend, TransactionStatus } from "../wire/constants.ts";
import { Frame, type Framer } from "../wire/framer.ts";
import type { AutoSession } from "./auto/auto.ts";
import { beginsUnit } from "./flow.ts";
import type { Gathering } from "./gathering.ts";
import type { Output } from "./output.ts";
import type { Requests } from "./requests.ts";
import { namesStatement, saysPlanIsStale, saysStatementIsMissing } from "./statement-messages.ts";
import type { ClientStatements } from "./statements.ts";
import { completesUnit, isRepeatable, takeUnit, type Unit } from "./unit.ts";

/** So often a unit is sent again: others may change tables meanwhile. */
const repeatsMax = 3;

export class UnitSender {
  readonly #gathering: Gathering;
  readonly #requests: Requests;
  readonly #output: Output;
  readonly #framer: Framer;
  /** In auto mode, else undefined. */
  readonly #auto: AutoSession | undefined;
  readonly #statements: ClientStatements | undefined;
  /** The unit is kept, and may be sent again. */
  #repeatable = false;
  /** The unit is kept: it is a plain read, and may run on another server. */
  rereads = false;
  /** The messages of a batch are kept as they pass. */
  #keeping = false;
  #repeats = 0;
  /** Messages at its start that are answered for good. */
  #answered = 0;
  /** The message behind them is a Describe of which the parameters are answered. */
  #described = false;
  /** What the client had asked of the server before the unit. */
  #askedBefore = 0;

  constructor(parts: {
    readonly gathering: Gathering;
    readonly requests: Requests;
    readonly output: Output;
    readonly framer: Framer;
    readonly auto: AutoSession | undefined;
    readonly statements: ClientStatements | undefined;
  }) {
    this.#gathering = parts.gathering;
    this.#requests = parts.requests;
    this.#output = parts.output;
    this.#framer = parts.framer;
    this.#auto = parts.auto;
    this.#statements = parts.auto === undefined ? undefined : parts.statements;
  }

  /** A part of the unit's replies has reached the client, and it needs a server for itself. */
  get partlyAnswered(): boolean {
    return this.#described || this.#answered > 0;
  }

  /** Sends a message to a server that the client has had before. */
  forward(server: Server, kind: Frame, { type, buffer, start, end }: Framer): void {
    // A Query is the end of what is kept, and never its beginning.
    if (this.#statements !== undefined && (this.#keeping || type !== Frontend.query))
      this.#keep(server, kind, type, buffer, start, end);
    this.#requests.forward(server, type, buffer, start, end);
  }

  /** Keeps the message if it is part of a batch that may have to be sent again. */
  #keep(server: Server, kind: Frame, type: number, buffer: Buffer, start: number, end: number): void {
    const { replies } = server;
    if (!this.#keeping) {
      if (
        this.#repeatable ||
        this.rereads ||
        !replies.betweenUnits ||
        replies.status !== TransactionStatus.idle
      )
        return;
      if (!beginsUnit(type) || !replies.answered) return;
      this.#keeping = true;
      this.#gathering.unit = takeUnit();
      this.#askedBefore = replies.asked;
    }
    const { unit } = this.#gathering;
    assert(unit !== undefined, "what is kept is in a unit");
    unit.push(kind, type, buffer, start, end);
    if (kind === Frame.whole && !completesUnit(type) && !unit.full) return;
    this.#repeatable = kind === Frame.whole && this.#statements !== undefined && isRepeatable(unit);
    this.#keeping = false;
    if (!this.#repeatable) this.#gathering.forget();
  }

  /** Sends the unit to a server that was just given to the client; it is kept only if that may have to be done again. */
  send(server: Server): void {
    const { unit } = this.#gathering;
    const auto = this.#auto;
    this.rereads =
      auto?.follows === true && !auto.begins && unit !== undefined && auto.shares(unit) !== undefined;
    this.#send(server, auto?.begins === false);
    if (!this.#repeatable && !this.rereads) this.#gathering.forget();
  }

  /** Sends the unit to a server that it shares; it is kept. */
  sendShared(server: Server): void {
    this.#send(server, true);
  }

  #send(server: Server, outside: boolean): void {
    const { unit } = this.#gathering;
    const statements = this.#statements;
    assert(unit !== undefined, "a unit is sent until it is forgotten");
    if (this.#repeats === 0) {
      this.#repeatable = outside && statements !== undefined && isRepeatable(unit);
    }
    if (statements === undefined || !this.#repeatable) {
      for (let i = 0; i < unit.length; i++) this.#forward(server, unit, i);
      return;
    }
    this.#askedBefore = server.replies.asked - this.#answered;
    server.replies.skipsParameters = this.#described;
    statements.made.parsesAgain = false;
    for (let i = 0; i < unit.length; i++) {
      if (i >= this.#answered) this.#forward(server, unit, i);
      else if (unit.type(i) === Frontend.bind) this.#bindAgain(server, unit, i);
    }
    statements.made.parsesAgain = true;
  }

  /** The unit is answered. */
  end(): void {
    if (!this.#repeatable && !this.#keeping && !this.rereads) return;
    this.reset();
    this.#gathering.forget();
  }

  /** A server has still to answer what it was sent of the unit, and nobody waits for that. */
  leave(): void {
    this.#statements?.leaveUnit();
  }

  /** The unit is not sent again. */
  reset(): void {
    this.#repeatable = false;
    this.#keeping = false;
    this.rereads = false;
    this.#repeats = 0;
    this.#answered = 0;
    this.#described = false;
  }

  /**
   * An error or notice of the server for the client: as the client has to read it. Undefined: not at all, because the
   * unit was sent again, to a server that it has for itself.
   */
  reword(server: Server, message: Buffer): Buffer | undefined {
    // Behind it comes the end of the unit, and nothing else of the client's.
    const last = server.replies.length === 1 && !this.#framer.streaming;
    if (!last || !this.#refuses(server, message)) return this.#requests.reword(server, message);
    server.replies.swallowFirst();
    this.#send(server, true);
    this.#output.flush(server.transport);
    return undefined;
  }

  /** As {@link reword} for a unit that shares a server, but undefined: it has to be sent again. */
  rewordShared(server: Server, message: Buffer): Buffer | undefined {
    // Somebody else's unit was to make the statement, and has failed: who names one that is not the client's does not share.
    const missing = saysStatementIsMissing(message);
    return this.#refuses(server, message, missing) ? undefined : this.#requests.reword(server, message);
  }

  /** Whether the message says that a plan is out of date, or that a statement is `missing`, and the unit can be sent again. Takes note of how. */
  #refuses(server: Server, message: Buffer, missing = false): boolean {
    const { unit } = this.#gathering;
    const statements = this.#statements;
    if (!this.#repeatable || unit === undefined || statements === undefined) return false;
    if (this.#repeats >= repeatsMax || !(missing || saysPlanIsStale(message))) return false;
    const failed = server.replies.failedAt - this.#askedBefore;
    if (failed < this.#answered || failed >= unit.length) return false;
    const type = unit.type(failed);
    if (type !== Frontend.bind && type !== Frontend.describe) return false;
    for (let i = 0; i < failed; i++) if (unit.type(i) === Frontend.execute) return false;
    if (!statements.distrust(server, unit, failed, missing)) return false;
    this.#repeats++;
    this.#answered = failed;
    this.#described =
      type === Frontend.describe && namesStatement(unit.buffer(failed), unit.start(failed), unit.end(failed));
    return true;
  }

  #forward(server: Server, unit: Unit, i: number): void {
    this.#requests.forward(server, unit.type(i), unit.buffer(i), unit.start(i), unit.end(i));
  }

  /** The portal is gone with the error; that it was made is known to the client. */
  #bindAgain(server: Server, unit: Unit, i: number): void {
    const buffer = unit.buffer(i);
    this.#statements?.bind(server, this.#output, buffer, unit.start(i), unit.end(i), Handling.swallow);
  }
}
