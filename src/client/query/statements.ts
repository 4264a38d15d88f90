/**
 * The statements that this session has prepared, by their text. A text that comes again and again is prepared
 * under a name, so that the server parses and plans it once; before that, the unnamed statement does.
 */
import { LruMap } from "../../base/lru.ts";
import type { Column, RowOptions } from "./rows.ts";
import { RowReader } from "./rows.ts";

export class Statement {
  readonly text: string;
  /** Its name on the server once it is prepared; empty before. */
  name = "";
  /** The server has confirmed the name. */
  ready = false;
  uses = 0;
  /** Object identifiers of its parameters' types, once the server has told them. */
  parameterTypes: readonly number[] | undefined;
  /** Its columns; null if it returns none; undefined until the server has told. */
  columns: readonly Column[] | null | undefined;
  #reader: RowReader | undefined;

  constructor(text: string) {
    this.text = text;
  }

  /** The reader of its rows; the last one is used again where the options are the same. */
  reader(columns: readonly Column[], options: RowOptions): RowReader {
    const last = this.#reader;
    if (last?.columns === columns && sameOptions(last.options, options)) return last;
    this.#reader = new RowReader(columns, options);
    return this.#reader;
  }
}

function sameOptions(a: RowOptions, b: RowOptions): boolean {
  return a.rowMode === b.rowMode && a.format === b.format && a.columns === b.columns && a.types === b.types;
}

export class StatementCache {
  readonly #statements: LruMap<string, Statement>;
  readonly #usesBefore: number;
  #named = 0;
  /** Names that the server still holds and that are used no more. */
  #evicted: string[] = [];
  /** The statements behind those names that queries which are still to be sent may hold. */
  readonly #leaving = new Set<Statement>();

  /** `usesBefore`: how often a text has been run before it is prepared under a name; Infinity: never. */
  constructor(sizeMax: number, usesBefore: number) {
    this.#statements = new LruMap(Math.max(sizeMax, 1));
    this.#usesBefore = sizeMax === 0 ? Number.POSITIVE_INFINITY : usesBefore;
  }

  /** The statement with this text; it counts as used. */
  use(text: string): Statement {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = new Statement(text);
      const evicted = this.#statements.set(text, statement)?.[1];
      if (evicted?.ready === true) this.#leave(evicted);
    }
    statement.uses++;
    return statement;
  }

  /** Whether it is time to prepare it under a name, which it then has. */
  named(statement: Statement): boolean {
    if (statement.name !== "" || statement.uses <= this.#usesBefore) return false;
    if (this.#statements.peek(statement.text) !== statement) return false;
    this.#named++;
    statement.name = `pgsluice_s${this.#named}`;
    return true;
  }

  /** The server has prepared it under its name. Nothing is known of its columns before it has described them. */
  confirm(statement: Statement): void {
    statement.ready = true;
    statement.columns = undefined;
    // While its Parse was under way another text may have taken its place.
    if (this.#statements.peek(statement.text) !== statement) this.#leave(statement);
  }

  #leave(statement: Statement): void {
    this.#evicted.push(statement.name);
    this.#leaving.add(statement);
  }

  /** The server does not know the name, or no longer has the same result for it. A name given since stays. */
  forget(statement: Statement, name: string): void {
    if (statement.name !== name) return;
    if (statement.ready && !this.#leaving.delete(statement)) this.#evicted.push(name);
    unname(statement);
    statement.columns = undefined;
    statement.parameterTypes = undefined;
  }

  /** Names to close on the server, once each. Whoever is sent from now on must do without them. */
  takeEvicted(): readonly string[] {
    if (this.#evicted.length === 0) return none;
    const evicted = this.#evicted;
    this.#evicted = [];
    for (const statement of this.#leaving) unname(statement);
    this.#leaving.clear();
    return evicted;
  }

  /** Names that were taken, but that the server has not closed. */
  giveBack(names: readonly string[]): void {
    this.#evicted.push(...names);
  }

  /** A command has been completed; some drop all prepared statements of the server. */
  note(command: string): void {
    if (command === "DISCARD ALL" || command === "DEALLOCATE ALL") this.#clear();
  }

  #clear(): void {
    for (const text of this.#statements.keys()) {
      const statement = this.#statements.peek(text);
      // A name that is not confirmed yet was sent later, and will be there.
      if (statement?.ready === true) unname(statement);
    }
    for (const statement of this.#leaving) unname(statement);
    this.#leaving.clear();
    this.#evicted = [];
    this.#statements.clear();
  }
}

const none: readonly string[] = [];

/** Queries that hold it parse it anew, without a name until it has one again. */
function unname(statement: Statement): void {
  statement.name = "";
  statement.ready = false;
}
