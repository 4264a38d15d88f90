/**
 * What a text of SQL is, as far as pooling and routing care: the answer of the classifier. Frozen, and shared by
 * all who send the same text.
 *
 * The words of `shareable`, `opaque` and `route` are shown to operators and counted in metrics: they are
 * short, stable and listed here once.
 */

/** What a text asks for. Of several statements, the one that asks for most: see `kindRank`. */
export type StatementKind =
  /** No statement at all. */
  | "empty"
  /** SELECT, VALUES, TABLE, SHOW, FETCH, EXPLAIN without ANALYZE, COPY TO. */
  | "read"
  /** BEGIN, COMMIT, SAVEPOINT and their kin. */
  | "transaction"
  /** What changes or asks for the session, not the database: SET, LISTEN, PREPARE, LOCK, VACUUM, … */
  | "utility"
  /** INSERT, UPDATE, DELETE, MERGE, COPY FROM, and SELECT with one of these inside or that locks rows. */
  | "write"
  /** CREATE, ALTER, DROP, GRANT, TRUNCATE, … */
  | "ddl"
  /** Not understood, or not looked at: the parser refused it, or a bound was reached. */
  | "unknown";

/** Why a text must not run beside strangers' statements on a server. */
export type ExclusiveReason =
  | "several_statements"
  | "not_a_read"
  | "locking"
  | "session_effect"
  | "volatile_function"
  /** The answer would tell of the session that gives it: pg_backend_pid(), pg_cursors, SHOW. */
  | "session_state"
  | OpaqueReason;

/** Why it cannot be known from the text what a session is like afterwards. */
export type OpaqueReason =
  /** The parser refused it. The server will say why. */
  | "unparsable"
  /** Longer than what is given to the parser, or of too many tokens. */
  | "too_long"
  /** Nested deeper than what is given to the parser. */
  | "too_deep"
  /** The time for parsing was used up. */
  | "over_budget"
  /** Not UTF-8, holds a zero byte, or its quotes depend on settings that the parser does not know. */
  | "encoding"
  /** The parser is being loaded anew. */
  | "parser_unavailable"
  /** A kind of statement that this version does not know. */
  | "unknown_statement"
  /** Nothing is known of the database's functions and views. */
  | "catalog_not_loaded"
  | "unknown_function"
  | "user_function"
  | "volatile_builtin"
  | "user_operator"
  | "user_type"
  /** A view, a foreign table or a table with row security, not proven harmless. */
  | "relation_read"
  /** A table whose triggers, rules, defaults or constraints are not proven harmless. */
  | "relation_write"
  /** Runs code that is not in the text. */
  | "do"
  | "call"
  | "execute"
  | "ddl"
  /** SET or set_config() with a name or a value that is no constant. */
  | "setting_not_constant";

/** Why a text has to run on the primary. */
export type PrimaryReason =
  | "writes"
  | "ddl"
  | "locks"
  | "transaction_id"
  | "session_state"
  | "utility"
  | "user_function"
  | "volatile_function"
  /** A function of `write_function_list`. */
  | "write_function_list"
  | "node_local"
  | "unknown";

export type IsolationLevel = "read uncommitted" | "read committed" | "repeatable read" | "serializable";

/** What BEGIN, SET TRANSACTION and SET SESSION CHARACTERISTICS say; what is absent was not said. */
export interface TransactionModes {
  readonly isolation?: IsolationLevel;
  readonly readOnly?: boolean;
  readonly deferrable?: boolean;
}

export type TransactionControl =
  | { readonly kind: "begin"; readonly modes: TransactionModes }
  | { readonly kind: "commit"; readonly chain: boolean }
  | { readonly kind: "rollback"; readonly chain: boolean }
  | { readonly kind: "savepoint"; readonly name: string }
  | { readonly kind: "release"; readonly name: string }
  | { readonly kind: "rollback_to"; readonly name: string }
  | { readonly kind: "prepare_transaction"; readonly gid: string }
  | { readonly kind: "commit_prepared"; readonly gid: string }
  | { readonly kind: "rollback_prepared"; readonly gid: string };

/** Bytes of the text that was classified. */
export interface TextRange {
  readonly start: number;
  readonly end: number;
}

export type SettingScope = "session" | "local";

export type LockScope = "session" | "transaction";

/**
 * What a statement does to its session. Names are as PostgreSQL folds them: lower case unless quoted; the
 * names of settings are lower case always.
 */
