/**
 * Where a client's unit may run, as far as its statements tell: between units of others, on a standby, or only on a
 * server of its own; and what the client has written, for its later reads.
 */
import { WriteFloor } from "../../cluster/floor.ts";
import type { RouteHint } from "../../cluster/need.ts";
import type { Pace } from "../../pool/pace.ts";
import type { AutoDatabase } from "./database.ts";
import type { Knowledge } from "./knowledge.ts";

export class UnitRoute {
  /** Of its slowest statement. */
  pace: Pace | undefined;
  /** Something in it needs a server for itself. */
  exclusive = false;
  /** All of the unit may run on a standby. */
  reads = true;
  /** Where its comments want it to run. */
  hint: RouteHint | undefined;
  readonly written: WriteFloor = new WriteFloor();
  /** Something was sent since the last settled transaction that may have written. */
  #wrote = false;

  /** A unit begins; nothing of it was seen. */
  begin(): void {
    this.pace = undefined;
    this.exclusive = false;
    this.reads = true;
    this.hint = undefined;
  }

  see(knowledge: Knowledge): void {
    this.reads &&= knowledge.reads;
    this.hint ??= knowledge.routeHint;
    this.#wrote ||= knowledge.writes;
    const { pace } = knowledge;
    if (pace !== undefined && (this.pace === undefined || pace.fastMs > this.pace.fastMs)) this.pace = pace;
  }

  /** Everything is answered, and no transaction is open. */
  settle(database: AutoDatabase): void {
    if (this.#wrote) database.noteWrite(this.written);
    this.#wrote = false;
  }
}
