/**
 * How volatile a function is taken to be, and by what that is known: for people who ask why a statement is classified as it is. Of several
 * functions that a name may stand for it is the most volatile one, as the search path is the client's.
 */
import { builtinTrait, builtinVolatility } from "./builtin-functions.ts";
import type { Catalog } from "./catalog.ts";
import type { FunctionUse } from "./statement-class.ts";

/** As pg_proc has it. `unknown`: the function may do anything. */
export type Volatility = "immutable" | "stable" | "volatile" | "unknown";

export interface ExplainedFunction {
  readonly name: string;
  readonly volatility: Volatility;
  /** `builtin`, with what is known of it besides; `catalog`: of the database's own; or why it is not known. */
  readonly reason: string;
}

const rank: Readonly<Record<Volatility, number>> = { immutable: 0, stable: 1, volatile: 2, unknown: 3 };

export function explainFunction({ schema, name }: FunctionUse, catalog: Catalog): ExplainedFunction {
  const builtin = schema === undefined || schema === "pg_catalog" ? ofBuiltin(name) : undefined;
  const certain = schema === "pg_catalog" && builtin !== undefined;
  const own = certain ? undefined : ofDatabase(schema, name, catalog, builtin !== undefined);
  const [volatility, reason] = worse(builtin, own);
  const listed = catalog.listed(schema, name);
  const list =
    listed === undefined ? "" : listed === "reads" ? "read_only_function_list" : "write_function_list";
  return {
    name: schema === undefined ? name : `${schema}.${name}`,
    volatility,
    reason: list === "" ? reason : `${list}; ${reason}`,
  };
}

type Found = readonly [volatility: Volatility, reason: string];

function worse(a: Found | undefined, b: Found | undefined): Found {
  if (a === undefined || b === undefined) return a ?? b ?? ["unknown", "unknown_function"];
  return rank[b[0]] > rank[a[0]] ? b : a;
}

function ofBuiltin(name: string): Found | undefined {
  const volatility = builtinVolatility(name);
  const trait = builtinTrait(name);
  if (volatility === undefined || trait === undefined) return undefined;
  return [volatility, trait === volatility ? "builtin" : `builtin, ${trait}`];
}

/** Undefined: nothing of that name is the database's own, and PostgreSQL has one. */
function ofDatabase(
  schema: string | undefined,
  name: string,
  catalog: Catalog,
  isBuiltin: boolean,
): Found | undefined {
  switch (catalog.foundFunction(schema, name)) {
    case "user":
      return ["volatile", "catalog, user_function"];
    case "quiet":
      return ["volatile", "catalog, leaves the session as it was"];
    case "user_stable":
      return ["stable", "catalog, user_function"];
    case "harmless":
      return ["stable", "catalog, compiled"];
    case "absent":
      if (catalog.state === "unknown") return ["unknown", "catalog_not_loaded"];
      return isBuiltin ? undefined : ["unknown", "unknown_function"];
  }
}
