/**
 * What PostgreSQL's own functions mean for a session. Names and volatility come from a server
 * (`builtin-names.ts`, generated); what a volatile function leaves behind cannot be read from pg_proc and stands here, from
 * the manual's chapter on functions and the server's sources.
 *
 * A volatile function that is not listed counts as one that may do anything: so a newer server's functions
 * are slow at worst. The same name may belong to several functions; the most volatile of them counts.
 */
import { immutableNames, stableNames, volatileNames } from "./builtin-names.ts";

/** Rows (volatility, names): what `builtin-names.ts` is made of. Functions that SQL cannot call are left out. */
export const builtinNamesQuery: string = `
SELECT volatility, string_agg(proname, ' ' ORDER BY proname COLLATE "C")
FROM (
  SELECT proname,
         CASE max(CASE provolatile WHEN 'v' THEN 2 WHEN 's' THEN 1 ELSE 0 END)
           WHEN 2 THEN 'volatile' WHEN 1 THEN 'stable' ELSE 'immutable' END AS volatility
  FROM pg_proc
  WHERE pronamespace = 'pg_catalog'::regnamespace
    AND prorettype NOT IN ('internal'::regtype, 'trigger'::regtype, 'event_trigger'::regtype,
      'language_handler'::regtype, 'index_am_handler'::regtype, 'table_am_handler'::regtype)
    AND NOT 'internal'::regtype = ANY (proargtypes)
  GROUP BY proname
) AS functions
GROUP BY volatility`;

/** What a call of a built-in function leaves behind or depends on. */
export type BuiltinTrait =
  | "immutable"
  | "stable"
  /** Tells of the session that runs it: which server connection that is would show. */
  | "session"
  /** Its result differs between nodes, or describes one. */
  | "node_local"
  /** Gives the transaction an id, which no standby can. */
  | "transaction_id"
  /** Volatile, and leaves nothing behind: random(), clock_timestamp(). */
  | "harmless"
  /** Volatile, acts on the server or the database, and leaves nothing in the session. */
  | "acts"
  /** Runs SQL or functions that stand in its arguments. */
  | "runs_code"
  | "set_config"
  | "set_seed"
  | "nextval"
  | "currval"
  | "lastval"
  | "setval"
  | "lock_session"
  | "lock_transaction"
  | "unlock"
  | "unlock_all"
  | "large_object"
  | "large_object_descriptor"
  | "notify"
  | "export_snapshot"
  | "replication_origin"
  | "backup"
  | "replication_slot"
  /** Volatile and not listed here. */
  | "unknown_volatile";

const listed: Readonly<Record<string, string>> = {
  session: `pg_backend_pid inet_client_addr inet_client_port pg_my_temp_schema pg_is_other_temp_schema
    pg_listening_channels pg_cursor pg_prepared_statement pg_get_backend_memory_contexts pg_trigger_depth
    pg_blocking_pids pg_safe_snapshot_blocking_pids pg_lock_status pg_stat_get_activity
    pg_stat_get_backend_idset pg_isolation_test_session_is_blocked pg_show_all_settings
    pg_replication_origin_session_is_setup pg_replication_origin_session_progress
    pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls
    pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans
    pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated
    pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_newpage_updated
    pg_stat_get_xact_tuples_returned pg_stat_get_xact_tuples_updated pg_current_xact_id_if_assigned
    txid_current_if_assigned pg_stat_clear_snapshot pg_stat_force_next_flush`,
  node_local: `pg_is_in_recovery pg_is_wal_replay_paused pg_get_wal_replay_pause_state
    pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_current_wal_flush_lsn
    pg_current_wal_insert_lsn pg_current_wal_lsn pg_control_checkpoint pg_control_init pg_control_recovery
    pg_control_system pg_current_logfile pg_available_wal_summaries pg_wal_summary_contents
    pg_get_wal_summarizer_state pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings
    pg_ls_archive_statusdir pg_ls_dir pg_ls_logdir pg_ls_logicalmapdir pg_ls_logicalsnapdir
    pg_ls_replslotdir pg_ls_summariesdir pg_ls_tmpdir pg_ls_waldir pg_read_file pg_read_binary_file
    pg_stat_file pg_prepared_xact pg_show_replication_origin_status pg_replication_origin_progress
    pg_last_committed_xact pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_xact_status
    txid_status pg_get_aios pg_get_loaded_modules pg_get_shmem_allocations
    pg_get_shmem_allocations_numa pg_get_wait_events pg_get_wal_resource_managers pg_jit_available
    pg_stat_get_io pg_stat_get_backend_io pg_stat_get_backend_wal pg_stat_get_recovery_prefetch
    pg_stat_have_stats pg_notification_queue_usage inet_server_addr inet_server_port
    pg_postmaster_start_time pg_conf_load_time pg_get_multixact_members pg_get_sequence_data
    pg_sequence_last_value pg_logical_slot_peek_changes pg_logical_slot_peek_binary_changes`,
  transaction_id: "pg_current_xact_id txid_current",
  harmless: `random random_normal gen_random_uuid uuidv4 uuidv7 clock_timestamp timeofday pg_sleep
    pg_sleep_for pg_sleep_until array_sample array_shuffle pg_database_size pg_indexes_size
    pg_relation_size pg_table_size pg_tablespace_size pg_total_relation_size pg_partition_ancestors
    pg_partition_tree pg_collation_actual_version pg_database_collation_actual_version currtid2
    current_query amvalidate`,
  acts: `pg_cancel_backend pg_terminate_backend pg_reload_conf pg_rotate_logfile pg_switch_wal
    pg_create_restore_point pg_promote pg_wal_replay_pause pg_wal_replay_resume
    pg_log_backend_memory_contexts pg_log_standby_snapshot pg_logical_emit_message
    pg_logical_slot_get_changes pg_logical_slot_get_binary_changes pg_replication_slot_advance
    pg_sync_replication_slots pg_replication_origin_advance pg_replication_origin_create
    pg_replication_origin_drop pg_import_system_collations brin_desummarize_range
    brin_summarize_new_values brin_summarize_range gin_clean_pending_list pg_stat_reset
    pg_stat_reset_backend_stats pg_stat_reset_replication_slot pg_stat_reset_shared
    pg_stat_reset_single_function_counters pg_stat_reset_single_table_counters pg_stat_reset_slru
    pg_stat_reset_subscription_stats pg_clear_attribute_stats pg_clear_relation_stats
    pg_restore_attribute_stats pg_restore_relation_stats`,
  // Types named in a text, tables and whole schemas that may be views: any function may run.
  runs_code: `query_to_xml query_to_xml_and_xmlschema query_to_xmlschema cursor_to_xml
    cursor_to_xmlschema table_to_xml table_to_xml_and_xmlschema table_to_xmlschema schema_to_xml
    schema_to_xml_and_xmlschema schema_to_xmlschema database_to_xml database_to_xml_and_xmlschema
    database_to_xmlschema ts_stat ts_rewrite pg_input_is_valid pg_input_error_info`,
  set_config: "set_config",
  set_seed: "setseed",
  nextval: "nextval",
  currval: "currval",
  lastval: "lastval",
  setval: "setval",
  lock_session: `pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock
    pg_try_advisory_lock_shared`,
  lock_transaction: `pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_xact_lock
    pg_try_advisory_xact_lock_shared`,
  unlock: "pg_advisory_unlock pg_advisory_unlock_shared",
  unlock_all: "pg_advisory_unlock_all",
  large_object: "lo_creat lo_create lo_from_bytea lo_get lo_import lo_export lo_put lo_unlink",
  large_object_descriptor: `lo_open lo_close loread lowrite lo_lseek lo_lseek64 lo_tell lo_tell64
    lo_truncate lo_truncate64`,
  notify: "pg_notify",
  export_snapshot: "pg_export_snapshot",
  replication_origin: `pg_replication_origin_session_setup pg_replication_origin_session_reset
    pg_replication_origin_xact_setup pg_replication_origin_xact_reset`,
  backup: "pg_backup_start pg_backup_stop",
  replication_slot: `pg_create_physical_replication_slot pg_create_logical_replication_slot
    pg_copy_physical_replication_slot pg_copy_logical_replication_slot pg_drop_replication_slot`,
};

