/**
 * What a text says by itself, without knowing any database: the first half of a class. The second half, what
 * its functions and relations are, comes from a catalog (`verdict.ts`).
 */
import type {
  FunctionUse,
  Hint,
  OpaqueReason,
  PrimaryReason,
  RelationUse,
  Statement,
  StatementKind,
} from "./statement-class.ts";

export interface TypeUse {
  readonly schema: string | undefined;
  readonly name: string;
}

/** A call, and what of its arguments is constant. */
export interface Call extends FunctionUse {
  /** Texts of constant arguments; undefined where an argument is something else. */
  readonly constants: readonly (string | null | undefined)[];
  /** It runs exactly once if the statement succeeds: it stands alone in the list of a SELECT without FROM or WHERE, or in such a FROM. */
  readonly once: boolean;
}

export interface Syntax {
  readonly statements: readonly Statement[];
  readonly calls: readonly Call[];
  readonly relations: readonly RelationUse[];
  readonly operators: readonly TypeUse[];
  readonly types: readonly TypeUse[];
  /** Last parts of dotted names, which may be calls in disguise: `t.f` is `f(t)` if f is a function. */
  readonly fields: readonly string[];
  /** Whether words of the grammar ask for the time or for chance: CURRENT_DATE, TABLESAMPLE. */
  readonly unsteady: boolean;
  /** What is opaque whatever the catalog says. */
  readonly opaque: false | OpaqueReason;
  readonly route: "any" | PrimaryReason;
  readonly changesCatalog: boolean;
  readonly hints: readonly Hint[];
}

/** Of several statements, the kind that counts. */
export const kindRank: Readonly<Record<StatementKind, number>> = {
  empty: 0,
  read: 1,
  transaction: 2,
  utility: 3,
  write: 4,
  ddl: 5,
  unknown: 6,
};
