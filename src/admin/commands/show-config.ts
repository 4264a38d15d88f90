/** SHOW CONFIG: every setting of [pgsluice], as it is in force, but for secrets. Truth values are 1 and 0, as PgBouncer writes them. */
import type { DeclarationTable } from "../../config/declare.ts";
import { settings } from "../../config/settings.ts";
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(["text", "key", "value", "default", "changeable"]);
const declarations: DeclarationTable = settings;

export const showConfig: Command<undefined> = showCommand("CONFIG", columns, (context) => {
  const values: Readonly<Record<string, unknown>> = { ...context.config().pgsluice };
  return Object.keys(declarations)
    .sort()
    .map((name) => {
      const declaration = declarations[name];
      const isSecret = declaration?.type === "text" && declaration.secret === true;
      const value = isSecret && values[name] !== undefined ? "********" : textOf(values[name]);
      return [name, value, textOf(declaration?.default), declaration?.reloadable === true ? "yes" : "no"];
    });
});

function textOf(value: unknown): string {
  if (typeof value === "boolean") return value ? "1" : "0";
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}