const traits: ReadonlyMap<string, BuiltinTrait> = build();

/** What is known of a built-in function; undefined if PostgreSQL 18 has none of that name. */
export function builtinTrait(name: string): BuiltinTrait | undefined {
  return traits.get(name);
}

/** As PostgreSQL 18 has it in pg_proc; of several functions of that name, of the most volatile one. */
export function builtinVolatility(name: string): "immutable" | "stable" | "volatile" | undefined {
  volatilities ??= new Map([
    ...words(immutableNames).map((each) => [each, "immutable"] as const),
    ...words(stableNames).map((each) => [each, "stable"] as const),
    ...words(volatileNames).map((each) => [each, "volatile"] as const),
  ]);
  return volatilities.get(name);
}

/** Made when somebody asks. */
let volatilities: ReadonlyMap<string, "immutable" | "stable" | "volatile"> | undefined;

/** All names with what is known of them, for the test that compares them with a server. */
export function builtinTraits(): ReadonlyMap<string, BuiltinTrait> {
  return traits;
}

/**
 * Stable functions whose result is the same for the same data and the same settings: it may be kept in a cache.
 * The others depend on the time, the role's rights or the catalogs.
 */
const steady: ReadonlySet<string> = new Set(
  words(`to_char concat concat_ws format date_trunc date_part date_bin extract to_json to_jsonb row_to_json
    json_agg json_agg_strict jsonb_agg jsonb_agg_strict json_build_array json_build_object jsonb_build_array
    jsonb_build_object json_object_agg jsonb_object_agg array_to_json array_to_string to_timestamp to_date
    to_number timezone length quote_literal quote_nullable to_tsvector to_tsquery plainto_tsquery
    phraseto_tsquery websearch_to_tsquery ts_headline generate_series string_to_array json_populate_record
    jsonb_populate_record json_to_record jsonb_to_record json_to_recordset jsonb_to_recordset
    enum_first enum_last enum_range convert convert_from convert_to timestamptz timestamp date time`),
);

export function isSteady(name: string): boolean {
  return traits.get(name) === "immutable" || steady.has(name);
}

function build(): Map<string, BuiltinTrait> {
  const built = new Map<string, BuiltinTrait>();
  for (const name of words(immutableNames)) built.set(name, "immutable");
  for (const name of words(stableNames)) built.set(name, "stable");
  for (const name of words(volatileNames)) built.set(name, "unknown_volatile");
  for (const [trait, names] of Object.entries(listed)) {
    for (const name of words(names)) built.set(name, trait as BuiltinTrait);
  }
  return built;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}
