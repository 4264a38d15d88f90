/** Statements about processes of the server, by the functions they call and the views they read. */
import type { StatementClass } from "../../sql/statement-class.ts";

/** They tell which processes there are, or which one runs the statement. */
const tellingFunctions: ReadonlySet<string> = new Set([
  "pg_backend_pid",
  "pg_blocking_pids",
  "pg_safe_snapshot_blocking_pids",
  "pg_isolation_test_session_is_blocked",
  "pg_lock_status",
  "pg_stat_get_activity",
  "pg_stat_get_backend_idset",
  "pg_stat_get_backend_pid",
]);
const tellingViews: ReadonlySet<string> = new Set([
  "pg_locks",
  "pg_stat_activity",
  "pg_stat_ssl",
  "pg_stat_gssapi",
]);

const signallingFunctions: ReadonlySet<string> = new Set(["pg_cancel_backend", "pg_terminate_backend"]);

export function asksPids({ functions, relations }: StatementClass): boolean {
  return (
    functions.some(({ name }) => tellingFunctions.has(name)) ||
    relations.some(({ name }) => tellingViews.has(name))
  );
}

export function signals({ functions }: StatementClass): boolean {
  return functions.some(({ name }) => signallingFunctions.has(name));
}
