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
  /** Parts of the state that it may have touched, and reservations that it asks for. */
  readonly touches: number;
  readonly reserves: number;
  readonly text: string;
}

export class Causes {
  #noticed: Noticed[] | undefined;
  #held: Map<ReservationName, HeldFor> = emptyMap;

  get held(): HeldFor[] {
    return [...this.#held.values()];
  }

  /** A statement is on its way. */
  notice(touches: number, reserves: number, text: string): void {
    this.#noticed ??= [];
    if (this.#noticed.length < noticedMax) this.#noticed.push({ touches, reserves, text });
  }

  /** The ledger has looked, and nothing is on its way: what was done until now is done. */
  forget(): void {
    this.#noticed = undefined;
  }

  begin(reservation: ReservationName, nowMs: number): HeldFor {
    const bit = Reservation[reservation];
    const part = partOf.get(bit) ?? 0;
    const cause = this.#noticed?.find(
      ({ touches, reserves }) => (reserves & bit) !== 0 || (touches & part) !== 0,
    );
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
