/** What a reload would change. */
import type { DeclarationTable } from "./declare.ts";
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

/** Values come out of one schema, so equal ones have their keys in the same order. */
function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
