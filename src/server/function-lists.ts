/** What an administrator says of functions, for statements of one database. */
import { functionListsOf, functionPatterns } from "../config/function-lists.ts";
import type { Config } from "../config/schema.ts";
import { FunctionLists } from "../sql/index.ts";

/** Tells the lists that count for a database, as its clients call it: the same object until a reload makes others of them. */
export function functionListsFor(config: () => Config, database: () => string): () => FunctionLists {
  let reads: readonly string[] | undefined;
  let writes: readonly string[] | undefined;
  let lists = new FunctionLists([], []);
  return () => {
    const next = functionListsOf(config(), database());
    if (next.reads !== reads || next.writes !== writes) {
      ({ reads, writes } = next);
      lists = new FunctionLists(functionPatterns(reads), functionPatterns(writes));
    }
    return lists;
  };
}
