/** What CREATE and DROP do to temporary objects, and which statements refuse to run in a transaction block. */
import type { Json, JsonObject } from "./parser.ts";
import type { SessionEffect } from "./statement-class.ts";
import { constantText, isObject, listAt, names, numberAt, objectAt, tagged, textAt } from "./tree.ts";
import { qualified } from "./walk.ts";

/** Where the name of what is created stands, by statement. */
const created: Readonly<Record<string, { readonly object: string; readonly at: string }>> = {
  CreateStmt: { object: "table", at: "relation" },
  CreateForeignTableStmt: { object: "table", at: "base" },
  CreateSeqStmt: { object: "sequence", at: "sequence" },
  ViewStmt: { object: "view", at: "view" },
  CompositeTypeStmt: { object: "type", at: "typevar" },
};

/** Names that are lists of String nodes. */
const createdByList: Readonly<Record<string, { readonly object: string; readonly at: string }>> = {
  CreateFunctionStmt: { object: "function", at: "funcname" },
  CreateEnumStmt: { object: "type", at: "typeName" },
  CreateRangeStmt: { object: "type", at: "typeName" },
  CreateDomainStmt: { object: "type", at: "domainname" },
  DefineStmt: { object: "object", at: "defnames" },
};

export function objectEffects(tag: string, statement: JsonObject): SessionEffect[] {
  const relation = created[tag];
  if (relation !== undefined) return creation(relation.object, objectAt(statement, relation.at));
  if (tag === "CreateTableAsStmt") {
    return creation("table", objectAt(objectAt(statement, "into"), "rel"));
  }
  const named = createdByList[tag];
  if (named !== undefined) {
    const { schema, name } = qualified(names(listAt(statement, named.at)));
    return isTempSchema(schema)
      ? [{ kind: "temp_object", action: "create", object: named.object, name }]
      : [];
  }
  return tag === "DropStmt" ? drops(statement) : [];
}

/** Of CREATE TABLE, SELECT INTO and their kin. */
export function creation(object: string, range: JsonObject | undefined): SessionEffect[] {
  const temporary = range?.["relpersistence"] === "t" || isTempSchema(textAt(range, "schemaname"));
  const name = textAt(range, "relname") ?? null;
  return temporary ? [{ kind: "temp_object", action: "create", object, name }] : [];
}

function drops(statement: JsonObject): SessionEffect[] {
  const object = (textAt(statement, "removeType") ?? "").replace(/^OBJECT_/, "").toLowerCase();
  const dropped = listAt(statement, "objects").map((item) => qualified(droppedName(item)));
  const effects: SessionEffect[] = dropped
    .filter(({ schema }) => isTempSchema(schema))
    .map(({ name }) => ({ kind: "temp_object", action: "drop", object, name }));
  const others = dropped.filter(({ schema }) => schema === undefined).map(({ name }) => name);
  if (others.length > 0) effects.push({ kind: "drop_object", object, names: others });
  return effects;
}

function droppedName(item: Json): string[] {
  const withArguments = tagged(item, "ObjectWithArgs");
  if (withArguments !== undefined) return names(listAt(withArguments, "objname"));
  const type = tagged(item, "TypeName");
  if (type !== undefined) return names(listAt(type, "names"));
  const list = tagged(item, "List");
  return names(list === undefined ? [item] : listAt(list, "items"));
}

function isTempSchema(schema: string | undefined): boolean {
  return schema === "pg_temp" || (schema?.startsWith("pg_temp_") ?? false);
}

/** Forms of statements that other forms of the same are free of; those that always refuse are in the table. */
export function refusesTransaction(tag: string, statement: JsonObject): boolean {
  switch (tag) {
    case "VacuumStmt":
      return statement["is_vacuumcmd"] === true;
    case "ClusterStmt":
      // Of all tables, that is; of a partitioned table too, which only the server knows.
      return statement["relation"] === undefined;
    case "ReindexStmt":
      return (
        /SCHEMA|SYSTEM|DATABASE/.test(textAt(statement, "kind") ?? "") ||
        optionIsOn(listAt(statement, "params"), "concurrently")
      );
    case "IndexStmt":
    case "DropStmt":
      return statement["concurrent"] === true;
    case "AlterTableStmt":
      return listAt(statement, "cmds").some(
        (item) =>
          tagged(objectAt(tagged(item, "AlterTableCmd"), "def"), "PartitionCmd")?.["concurrent"] === true,
      );
    case "AlterDatabaseStmt":
      return listAt(statement, "options").some(
        (item) => textAt(tagged(item, "DefElem"), "defname") === "tablespace",
      );
    case "CreateSubscriptionStmt":
    case "DropSubscriptionStmt":
    case "AlterSubscriptionStmt":
      // In most of their forms; the others lose little.
      return true;
    default:
      return false;
  }
}

/** An option in parentheses, as in EXPLAIN (ANALYZE off): said without a value, it is on. */
export function optionIsOn(options: readonly Json[], name: string): boolean {
  let on = false;
  for (const item of options) {
    const element = tagged(item, "DefElem");
    if (textAt(element, "defname") !== name) continue;
    on = !isOff(element?.["arg"]);
  }
  return on;
}

function isOff(argument: Json | undefined): boolean {
  if (argument === undefined) return false;
  const integer = tagged(argument, "Integer");
  if (integer !== undefined) return numberAt(integer, "ival") === 0;
  const boolean = tagged(argument, "Boolean");
  if (boolean !== undefined) return boolean["boolval"] !== true;
  const text = textAt(tagged(argument, "String"), "sval") ?? constantText(argument) ?? "";
  return isObject(argument) && /^(?:off|false|no|0|f|n)$/i.test(text);
}