export type SessionEffect =
  /**
   * SET name = values. Several values only where a list was given; each is the text of a constant, numbers as they
   * were written. `null`: not constant, as in SET TIME ZONE INTERVAL.
   */
  | {
      readonly kind: "set_parameter";
      readonly name: string;
      readonly values: readonly string[] | null;
      readonly scope: SettingScope;
    }
  /** RESET name, and SET name TO DEFAULT, whose LOCAL form lasts to the end of the transaction. */
  | { readonly kind: "reset"; readonly name: string; readonly scope: SettingScope }
  | { readonly kind: "reset_all" }
  | { readonly kind: "discard"; readonly target: "all" | "plans" | "sequences" | "temp" }
  /** `role` is null for NONE and for RESET ROLE alike where `reset` tells them apart. */
  | {
      readonly kind: "set_role";
      readonly role: string | null;
      readonly scope: SettingScope;
      readonly reset: boolean;
    }
  /** `user` is null for DEFAULT and RESET. */
  | { readonly kind: "set_session_authorization"; readonly user: string | null; readonly scope: SettingScope }
  | { readonly kind: "set_transaction"; readonly modes: TransactionModes }
  | { readonly kind: "set_transaction_snapshot"; readonly snapshot: string }
  | { readonly kind: "set_session_characteristics"; readonly modes: TransactionModes }
  /**
   * SELECT set_config(name, value, is_local) with constants, so that it runs once; a null value resets. Any other
   * call for the session is no effect but opaque; for the transaction its name and value may be unknown.
   */
  | {
      readonly kind: "set_config";
      readonly name: string | null;
      readonly value: string | null;
      readonly scope: SettingScope;
    }
  | { readonly kind: "set_seed" }
  /** PREPARE name (types) AS statement; types as they were written, `statement` without what surrounds it. */
  | {
      readonly kind: "prepare";
      readonly name: string;
      readonly parameterTypes: readonly string[];
      readonly statement: TextRange;
    }
  | { readonly kind: "execute"; readonly name: string }
  /** `name` is null for ALL. */
  | { readonly kind: "deallocate"; readonly name: string | null }
  | { readonly kind: "listen"; readonly channel: string }
  /** `channel` is null for *. */
  | { readonly kind: "unlisten"; readonly channel: string | null }
  /** `channel` is null for a call of pg_notify(). */
  | { readonly kind: "notify"; readonly channel: string | null }
  | {
      readonly kind: "declare_cursor";
      readonly name: string;
      readonly withHold: boolean;
      readonly scroll: boolean | undefined;
      readonly binary: boolean;
    }
  /** `name` is null for ALL. */
  | { readonly kind: "close_cursor"; readonly name: string | null }
  | { readonly kind: "fetch"; readonly name: string; readonly move: boolean }
  /** `name` is null where the text does not tell, or tells several. `object`: table, view, sequence, function, … */
  | {
      readonly kind: "temp_object";
      readonly action: "create" | "drop";
      readonly object: string;
      readonly name: string | null;
    }
  /** Something is dropped by a name that may be that of a temporary object. */
  | { readonly kind: "drop_object"; readonly object: string; readonly names: readonly string[] }
  | {
      readonly kind: "advisory_lock";
      readonly scope: LockScope;
      readonly action: "lock" | "unlock" | "unlock_all";
    }
  /** `sequence` is null if it is not a constant; `implicit`: by a column's default, as the catalog tells. */
  | {
      readonly kind: "sequence";
      readonly operation: "nextval" | "currval" | "lastval" | "setval";
      readonly sequence: string | null;
      readonly implicit: boolean;
    }
  | { readonly kind: "large_object"; readonly descriptor: boolean }
  | { readonly kind: "export_snapshot" }
  /** `local`: of the transaction alone. */
  | { readonly kind: "replication_origin"; readonly action: "setup" | "reset" | "local" }
  /** `certain`: the statement is this one call, and cannot succeed without it. */
  | { readonly kind: "backup"; readonly action: "start" | "stop"; readonly certain: boolean }
  /** A temporary one perhaps, which is the session's. */
  | { readonly kind: "replication_slot"; readonly action: "create" | "drop" }
  | { readonly kind: "load"; readonly file: string }
  | { readonly kind: "copy"; readonly direction: "from" | "to"; readonly with: "client" | "file" | "program" }
  | { readonly kind: "lock_table" }
  | { readonly kind: "do" }
  | { readonly kind: "call" };

/** A function that a statement calls by name, or may call. */
export interface FunctionUse {
  readonly schema: string | undefined;
  readonly name: string;
  /** How many arguments the call has. */
  readonly argumentCount: number;
}

/** A relation that a statement names. */
export interface RelationUse {
  readonly schema: string | undefined;
  readonly name: string;
  readonly access: "read" | "write";
}

/** Something a comment tells the pooler: `pgsluice: name`, `pgsluice: name=value`. */
export interface Hint {
  readonly name: string;
  readonly value: string | undefined;
}

/** One statement of a text. */
export interface Statement {
  /** The parser's name of it, `SelectStmt`; for the record, not for decisions. */
  readonly tag: string;
  readonly kind: StatementKind;
  /** Where it stands; undefined if it is the only one. */
  readonly range: TextRange | undefined;
  readonly transaction: TransactionControl | undefined;
  readonly effects: readonly SessionEffect[];
  /** SHOW: the parameter, `all` for ALL. */
  readonly shows: string | undefined;
  readonly locking: boolean;
  /** Whether Describe would show columns; an EXECUTE or a CALL may. */
  readonly returnsRows: boolean | "unknown";
  /** Refused inside a transaction block: VACUUM, CREATE DATABASE, CREATE INDEX CONCURRENTLY, … */
  readonly outsideTransactionOnly: boolean;
}

export interface StatementClass {
  readonly kind: StatementKind;
  readonly statements: readonly Statement[];
  readonly multiStatement: boolean;
  /** If the text is one statement of transaction control. */
  readonly transaction: TransactionControl | undefined;
  /** Those of all statements, in order. */
  readonly effects: readonly SessionEffect[];
  readonly functions: readonly FunctionUse[];
  readonly relations: readonly RelationUse[];
  /** Whether every function is known and has no effect beyond its result. */
  readonly functionsSafe: boolean;
  readonly locking: boolean;
  readonly returnsRows: boolean | "unknown";
  readonly outsideTransactionOnly: boolean;
  /** Changes functions, views, operators or types, so that catalogs read before may be wrong. */
  readonly changesCatalog: boolean;
  /** A plain read that leaves nothing behind and may run between strangers' statements. */
  readonly shareable: true | ExclusiveReason;
  /** Whether the session has to be looked at afterwards. */
  readonly opaque: false | OpaqueReason;
  readonly route: "any" | PrimaryReason;
  /** A result may be kept: shareable, and the same rows for the same data (no now(), no random()). */
  readonly cacheable: boolean;
  readonly hints: readonly Hint[];
  /** What a reader has made of this, once: kept here because it is looked for with each statement. */
  readonly derived: { value: unknown };
}
