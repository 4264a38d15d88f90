/** The database whose clients talk to the pooler itself, and another name for it: neither can be a real one's. */
export const consoleDatabase = "pgbouncer";
const consoleDatabases: ReadonlySet<string> = new Set([consoleDatabase, "pgsluice"]);

export function isConsoleDatabase(name: string): boolean {
  return consoleDatabases.has(name);
}
