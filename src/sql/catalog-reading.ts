/**
 * How a catalog is read: one query after the other, until no more functions are found to be quiet.
 *
 *     bodies ─▶ question ─▶ quiet ones among the bodies? ─▶ question again ─▶ … ─▶ catalog
 *
 * A function is quiet only if all that it names has been proven harmless before, so what calls each other in a circle never is.
 */
import { Catalog, type CatalogRow } from "./catalog.ts";
import { bodiesQuery, bodyKind, catalogQuery } from "./catalog-query.ts";
import { type FunctionBody, isQuiet, readBody } from "./function-body.ts";

/** Functions that call functions that call functions: deeper ones are not looked into. */
const questionsMax = 4;

export class CatalogReading {
  /** Functions that may be quiet, by number. */
  readonly #bodies = new Map<string, FunctionBody>();
  readonly #quiet: string[] = [];
  #questions = 0;
  /** To be run next, by the simple protocol, in any session; undefined: all is known. */
  query: string | undefined = bodiesQuery;
  catalog: Catalog = Catalog.unknown;

  /** The rows that `query` has yielded. */
  take(rows: readonly CatalogRow[]): void {
    if (this.#questions === 0) this.#takeBodies(rows);
    else this.#takeAnswer(rows);
  }

  #takeBodies(rows: readonly CatalogRow[]): void {
    for (const [kind, oid, language, source] of rows) {
      if (kind !== bodyKind || !/^\d+$/.test(oid ?? "")) continue;
      const body = readBody(language === "sql" ? "sql" : "plpgsql", source ?? "");
      if (body !== undefined) this.#bodies.set(oid ?? "", body);
    }
    this.#ask();
  }

  #takeAnswer(rows: readonly CatalogRow[]): void {
    this.catalog = Catalog.loaded(rows);
    const known = this.#quiet.length;
    for (const [oid, body] of this.#bodies) {
      if (!isQuiet(body, this.catalog)) continue;
      this.#bodies.delete(oid);
      this.#quiet.push(oid);
    }
    if (this.#quiet.length === known || this.#questions === questionsMax) this.query = undefined;
    else this.#ask();
  }

  #ask(): void {
    this.#questions += 1;
    this.query = catalogQuery(this.#quiet);
  }
}
