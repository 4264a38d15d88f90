/** Which statements have made a client's reservations, and when. */
import { emptyMap, ownMap } from "../../base/empty-map.ts";
import { redacted } from "../../sql/index.ts";
import type { PassingName } from "./passing.ts";
import { foundIn, Reservation, type ReservationName } from "./reservations.ts";

export interface HeldFor {
  readonly reservation: ReservationName | PassingName;
  readonly sinceMs: number;
  /** Without literals; empty if that is not known. */
  readonly statement: string;
}

/** Statements that are remembered until the ledger has looked. */
const noticedMax = 16;

interface Noticed {
  /** Parts of the state that it may have touched, those of which its text says so, and reservations that it asks for. */
  readonly touches: number;
  readonly toldTouches: number;
  readonly reserves: number;
  readonly text: string;
}

export class Causes {
  #noticed: Noticed[] | undefined;
  /** How many of them the ledger was asked about. */
  #asked = 0;
  #held: Map<ReservationName, HeldFor> = emptyMap;

  get held(): HeldFor[] {
    return [...this.#held.values()];
  }

  /** A statement is on its way. */
  notice({ touches, toldTouches, reserves, text }: Noticed): void {
    this.#noticed ??= [];
    if (this.#noticed.length < noticedMax) this.#noticed.push({ touches, toldTouches, reserves, text });
  }

  /** The ledger is asked what was left by all that has been noticed so far. */
  asked(): void {
    this.#asked = this.#noticed?.length ?? 0;
  }

  /** It has answered, and reservations have begun: nothing of that is a reason for what it finds later. */
  answered(): void {
    this.#noticed?.splice(0, this.#asked);
    this.#asked = 0;
  }

  /** The ledger has looked, and nothing is on its way: what was done until now is done. */
  forget(): void {
    this.#noticed = undefined;
    this.#asked = 0;
  }

  begin(reservation: ReservationName, nowMs: number): HeldFor {
    const bit = Reservation[reservation];
    const part = partOf.get(bit) ?? 0;
    // Whatever runs code may have done it; what says that it does is the likelier one.
    const cause =
      this.#noticed?.find((one) => (one.reserves & bit) !== 0 || (one.toldTouches & part) !== 0) ??
      this.#noticed?.find((one) => (one.touches & part) !== 0);
    const held = { reservation, sinceMs: nowMs, statement: redacted(cause?.text ?? "") };
    this.#held = ownMap(this.#held).set(reservation, held);
    return held;
  }

  end(reservation: ReservationName): void {
    this.#held.delete(reservation);
  }
}

const partOf: ReadonlyMap<number, number> = new Map(
  [...foundIn].map(([part, reservation]) => [reservation, part]),
);
