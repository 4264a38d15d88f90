/** The reasons of an effect to keep the server beyond the unit: the words that operators see. */
import type { SessionEffect, StatementClass } from "./statement-class.ts";

export type ReservationReason =
  | "transaction"
  | "copy"
  | "temp_object"
  | "advisory_lock"
  | "with_hold_cursor"
  | "sequence"
  | "seed"
  | "load"
  | "replication_origin"
  | "backup";

/**
 * What a class asks to keep the server for, if it succeeds. What only lasts to the end of the transaction is not named: that
 * is `transaction`, which the server's status tells better than any text.
 */
export function reservationReasons(statementClass: StatementClass): ReservationReason[] {
  const reasons = new Set<ReservationReason>();
  for (const { transaction } of statementClass.statements) {
    if (transaction?.kind === "begin") reasons.add("transaction");
  }
  for (const effect of statementClass.effects) {
    const reason = reservationOf(effect);
    if (reason !== undefined) reasons.add(reason);
  }
  return [...reasons];
}

export function reservationOf(effect: SessionEffect): ReservationReason | undefined {
  switch (effect.kind) {
    case "temp_object":
      return effect.action === "create" ? "temp_object" : undefined;
    case "advisory_lock":
      return effect.scope === "session" && effect.action === "lock" ? "advisory_lock" : undefined;
    case "declare_cursor":
      return effect.withHold ? "with_hold_cursor" : undefined;
    case "sequence":
      // Those who ask what they got last need the server that gave it to them.
      return effect.operation === "currval" || effect.operation === "lastval" ? "sequence" : undefined;
    case "copy":
      return effect.with === "client" ? "copy" : undefined;
    case "set_seed":
      return "seed";
    case "replication_origin":
      return effect.action === "setup" ? "replication_origin" : undefined;
    case "backup":
      return effect.action === "start" ? "backup" : undefined;
    case "load":
      return "load";
    default:
      return undefined;
  }
}
