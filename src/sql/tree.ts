/** Reading PostgreSQL's parse trees as libpg_query writes them: zero, false and the empty string are left out. */
import type { Json, JsonObject } from "./parser.ts";

/** Array.isArray, which forgets what the items are. */
export function isList(json: Json | undefined): json is readonly Json[] {
  return Array.isArray(json);
}

export function isObject(json: Json | undefined): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

/** The fields of a node, whatever its tag, or undefined. */
export function objectAt(node: JsonObject | undefined, key: string): JsonObject | undefined {
  const value = node?.[key];
  return isObject(value) ? value : undefined;
}

export function listAt(node: JsonObject | undefined, key: string): readonly Json[] {
  const value = node?.[key];
  return isList(value) ? value : [];
}

export function textAt(node: JsonObject | undefined, key: string): string | undefined {
  const value = node?.[key];
  return typeof value === "string" ? value : undefined;
}

export function numberAt(node: JsonObject | undefined, key: string): number {
  const value = node?.[key];
  return typeof value === "number" ? value : 0;
}

/** The tag and the fields of a node in its wrapper. */
export function unwrap(node: Json | undefined): readonly [string, JsonObject] | undefined {
  if (!isObject(node)) return undefined;
  for (const tag of Object.keys(node)) {
    const fields = node[tag];
    return isObject(fields) ? [tag, fields] : undefined;
  }
  return undefined;
}

/** The fields of a node if it has this tag. */
export function tagged(node: Json | undefined, tag: string): JsonObject | undefined {
  return isObject(node) ? objectAt(node, tag) : undefined;
}

/** The texts of a list of String nodes, as names are written. */
export function names(list: readonly Json[]): string[] {
  return list.flatMap((node) => {
    const name = tagged(node, "String");
    return name === undefined ? [] : [textAt(name, "sval") ?? ""];
  });
}

/** The text of a constant, NULL as null, anything else undefined. Booleans are on and off. */
export function constantText(node: Json | undefined): string | null | undefined {
  const cast = tagged(node, "TypeCast");
  if (cast !== undefined) {
    const type = names(listAt(objectAt(cast, "typeName"), "names")).at(-1) ?? "";
    return textTypes.has(type) ? constantText(cast["arg"]) : undefined;
  }
  const constant = tagged(node, "A_Const");
  if (constant === undefined) return undefined;
  if (constant["isnull"] === true) return null;
  const sval = objectAt(constant, "sval");
  if (sval !== undefined) return textAt(sval, "sval") ?? "";
  const ival = objectAt(constant, "ival");
  if (ival !== undefined) return String(numberAt(ival, "ival"));
  const fval = objectAt(constant, "fval");
  if (fval !== undefined) return textAt(fval, "fval") ?? "";
  const boolval = objectAt(constant, "boolval");
  if (boolval !== undefined) return boolval["boolval"] === true ? "on" : "off";
  return undefined;
}

/** Casts to these leave a constant as it is. */
const textTypes: ReadonlySet<string> = new Set(["text", "varchar", "regclass", "bool"]);
