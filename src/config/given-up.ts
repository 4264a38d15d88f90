/**
 * Settings of other poolers that stand for what pgsluice does without on purpose. Whoever brings one along is told so,
 * rather than that nobody knows the word.
 */

const parallel = "parallel query mode does not exist: a statement runs on one node";
const systemDatabase = "there is no system database: nothing is kept in one";
const replication = "writes are not repeated on several nodes: let PostgreSQL replicate";

/** By name; the names are pgpool-II's, but for `replication`, which is what its modes would be called here. */
const reasons: ReadonlyMap<string, string> = new Map([
  ["parallel_mode", parallel],
  ["system_db_hostname", systemDatabase],
  ["system_db_port", systemDatabase],
  ["system_db_dbname", systemDatabase],
  ["system_db_schema", systemDatabase],
  ["system_db_user", systemDatabase],
  ["system_db_password", systemDatabase],
  ["replication_mode", replication],
  ["replication", replication],
]);

/** Why there is no setting of this name; undefined if it is just a word that nobody knows. */
export function givenUp(name: string): string | undefined {
  return reasons.get(name);
}
