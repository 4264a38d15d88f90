/**
 * PostgreSQL's own parser, compiled to WebAssembly (libpg-query). The one file of this room that waits for
 * something: the module is loaded once, after that parsing is synchronous.
 *
 * The package keeps one instance for the process and offers no way to replace it. A trap inside WebAssembly, or
 * a JavaScript stack that runs out in the middle of a parse, leaves an instance in an unknown state; so instances are made
 * here, from the package's module, and one that failed in any way but a syntax error is never used again. A
 * replacement is on its way at once; until it is there, `parse` says `unavailable`.
 */
// @ts-expect-error The package has types for its own face only.
import createModule from "libpg-query/wasm/libpg-query.js";

/** What libpg_query's JSON holds: nodes are objects with one key, their tag, or plain fields. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

export type ParseOutcome =
  | { readonly kind: "parsed"; readonly statements: readonly JsonObject[] }
  /** Refused by the grammar. */
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "unavailable" };

/** The part of the compiled module that is used; names are Emscripten's and libpg_query's. */
interface Instance {
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  _wasm_parse_query_raw(text: number): number;
  _wasm_free_parse_result(result: number): void;
  getValue(pointer: number, type: "i32"): number;
  UTF8ToString(pointer: number): string;
}

type Factory = (options: { print(): void; printErr(): void }) => Promise<Instance>;

const warmUp: readonly string[] = [
  "SELECT a.b, count(*) FROM a JOIN b ON a.x = b.y WHERE a.z IN ($1, 2) AND b.t LIKE 'c' GROUP BY 1 ORDER BY 2 LIMIT 3",
  "INSERT INTO a (b, c) VALUES ($1, 'x') ON CONFLICT (b) DO UPDATE SET c = excluded.c RETURNING *",
  "WITH x AS (UPDATE a SET b = CASE WHEN c THEN 1.5 ELSE now() END RETURNING *) SELECT * FROM x FOR UPDATE",
  "SET a = 'b'; BEGIN READ ONLY; DELETE FROM a WHERE b = $1::int; COMMIT",
  "SELECT FROM",
];

/** Offsets in libpg_query's PgQueryParseResult and PgQueryError. */
const errorOffset = 8;

export class Parser {
  #instance: Instance | undefined;
  #loading: Promise<void> | undefined;
  /** How many instances had to be given up. */
  failures = 0;

  /** Resolves when the parser is there. */
  static async load(): Promise<Parser> {
    const parser = new Parser();
    await parser.#load();
    return parser;
  }

  /** Resolves when an instance that was given up has been replaced. */
  async ready(): Promise<void> {
    await this.#loading;
  }

  /** Never throws. The text must be UTF-8 without a zero byte, and within bounds that `lex` has checked. */
  parse(text: Buffer): ParseOutcome {
    const instance = this.#instance;
    if (instance === undefined) return { kind: "unavailable" };
    try {
      return parseWith(instance, text);
    } catch {
      this.failures += 1;
      this.#instance = undefined;
      this.#loading = this.#load().catch(() => {
        // Nothing to be done but to go on without: every statement is unknown then, which is slow but right.
      });
      return { kind: "unavailable" };
    }
  }

  async #load(): Promise<void> {
    const ignore = (): void => {};
    const instance = await (createModule as Factory)({ print: ignore, printErr: ignore });
    // The first run of each part of the module compiles it, which takes a hundred times longer than the second.
    for (const statement of warmUp) parseWith(instance, Buffer.from(statement));
    this.#instance = instance;
  }
}

function parseWith(instance: Instance, text: Buffer): ParseOutcome {
  const pointer = instance._malloc(text.length + 1);
  if (pointer === 0) throw new Error("the parser has no memory");
  instance.HEAPU8.set(text, pointer);
  instance.HEAPU8[pointer + text.length] = 0;
  const result = instance._wasm_parse_query_raw(pointer);
  instance._free(pointer);
  if (result === 0) throw new Error("the parser has no memory");
  const error = instance.getValue(result + errorOffset, "i32");
  const outcome = error === 0 ? treeOf(instance, result) : refusal(instance, error);
  instance._wasm_free_parse_result(result);
  return outcome;
}

function treeOf(instance: Instance, result: number): ParseOutcome {
  const tree = JSON.parse(instance.UTF8ToString(instance.getValue(result, "i32"))) as {
    readonly stmts?: readonly JsonObject[];
  };
  return { kind: "parsed", statements: tree.stmts ?? [] };
}

function refusal(instance: Instance, error: number): ParseOutcome {
  const message = instance.getValue(error, "i32");
  return { kind: "refused", message: message === 0 ? "" : instance.UTF8ToString(message) };
}
