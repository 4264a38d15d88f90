/**
 * Why a client keeps its server beyond a transaction, and what in a session has to be looked at to know it.
 *
 * A *touch* is a part of a session's state that a statement may have changed. A *reservation* is what the ledger
 * has found there, or what no look-up could tell: such ones last until the client leaves or discards everything.
 */

/** Parts of a session's state. The ledger reads those that were touched. */
export const Touch = {
  settings: 1,
  prepared: 2,
  temporary: 4,
  locks: 8,
  cursors: 16,
  channels: 32,
  /** Not of the session: what the next one begins with. */
  defaults: 64,
  /** Only where there is one: not everybody may ask. */
  origin: 128,
  /** Only where one may have been made. */
  slots: 256,
} as const;

/** All that the ledger reads where anything may have been done. */
export const touchesAll = 127;

/** Reasons, as bits. */
export const Reservation = {
  temp_object: 1,
  advisory_lock: 2,
  with_hold_cursor: 4,
  /** There is no shared listener that could listen for the client. */
  listen: 8,
  prepare: 16,
  /** currval() and lastval() have a meaning on this server alone. */
  sequence: 32,
  /** Settings that cannot be made on another server, or that the ledger could not read. */
  opaque_setting: 64,
  load: 128,
  /** setseed(): what random() returns next. */
  seed: 256,
  replication_origin: 512,
  backup: 1024,
  /** Temporary ones of replication. */
  replication_slot: 2048,
} as const;

/** No reset undoes these: a server that has had one is closed when it is given back. */
export const unresettable: number =
  Reservation.load |
  Reservation.seed |
  Reservation.replication_origin |
  Reservation.backup |
  Reservation.replication_slot;

export type ReservationName = keyof typeof Reservation;

export const reservationNames: readonly ReservationName[] = Object.keys(Reservation) as ReservationName[];

/** Reservations that the ledger finds, by the part of the state where it finds them. */
export const foundIn: ReadonlyMap<number, number> = new Map<number, number>([
  [Touch.temporary, Reservation.temp_object],
  [Touch.locks, Reservation.advisory_lock],
  [Touch.cursors, Reservation.with_hold_cursor],
  [Touch.prepared, Reservation.prepare],
  [Touch.settings, Reservation.opaque_setting],
  [Touch.origin, Reservation.replication_origin],
  [Touch.slots, Reservation.replication_slot],
]);

/** Names of the reservations in a set. */
export function namesOf(reservations: number): ReservationName[] {
  return reservationNames.filter((name) => (reservations & Reservation[name]) !== 0);
}
