/**
 * Goes through a parse tree and notes whatever a catalog has to be asked about: functions, relations, operators,
 * types. It looks at fields, not at a list of node types: so nothing is missed that a newer grammar has put
 * into a place unknown here. Iterative: depth is the parser's concern alone.
 */
import type { Json, JsonObject } from "./parser.ts";
import type { RelationUse } from "./statement-class.ts";
import type { Call, TypeUse } from "./syntax.ts";
import { constantText, isList, isObject, listAt, names, objectAt, tagged, textAt } from "./tree.ts";

export class Walk {
  readonly calls: Call[] = [];
  readonly relations: RelationUse[] = [];
  readonly operators: TypeUse[] = [];
  readonly types: TypeUse[] = [];
  readonly fields: string[] = [];
  unsteady = false;
  locking = false;
  /** INSERT, UPDATE, DELETE or MERGE, also inside of WITH. */
  writes = false;
  /** SELECT … INTO. */
  into: JsonObject | undefined;
  readonly #seen = new Set<string>();

  /** `once`: the fields of calls that run exactly once, if the statement succeeds. */
  run(root: Json, once: ReadonlySet<Json> = new Set()): void {
    const stack: Json[] = [root];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (isList(node)) {
        // From the last to the first: they come off the stack in the order of the text, which is that of effects.
        for (let index = node.length - 1; index >= 0; index -= 1) stack.push(node[index] as Json);
      } else if (isObject(node)) {
        this.#object(node, stack, once);
      }
    }
  }

  #object(node: JsonObject, stack: Json[], once: ReadonlySet<Json>): void {
    for (const key in node) {
      const value = node[key];
      if (typeof value !== "object" || value === null) continue;
      if (isList(value)) this.#list(key, value);
      else if (isObject(value)) this.#field(key, value, once);
      stack.push(value);
    }
  }

  #field(key: string, value: JsonObject, once: ReadonlySet<Json>): void {
    switch (key) {
      case "FuncCall":
      case "funccall":
        this.#call(value, once.has(value));
        break;
      case "ColumnRef":
        this.#dotted(names(listAt(value, "fields")));
        break;
      case "SQLValueFunction":
        this.#valueFunction(textAt(value, "op") ?? "");
        break;
      case "InsertStmt":
      case "UpdateStmt":
      case "DeleteStmt":
      case "MergeStmt":
        this.writes = true;
        this.#relation(objectAt(value, "relation"), "write");
        break;
      case "intoClause":
        this.into = value;
        break;
      default:
        if (value["relname"] !== undefined) this.#relation(value, "read");
        else if (value["names"] !== undefined) this.#type(value);
    }
  }

  #list(key: string, value: readonly Json[]): void {
    switch (key) {
      case "lockingClause":
        this.locking = true;
        break;
      case "name":
      case "operName":
      case "useOp":
        this.#operator(value);
        break;
      case "indirection":
        for (const name of names(value)) this.#add(this.fields, `f.${name}`, name);
        break;
      case "method":
        this.#sample(qualified(names(value)));
        break;
      default:
    }
  }

  #call(call: JsonObject, once: boolean): void {
    const list = listAt(call, "args");
    this.#note({
      ...qualified(names(listAt(call, "funcname"))),
      argumentCount: list.length,
      constants: list.map(argument),
      once,
    });
  }

  #note(call: Call): void {
    const key = `c.${call.schema ?? ""}.${call.name}.${call.argumentCount}`;
    // Each of these counts, and in its order.
    if (literalsMatter.has(call.name)) this.calls.push(call);
    else this.#add(this.calls, key, { ...call, constants: [], once: false });
  }

  /** TABLESAMPLE: the name of a function in C, which it takes a superuser to make. */
  #sample(method: TypeUse): void {
    this.unsteady = true;
    if (method.name === "system" || method.name === "bernoulli") return;
    this.#note({ constants: [], once: false, argumentCount: 1, ...method });
  }

  #relation(range: JsonObject | undefined, access: "read" | "write"): void {
    const name = textAt(range, "relname");
    if (name === undefined) return;
    const schema = textAt(range, "schemaname");
    this.#add(this.relations, `r.${access}.${schema ?? ""}.${name}`, { schema, name, access });
  }

  #type(type: JsonObject): void {
    const use = qualified(names(listAt(type, "names")));
    if (use.schema !== "pg_catalog") this.#add(this.types, `t.${use.schema ?? ""}.${use.name}`, use);
  }

  #operator(name: readonly Json[]): void {
    const parts = names(name);
    if (parts.length === 0 || parts.length !== name.length) return;
    const use = qualified(parts);
    this.#add(this.operators, `o.${use.schema ?? ""}.${use.name}`, use);
  }

  #dotted(parts: readonly string[]): void {
    const last = parts.length < 2 ? undefined : parts.at(-1);
    if (last !== undefined) this.#add(this.fields, `f.${last}`, last);
  }

  #valueFunction(op: string): void {
    if (/DATE|TIME/.test(op)) this.unsteady = true;
  }

  #add<T>(list: T[], key: string, item: T): void {
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    list.push(item);
  }
}

/** Functions of PostgreSQL's own whose arguments say what they do to the session. */
export const literalsMatter: ReadonlySet<string> = new Set([
  "set_config",
  "nextval",
  "currval",
  "setval",
  "pg_notify",
  // Which of them runs for certain.
  "pg_backup_stop",
]);

function argument(node: Json): string | null | undefined {
  const named = tagged(node, "NamedArgExpr");
  // An argument by name may stand in any place.
  return named === undefined ? constantText(node) : undefined;
}

/** Schema and name of a name's parts; a database in front of them is the present one. */
export function qualified(parts: readonly string[]): TypeUse {
  return { schema: parts.at(-2), name: parts.at(-1) ?? "" };
}
