/** A config file of either kind: pgsluice.toml, or PgBouncer's own pgbouncer.ini. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { loadIni } from "./ini/load.ts";
import { loadToml } from "./load.ts";
import type { Config } from "./schema.ts";
import type { SecretFile } from "./secrets.ts";

export interface LoadedConfig {
  readonly config: Config;
  /** What is set in the file and has no effect here. */
  readonly notices: readonly string[];
  /** The files that its secrets were read from. */
  readonly secretFiles: readonly SecretFile[];
}

/**
 * Reads and checks a config file; a pgbouncer.ini is one that ends in `.ini`, or that has a section [pgbouncer].
 * `overrides` are settings of [pgsluice] that win over the file's.
 * @throws {ConfigError} `config.invalid`, with every problem.
 */
export async function loadConfigFile(
  file: string,
  overrides: Readonly<Record<string, unknown>> = {},
): Promise<LoadedConfig> {
  if (await isIni(file)) return { ...(await loadIni(file, overrides)), secretFiles: [] };
  return { ...(await loadToml(file, overrides)), notices: [] };
}

async function isIni(file: string): Promise<boolean> {
  const extension = path.extname(file).toLowerCase();
  if (extension === ".ini" || extension === ".toml") return extension === ".ini";
  // A file that cannot be read is told by whoever loads it.
  const text = await readFile(file, "utf8").catch(() => "");
  return /^[ \t]*\[pgbouncer\]/m.test(text);
}
