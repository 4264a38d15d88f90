/**
 * Every statement of PostgreSQL 18's grammar by the parser's name of it: what kind it is, and what follows from that
 * alone. A statement that is not here, of a newer parser, is unknown: exclusive, opaque, for the primary.
 */
import type { OpaqueReason, PrimaryReason, StatementKind } from "./statement-class.ts";

export interface StatementTraits {
  readonly kind: StatementKind;
  readonly route: "any" | PrimaryReason;
  readonly opaque: false | OpaqueReason;
  readonly returnsRows: boolean | "unknown";
  readonly outsideTransactionOnly: boolean;
  /** Whether what it says runs now, so that its functions and relations count. */
  readonly runs: boolean;
}

const base: StatementTraits = {
  kind: "utility",
  route: "any",
  opaque: false,
  returnsRows: false,
  outsideTransactionOnly: false,
  runs: true,
};
const read: StatementTraits = { ...base, kind: "read", returnsRows: true };
const write: StatementTraits = { ...base, kind: "write", route: "writes" };
/** Event triggers may run on it; defaults, checks and indexes may call functions. */
const ddl: StatementTraits = { ...base, kind: "ddl", route: "ddl", opaque: "ddl", runs: false };
const ddlAlone: StatementTraits = { ...ddl, outsideTransactionOnly: true };
const session: StatementTraits = { ...base, runs: false };
const maintenance: StatementTraits = { ...base, route: "utility", runs: false };

/** Nothing of a statement that is not known can be relied upon. */
export const unknownTraits: StatementTraits = {
  ...base,
  kind: "unknown",
  route: "unknown",
  opaque: "unknown_statement",
  returnsRows: "unknown",
};

const ddlTags = `AlterCollationStmt AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt AlterDatabaseStmt
  AlterDefaultPrivilegesStmt AlterDomainStmt AlterEnumStmt AlterEventTrigStmt AlterExtensionContentsStmt
  AlterExtensionStmt AlterFdwStmt AlterForeignServerStmt AlterFunctionStmt AlterObjectDependsStmt
  AlterObjectSchemaStmt AlterOpFamilyStmt AlterOperatorStmt AlterOwnerStmt AlterPolicyStmt
  AlterPublicationStmt AlterRoleSetStmt AlterRoleStmt AlterSeqStmt AlterStatsStmt AlterSubscriptionStmt
  AlterTSConfigurationStmt AlterTSDictionaryStmt AlterTableMoveAllStmt AlterTableSpaceOptionsStmt
  AlterTableStmt AlterTypeStmt AlterUserMappingStmt CommentStmt CompositeTypeStmt CreateAmStmt
  CreateCastStmt CreateConversionStmt CreateDomainStmt CreateEnumStmt CreateEventTrigStmt
  CreateExtensionStmt CreateFdwStmt CreateForeignServerStmt CreateForeignTableStmt CreateFunctionStmt
  CreateOpClassStmt CreateOpFamilyStmt CreatePLangStmt CreatePolicyStmt CreatePublicationStmt
  CreateRangeStmt CreateRoleStmt CreateSchemaStmt CreateSeqStmt CreateStatsStmt CreateStmt
  CreateSubscriptionStmt CreateTableAsStmt CreateTransformStmt CreateTrigStmt CreateUserMappingStmt
  DefineStmt DropOwnedStmt DropRoleStmt DropStmt DropSubscriptionStmt DropUserMappingStmt GrantRoleStmt
  GrantStmt ImportForeignSchemaStmt IndexStmt ReassignOwnedStmt RefreshMatViewStmt RenameStmt RuleStmt
  SecLabelStmt ViewStmt`;

/** Refused in a transaction block, always; others only in some of their forms. */
const ddlAloneTags = "AlterSystemStmt CreateTableSpaceStmt CreatedbStmt DropTableSpaceStmt DropdbStmt";

const others: Readonly<Record<string, StatementTraits>> = {
  SelectStmt: read,
  ExplainStmt: read,
  CopyStmt: { ...read, returnsRows: false },
  // Which of the nodes answers would show.
  VariableShowStmt: { ...read, route: "session_state" },
  FetchStmt: { ...read, route: "session_state" },
  InsertStmt: write,
  UpdateStmt: write,
  DeleteStmt: write,
  MergeStmt: write,
  TruncateStmt: write,
  DoStmt: { ...write, opaque: "do" },
  CallStmt: { ...write, opaque: "call", returnsRows: "unknown" },
  ExecuteStmt: { ...write, route: "session_state", opaque: "execute", returnsRows: "unknown" },
  TransactionStmt: { ...base, kind: "transaction" },
  VariableSetStmt: session,
  DiscardStmt: session,
  PrepareStmt: session,
  DeallocateStmt: session,
  ConstraintsSetStmt: { ...session, route: "writes" },
  ListenStmt: { ...session, route: "session_state" },
  UnlistenStmt: { ...session, route: "session_state" },
  NotifyStmt: { ...session, route: "writes" },
  // Its query runs with FETCH, in the same transaction or before its end: what it calls counts from here on.
  DeclareCursorStmt: { ...base, kind: "read" },
  ClosePortalStmt: { ...session, route: "session_state" },
  LockStmt: { ...base, route: "locks" },
  LoadStmt: { ...session, route: "session_state" },
  VacuumStmt: maintenance,
  ClusterStmt: maintenance,
  ReindexStmt: maintenance,
  CheckPointStmt: maintenance,
};

const table: ReadonlyMap<string, StatementTraits> = new Map([
  ...ddlTags.split(/\s+/).map((tag) => [tag, ddl] as const),
  ...ddlAloneTags.split(/\s+/).map((tag) => [tag, ddlAlone] as const),
  ...Object.entries(others),
]);

export function statementTraits(tag: string): StatementTraits {
  return table.get(tag) ?? unknownTraits;
}

/** The tags that are known, for the test that compares them with the grammar. */
export function knownTags(): string[] {
  return [...table.keys()];
}
