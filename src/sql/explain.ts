/** A class for people and tools: what it is, where it would go, what it would hold, and why. */
import { type ReservationReason, reservationReasons } from "./reservations.ts";
import type { SessionEffect, StatementClass, StatementKind } from "./statement-class.ts";

export interface Explanation {
  readonly kind: StatementKind;
  readonly statements: readonly string[];
  /** "any" or "primary", and why. */
  readonly route: "any" | "primary";
  readonly routeReason: string | null;
  readonly shareable: boolean;
  readonly shareableReason: string | null;
  readonly opaque: boolean;
  readonly opaqueReason: string | null;
  /** Would run in the pipeline of a server that others use at the same time. */
  readonly multiplexed: boolean;
  readonly cacheable: boolean;
  /** What the server would be kept for. */
  readonly reservations: readonly ReservationReason[];
  readonly effects: readonly SessionEffect[];
  readonly functions: readonly string[];
  readonly relations: readonly string[];
  readonly hints: readonly string[];
}

export function explain(statementClass: StatementClass): Explanation {
  const { shareable, opaque, route } = statementClass;
  return {
    kind: statementClass.kind,
    statements: statementClass.statements.map(({ tag }) => tag),
    route: route === "any" ? "any" : "primary",
    routeReason: route === "any" ? null : route,
    shareable: shareable === true,
    shareableReason: shareable === true ? null : shareable,
    opaque: opaque !== false,
    opaqueReason: opaque === false ? null : opaque,
    multiplexed: shareable === true,
    cacheable: statementClass.cacheable,
    reservations: reservationReasons(statementClass),
    effects: statementClass.effects,
    functions: statementClass.functions.map(({ schema, name }) => dotted(schema, name)),
    relations: statementClass.relations.map(({ schema, name }) => dotted(schema, name)),
    hints: statementClass.hints.map(({ name, value }) => (value === undefined ? name : `${name}=${value}`)),
  };
}

function dotted(schema: string | undefined, name: string): string {
  return schema === undefined ? name : `${schema}.${name}`;
}
