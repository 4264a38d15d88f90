/** A class for people and tools: what it is, where it would go, what it would hold, and why. */
import type { Catalog } from "./catalog.ts";
import { type ExplainedFunction, explainFunction } from "./function-volatility.ts";
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
  readonly multiplexedReason: string | null;
  readonly cacheable: boolean;
  readonly cacheableReason: string | null;
  /** What the server would be kept for. */
  readonly reservations: readonly ReservationReason[];
  readonly effects: readonly SessionEffect[];
  /** With how volatile they are taken to be, and why. */
  readonly functions: readonly ExplainedFunction[];
  readonly relations: readonly string[];
  readonly hints: readonly string[];
}

/** `catalog`: by which it was classified. */
export function explain(statementClass: StatementClass, catalog: Catalog): Explanation {
  const { shareable, opaque, route, cacheable, hints } = statementClass;
  const exclusive =
    shareable === true && hints.some(({ name }) => name === exclusiveHint) ? "hint" : shareable;
  return {
    kind: statementClass.kind,
    statements: statementClass.statements.map(({ tag }) => tag),
    route: route === "any" ? "any" : "primary",
    routeReason: route === "any" ? null : route,
    shareable: shareable === true,
    shareableReason: shareable === true ? null : shareable,
    opaque: opaque !== false,
    opaqueReason: opaque === false ? null : opaque,
    multiplexed: exclusive === true,
    multiplexedReason: exclusive === true ? null : exclusive,
    cacheable,
    // now() and random(), or catalogs, tell other rows for the same data.
    cacheableReason: cacheable ? null : shareable === true ? "not_only_data" : shareable,
    reservations: reservationReasons(statementClass),
    effects: statementClass.effects,
    functions: functionsOf(statementClass, catalog),
    relations: unique(statementClass.relations.map(({ schema, name }) => dotted(schema, name))),
    hints: hints.map(({ name, value }) => (value === undefined ? name : `${name}=${value}`)),
  };
}

// In a comment of the statement: it never runs beside others.
const exclusiveHint = "exclusive";

/** Each name once, however many arguments it is given. */
function functionsOf({ functions }: StatementClass, catalog: Catalog): ExplainedFunction[] {
  const explained = functions.map((use) => explainFunction(use, catalog));
  return explained.filter(({ name }, at) => explained.findIndex((other) => other.name === name) === at);
}

/** What is written to is read as well. */
function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}

function dotted(schema: string | undefined, name: string): string {
  return schema === undefined ? name : `${schema}.${name}`;
}
