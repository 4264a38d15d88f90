/** Prepared statements and portals of one console, as the extended protocol names them. Nothing has parameters. */
import type { BackendMessage, Bind, Close, Describe, Parse } from "../wire/messages.ts";
import { consoleError } from "./command.ts";
import { Prepared, prepare, type Result } from "./execution.ts";
import { splitStatements } from "./grammar.ts";
import { describeColumns } from "./result.ts";

/** More than any program keeps. */
const namesMax = 1000;

/** A statement without a word in it. */
const emptyStatement: unique symbol = Symbol("empty statement");
type Understood = Prepared | typeof emptyStatement;

export interface Portal {
  readonly prepared: Understood;
  /** Of its columns, as in Bind. */
  readonly formats: readonly number[];
  /** Once it was executed. */
  result: Result | undefined;
}

export class Portals {
  readonly #statements = new Map<string, Understood>();
  readonly #portals = new Map<string, Portal>();
  /** The pooler has several processes. */
  readonly #inFleet: boolean;

  constructor(inFleet: boolean) {
    this.#inFleet = inFleet;
  }

  /** Answers one message. Throws OperationError `console.refused` with PostgreSQL's SQLSTATEs. */
  handle(message: Parse | Bind | Describe | Close): BackendMessage[] {
    switch (message.kind) {
      case "Parse":
        this.#parse(message);
        return [{ kind: "ParseComplete" }];
      case "Bind":
        this.#bind(message);
        return [{ kind: "BindComplete" }];
      case "Describe":
        return this.#describe(message);
      case "Close":
        (message.target === "statement" ? this.#statements : this.#portals).delete(message.name);
        return [{ kind: "CloseComplete" }];
    }
  }

  /** The portal of this name. Throws OperationError 34000 if there is none. */
  find(name: string): Portal {
    const portal = this.#portals.get(name);
    if (portal === undefined) throw consoleError(`portal "${name}" does not exist`, "34000");
    return portal;
  }

  /** Portals live as long as their transaction: to the Sync. */
  endBatch(): void {
    this.#portals.clear();
  }

  #parse({ name, sql }: Parse): void {
    if (name !== "" && this.#statements.has(name)) {
      throw consoleError(`prepared statement "${name}" already exists`, "42P05");
    }
    const [first, ...others] = splitStatements(sql);
    if (others.length > 0) {
      throw consoleError("cannot insert multiple commands into a prepared statement", "42601");
    }
    keep(this.#statements, name, first === undefined ? emptyStatement : prepare(first, sql, this.#inFleet));
  }

  #bind({ portal, statement, values, resultFormats }: Bind): void {
    const prepared = this.#statement(statement);
    if (values.length > 0) {
      throw consoleError(
        `bind message supplies ${values.length} parameters, but prepared statement "${statement}" requires 0`,
        "08P01",
      );
    }
    const columns = prepared instanceof Prepared ? (prepared.columns?.length ?? 0) : 0;
    if (resultFormats.length > 1 && resultFormats.length !== columns) {
      throw consoleError(
        `bind message has ${resultFormats.length} result formats but query has ${columns} columns`,
        "08P01",
      );
    }
    const wrong = resultFormats.find((format) => format !== 0 && format !== 1);
    if (wrong !== undefined) throw consoleError(`unsupported format code: ${wrong}`, "22023");
    keep(this.#portals, portal, { prepared, formats: resultFormats, result: undefined });
  }

  #describe({ target, name }: Describe): BackendMessage[] {
    const portal = target === "portal" ? this.find(name) : undefined;
    const prepared = portal === undefined ? this.#statement(name) : portal.prepared;
    const columns = prepared instanceof Prepared ? prepared.columns : undefined;
    const rows: BackendMessage =
      columns === undefined
        ? { kind: "NoData" }
        : { kind: "RowDescription", columns: describeColumns(columns, portal?.formats) };
    return portal === undefined ? [{ kind: "ParameterDescription", types: [] }, rows] : [rows];
  }

  #statement(name: string): Understood {
    const prepared = this.#statements.get(name);
    if (prepared !== undefined) return prepared;
    throw consoleError(
      name === ""
        ? "unnamed prepared statement does not exist"
        : `prepared statement "${name}" does not exist`,
      "26000",
    );
  }
}

function keep<Value>(map: Map<string, Value>, name: string, value: Value): void {
  if (map.size >= namesMax && !map.has(name)) throw consoleError("too many prepared statements", "54000");
  map.set(name, value);
}
