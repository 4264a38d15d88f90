/**
 * What is known of a database beyond PostgreSQL's own functions: names of functions, operators, types and
 * relations that are not proven harmless. A snapshot: loaded anew, never changed.
 *
 * A name without a schema stands for the worst of that name in any schema, because the search path decides and is
 * the client's to set. Kinds of rows that `catalogQuery` yields, columns kind, schema, name:
 *
 * - `function`: defined by users, and declared volatile.
 * - `function_stable`: in a language that runs SQL (plpgsql, sql, plpython, …), declared stable or immutable. PostgreSQL does not
 *   enforce that it leaves nothing behind, but does refuse its writes.
 * - `function_quiet`: of either of the two, but proven to leave the session as it was. It may write to the database.
 * - `function_plain`: in C or built in, by an extension or a superuser, declared stable or immutable: believed.
 * - `operator`, `type`: whose functions are not harmless; domains with checks that call such functions.
 * - `cast`: there are casts by such functions. They may be implicit, so any expression may run them.
 * - `relation_read`: views, foreign tables and tables with row security that are not proven harmless to read.
 * - `relation_write`: relations with triggers, rules, defaults, checks or indexes not proven harmless to write.
 * - `relation_sequence`: relations with a column whose default takes the next value of a sequence.
 */
import type { FunctionLists, ListedAs } from "./function-lists.ts";

export type FunctionVerdict = "harmless" | "quiet" | "user" | "user_stable" | "absent";

type Names = Map<string, Set<string>>;

export class Catalog {
  /** `unknown`: nothing was loaded. `assumed`: there is nothing, for those who ask without a database. */
  readonly state: "unknown" | "assumed" | "loaded";
  readonly hasCasts: boolean;
  readonly hasTypes: boolean;
  readonly hasOperators: boolean;
  /** What an administrator says of functions comes before what was found. */
  readonly #lists: FunctionLists | undefined;
  readonly #names: Map<string, Names>;

  private constructor(state: Catalog["state"], names: Map<string, Names>, lists?: FunctionLists) {
    this.state = state;
    this.#names = names;
    this.#lists = lists;
    this.hasCasts = this.#names.has("cast");
    this.hasTypes = this.#names.has("type");
    this.hasOperators = this.#names.has("operator");
  }

  /** Nothing is known: whatever names a function or a relation is opaque. */
  static readonly unknown: Catalog = new Catalog("unknown", new Map());
  /** A database without functions, views and triggers of its own. */
  static readonly assumed: Catalog = new Catalog("assumed", new Map());

  static loaded(rows: readonly CatalogRow[]): Catalog {
    const names = new Map<string, Names>();
    for (const [kind, schema, name] of rows) add(names, kind ?? "", schema ?? "", name ?? "");
    return new Catalog("loaded", names);
  }

  /** The same with other lists. */
  with(lists: FunctionLists): Catalog {
    if (!lists.empty) return new Catalog(this.state, this.#names, lists);
    return this.#lists === undefined ? this : new Catalog(this.state, this.#names);
  }

  /** It is listed as one that writes. */
  mayWrite(schema: string | undefined, name: string): boolean {
    return this.#lists !== undefined && this.#lists.of(schema, name) === "writes";
  }

  /** What an administrator says of it. */
  listed(schema: string | undefined, name: string): ListedAs {
    return this.#lists?.of(schema, name);
  }

  userFunction(schema: string | undefined, name: string): FunctionVerdict {
    if (this.#lists !== undefined && this.#lists.of(schema, name) === "reads") return "harmless";
    return this.foundFunction(schema, name);
  }

  /** As {@link userFunction}, without the lists. */
  foundFunction(schema: string | undefined, name: string): FunctionVerdict {
    if (this.#has("function", schema, name)) return "user";
    if (this.#has("function_stable", schema, name)) return "user_stable";
    if (this.#has("function_quiet", schema, name)) return "quiet";
    return this.#has("function_plain", schema, name) ? "harmless" : "absent";
  }

  hasOperator(schema: string | undefined, name: string): boolean {
    return this.#has("operator", schema, name);
  }

  hasType(schema: string | undefined, name: string): boolean {
    return this.#has("type", schema, name);
  }

  relationIs(
    what: "relation_read" | "relation_write" | "relation_sequence",
    schema: string | undefined,
    name: string,
  ): boolean {
    return this.#has(what, schema, name);
  }

  #has(kind: string, schema: string | undefined, name: string): boolean {
    const schemas = this.#names.get(kind)?.get(name);
    return schemas !== undefined && (schema === undefined || schemas.has(schema));
  }
}

function add(names: Map<string, Names>, kind: string, schema: string, name: string): void {
  let ofKind = names.get(kind);
  if (ofKind === undefined) names.set(kind, (ofKind = new Map()));
  const schemas = ofKind.get(name);
  if (schemas === undefined) ofKind.set(name, new Set([schema]));
  else schemas.add(schema);
}

/** Kind, schema, name, as text. */
export type CatalogRow = readonly (string | null)[];
