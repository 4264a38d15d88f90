/** Entries of the lists of functions, as in pgpool-II: a name or a regular expression for the whole name, with or without its schema. */
import { type Config, databaseOf } from "./schema.ts";

/** Of a text that is no entry: what is wrong with it. Functions are found in any case, as pgpool-II finds them. */
export function functionPattern(text: string): RegExp | string {
  try {
    return new RegExp(`^(?:${text.trim()})$`, "i");
  } catch (error) {
    return `${JSON.stringify(text)}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Settings with such entries. */
export const functionLists = ["read_only_function_list", "write_function_list"] as const;

/** Those that count in a database, as its clients call it: its own, or those for all. */
export function functionListsOf(
  config: Config,
  database: string,
): { readonly reads: readonly string[]; readonly writes: readonly string[] } {
  const own = databaseOf(config, database);
  const { pgsluice } = config;
  return {
    reads: own?.read_only_function_list ?? pgsluice.read_only_function_list,
    writes: own?.write_function_list ?? pgsluice.write_function_list,
  };
}

/** Those of a configuration that was checked. */
export function functionPatterns(texts: readonly string[]): RegExp[] {
  return texts.map(functionPattern).filter((pattern) => typeof pattern !== "string");
}
