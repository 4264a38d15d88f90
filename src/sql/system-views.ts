/** PostgreSQL's own views that are about more than the database. */

/** They tell of the session that reads them, or of all. */
export const sessionViewNames: ReadonlySet<string> = new Set(
  `pg_settings pg_prepared_statements pg_cursors pg_locks pg_stat_activity pg_stat_ssl pg_stat_gssapi
  pg_backend_memory_contexts pg_stat_xact_all_tables pg_stat_xact_sys_tables pg_stat_xact_user_tables
  pg_stat_xact_user_functions`.split(/\s+/),
);

/** They tell of the node that answers. */
export const nodeView: RegExp =
  /^(?:pg_stat(?:io)?_|pg_replication_|pg_prepared_xacts$|pg_file_settings$|pg_hba_file_rules$|pg_ident_file_mappings$|pg_shmem_|pg_aios$|pg_wait_events$|pg_dsm_)/;
