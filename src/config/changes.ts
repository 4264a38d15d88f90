/** What a reload would change, and the change of one setting. */
import path from "node:path";
import { agreementProblems } from "./agreement.ts";
import { type DeclarationTable, schemaOfTable } from "./declare.ts";
import { ConfigError } from "./errors.ts";
import { globalVerdicts } from "./ini/globals.ts";
import { valueOf } from "./ini/values.ts";
import { type Config, type Settings, tableKinds } from "./schema.ts";
import { settings as declared } from "./settings.ts";

const declarations: DeclarationTable = declared;

export interface ConfigChanges {
  /** Keys of settings that differ and take effect at once, as `pgsluice.pool_mode` or `nodes.a` for a whole table. */
  readonly changed: readonly string[];
  /** Keys of settings that differ and take effect only after a restart. */
  readonly needRestart: readonly string[];
}

/** Compares the configuration in force with the one that is to follow it. */
export function compareConfigs(current: Config, next: Config): ConfigChanges {
  const changed: string[] = [];
  const needRestart: string[] = [];
  for (const kind of tableKinds) {
    const before: Readonly<Record<string, unknown>> = { ...current[kind.name] };
    const after: Readonly<Record<string, unknown>> = { ...next[kind.name] };
    for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
      if (same(before[name], after[name])) continue;
      const fixed = !kind.named && kind.declarations[name]?.reloadable === false;
      (fixed ? needRestart : changed).push(`${kind.name}.${name}`);
    }
  }
  return { changed, needRestart };
}

/** The configuration that a reload puts in force: `next`, with what takes a restart as it is in `current`. */
export function withoutRestartChanges(current: Config, next: Config): Config {
  const settings: Record<string, unknown> = { ...next.pgsluice };
  for (const [name, declaration] of Object.entries(declarations)) {
    if (!declaration.reloadable) settings[name] = current.pgsluice[name as keyof Settings];
  }
  return { ...next, pgsluice: settings as unknown as Settings };
}

/**
 * The configuration with one setting of [pgsluice] changed, its name and value written as in pgbouncer.ini.
 *
 * @throws ConfigError `config.invalid` if there is no such setting, if it takes a restart, or if the value is none
 *   of its own or does not fit the other settings.
 */
export function withSetting(current: Config, name: string, text: string): Config {
  const renamed = Object.hasOwn(globalVerdicts, name) ? globalVerdicts[name] : undefined;
  if (renamed?.verdict === "renamed") {
    return withSetting(current, renamed.to, renamed.convert?.(text) ?? text);
  }
  const fail = (problem: string): ConfigError => new ConfigError("SET", [{ key: name, problem }]);
  const declaration = Object.hasOwn(declarations, name) ? declarations[name] : undefined;
  if (declaration === undefined) throw fail("unknown setting");
  if (!declaration.reloadable) throw fail("takes effect only after a restart");
  const checked = schemaOfTable({ [name]: declaration }).safeParse({ [name]: valueOf(text, declaration) });
  if (!checked.success) throw fail(checked.error.issues.map(({ message }) => message).join("; "));
  let value = checked.data[name];
  const isPath = declaration.type === "text" && declaration.path !== undefined && value !== declaration.word;
  if (isPath && value !== "") value = path.resolve(String(value));
  const next = { ...current, pgsluice: { ...current.pgsluice, [name]: value } };
  const problems = agreementProblems(next);
  if (problems.length > 0) throw new ConfigError("SET", problems);
  return next;
}

/** Values come out of one schema, so equal ones have their keys in the same order. */
function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
