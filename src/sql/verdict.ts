/**
 * From what a text says by itself and what a catalog knows to its class. The rules of shareability:
 *
 * - Shareable is a single SELECT, VALUES or TABLE that locks nothing, has no effect on the session, is not opaque, and
 *   calls only functions that are stable, immutable or believed to be.
 * - Opaque is whatever may run code of which it is not known that it leaves the session as it was: functions of
 *   users, be it through operators, casts, views, policies, triggers, rules, defaults or checks; DO, CALL, EXECUTE; DDL, for its
 *   event triggers; and what was not understood.
 * - A name stands for the worst that it may mean, because the search path is the client's.
 */
import { strongestKind } from "./analyze.ts";
import { type BuiltinTrait, builtinTrait, isSteady } from "./builtin-functions.ts";
import { callEffect } from "./call-effects.ts";
import type { Catalog } from "./catalog.ts";
import type {
  ExclusiveReason,
  OpaqueReason,
  PrimaryReason,
  RelationUse,
  SessionEffect,
  StatementClass,
} from "./statement-class.ts";
import type { Call, Syntax } from "./syntax.ts";
import { nodeView, sessionViewNames } from "./system-views.ts";

/** What the calls and the relations of a text come to; everything gets worse only. */
interface Findings {
  opaque: false | OpaqueReason;
  route: "any" | PrimaryReason;
  readonly effects: SessionEffect[];
  writes: boolean;
  /** Why it cannot stand between the statements of others, if a function is all that speaks against that. */
  exclusive: false | ExclusiveReason;
  session: boolean;
  functionsSafe: boolean;
  steady: boolean;
}

export function verdict(syntax: Syntax, catalog: Catalog): StatementClass {
  const findings: Findings = {
    opaque: syntax.opaque,
    route: syntax.route,
    effects: [],
    writes: false,
    exclusive: false,
    session: false,
    functionsSafe: true,
    steady: !syntax.unsteady,
  };
  for (const call of syntax.calls) judgeCall(call, catalog, findings);
  for (const relation of syntax.relations) judgeRelation(relation, catalog, findings);
  judgeTypes(syntax, catalog, findings);
  return assemble(syntax, findings);
}

function assemble(syntax: Syntax, findings: Findings): StatementClass {
  const { statements } = syntax;
  const [only] = statements.length === 1 ? statements : [];
  const effects = [...statements.flatMap((statement) => statement.effects), ...findings.effects];
  const written = strongestKind(statements);
  const kind =
    statements.length === 0 && syntax.opaque !== false
      ? "unknown"
      : findings.writes && written === "read"
        ? "write"
        : written;
  const locking = statements.some((statement) => statement.locking);
  const shareable = sharing(syntax, findings, written === "read", locking, effects.length > 0);
  return Object.freeze<StatementClass>({
    kind,
    statements: Object.freeze(statements),
    multiStatement: statements.length > 1,
    transaction: only?.transaction,
    effects: Object.freeze(effects),
    functions: Object.freeze(
      syntax.calls.map(({ schema, name, argumentCount }) => ({ schema, name, argumentCount })),
    ),
    relations: Object.freeze(syntax.relations),
    functionsSafe: findings.functionsSafe && syntax.opaque === false,
    locking,
    returnsRows: returnsRows(syntax),
    outsideTransactionOnly: statements.some((statement) => statement.outsideTransactionOnly),
    changesCatalog: syntax.changesCatalog,
    shareable,
    opaque: findings.opaque,
    route: findings.route,
    cacheable: shareable === true && findings.steady,
    hints: Object.freeze(syntax.hints),
    derived: { value: undefined },
  });
}

function sharing(
  syntax: Syntax,
  findings: Findings,
  read: boolean,
  locking: boolean,
  effects: boolean,
): true | ExclusiveReason {
  if (syntax.statements.length > 1) return "several_statements";
  if (locking) return "locking";
  if (syntax.opaque !== false) return syntax.opaque;
  if (effects) return "session_effect";
  const tag = syntax.statements[0]?.tag;
  if (tag === "VariableShowStmt") return "session_state";
  if (!read || tag !== "SelectStmt") return "not_a_read";
  if (findings.opaque !== false) return findings.opaque;
  if (findings.session) return "session_state";
  return findings.exclusive === false ? true : findings.exclusive;
}

function returnsRows(syntax: Syntax): boolean | "unknown" {
  if (syntax.opaque !== false && syntax.statements.length === 0) return "unknown";
  if (syntax.statements.some((statement) => statement.returnsRows === true)) return true;
  return syntax.statements.some((statement) => statement.returnsRows === "unknown") ? "unknown" : false;
}

// Functions.

function judgeCall(call: Call, catalog: Catalog, findings: Findings): void {
  const { schema, name } = call;
  if (catalog.mayWrite(schema, name)) {
    findings.writes = true;
    volatile(findings);
    toPrimary(findings, "write_function_list");
  }
  const builtin = schema === undefined || schema === "pg_catalog" ? builtinTrait(name) : undefined;
  if (builtin !== undefined) judgeBuiltin(builtin, call, findings);
  if (builtin === undefined || !isSteady(name)) findings.steady = false;
  // Nobody but a superuser puts functions there, so what is built in needs no catalog.
  if (schema === "pg_catalog" && builtin !== undefined) return;
  switch (catalog.userFunction(schema, name)) {
    case "user":
      unsafe(findings, "user_function");
      toPrimary(findings, "user_function");
      findings.writes = true;
      return;
    case "user_stable":
      unsafe(findings, "user_function");
      return;
    case "quiet":
      acting(findings, "user_function");
      return;
    case "harmless":
      return;
    case "absent":
      if (schema === "information_schema") return;
      if (builtin === undefined) {
        unknownFunction(findings, catalog.state === "unknown" ? "catalog_not_loaded" : "unknown_function");
      } else if (catalog.state === "unknown") {
        unsafe(findings, "catalog_not_loaded");
        toPrimary(findings, "unknown");
      }
  }
}

function unknownFunction(findings: Findings, reason: OpaqueReason): void {
  unsafe(findings, reason);
  toPrimary(findings, "unknown");
  findings.steady = false;
  findings.writes = true;
}

/** What follows from the trait of a built-in function. */
function judgeBuiltin(trait: BuiltinTrait, call: Call, findings: Findings): void {
  switch (trait) {
    case "immutable":
    case "stable":
      return;
    case "session":
      findings.session = true;
      toPrimary(findings, "session_state");
      return;
    case "node_local":
      volatile(findings);
      toPrimary(findings, "node_local");
      return;
    case "transaction_id":
      volatile(findings);
      toPrimary(findings, "transaction_id");
      return;
    case "harmless":
      volatile(findings);
      return;
    case "acts":
      acting(findings, "writes");
      return;
    case "runs_code":
    case "unknown_volatile":
      acting(findings, "volatile_function");
      opaque(findings, "volatile_builtin");
      return;
    default: {
      const effect = callEffect(trait, call);
      findings.functionsSafe = false;
      volatile(findings);
      if (effect === undefined) opaque(findings, "setting_not_constant");
      else findings.effects.push(effect);
      const reason = effectRoute[trait];
      if (reason === "writes") findings.writes = true;
      if (reason !== "any") toPrimary(findings, reason);
    }
  }
}

const effectRoute: Readonly<Record<Exclude<BuiltinTrait, PlainTrait>, "any" | PrimaryReason>> = {
  set_config: "any",
  set_seed: "session_state",
  nextval: "writes",
  setval: "writes",
  currval: "session_state",
  lastval: "session_state",
  lock_session: "locks",
  lock_transaction: "locks",
  unlock: "locks",
  unlock_all: "locks",
  large_object: "writes",
  large_object_descriptor: "writes",
  notify: "writes",
  export_snapshot: "session_state",
  replication_origin: "session_state",
  backup: "session_state",
  replication_slot: "writes",
};

type PlainTrait =
  | "immutable"
  | "stable"
  | "session"
  | "node_local"
  | "transaction_id"
  | "harmless"
  | "acts"
  | "runs_code"
  | "unknown_volatile";

function acting(findings: Findings, reason: PrimaryReason): void {
  findings.writes = true;
  if (reason === "user_function") exclusive(findings, reason);
  else volatile(findings);
  findings.functionsSafe = false;
  toPrimary(findings, reason);
}

// Relations, operators, types.

const systemSchemas: ReadonlySet<string> = new Set(["pg_catalog", "information_schema"]);

function judgeRelation(relation: RelationUse, catalog: Catalog, findings: Findings): void {
  const { schema, name } = relation;
  const system = schema !== undefined && systemSchemas.has(schema);
  if (system || (schema === undefined && name.startsWith("pg_"))) {
    findings.steady = false;
    if (sessionViewNames.has(name)) {
      findings.session = true;
      toPrimary(findings, "session_state");
    } else if (nodeView.test(name)) toPrimary(findings, "node_local");
    // UPDATE pg_settings is SET by a rule.
    if (relation.access === "write") opaque(findings, "relation_write");
    if (system) return;
  }
  if (catalog.state === "unknown") {
    opaque(findings, "catalog_not_loaded");
    toPrimary(findings, "unknown");
    return;
  }
  if (catalog.relationIs("relation_read", schema, name)) {
    opaque(findings, "relation_read");
    toPrimary(findings, "user_function");
  }
  if (relation.access === "read") return;
  if (catalog.relationIs("relation_write", schema, name)) opaque(findings, "relation_write");
  if (catalog.relationIs("relation_sequence", schema, name)) {
    findings.effects.push({ kind: "sequence", operation: "nextval", sequence: null, implicit: true });
  }
}

function judgeTypes(syntax: Syntax, catalog: Catalog, findings: Findings): void {
  const { operators, types, fields, relations, calls } = syntax;
  if (catalog.state === "unknown") {
    const named = [...operators, ...types].some(({ schema }) => schema !== "pg_catalog");
    if (named || fields.length > 0) opaque(findings, "catalog_not_loaded");
    return;
  }
  if (operators.some(({ schema, name }) => catalog.hasOperator(schema, name))) {
    unsafe(findings, "user_operator");
    toPrimary(findings, "user_function");
  }
  const populates = catalog.hasTypes && calls.some(({ name }) => /^jsonb?_populate_/.test(name));
  const userTypes = types.some(({ schema, name }) => catalog.hasType(schema, name));
  const casts = catalog.hasCasts && (relations.length > 0 || types.length > 0 || calls.length > 0);
  if (populates || userTypes || casts) {
    unsafe(findings, "user_type");
    toPrimary(findings, "user_function");
  }
  for (const name of fields) {
    if (catalog.mayWrite(undefined, name)) acting(findings, "write_function_list");
    const found = catalog.userFunction(undefined, name);
    if (found === "quiet") acting(findings, "user_function");
    if (!found.startsWith("user")) continue;
    unsafe(findings, "user_function");
    toPrimary(findings, "user_function");
  }
}

// How findings get worse.

function unsafe(findings: Findings, reason: OpaqueReason): void {
  findings.functionsSafe = false;
  opaque(findings, reason);
}

function volatile(findings: Findings): void {
  exclusive(findings, "volatile_function");
}

/** The first reason stays. */
function exclusive(findings: Findings, reason: ExclusiveReason): void {
  if (findings.exclusive === false) findings.exclusive = reason;
}

/** The first reason stays. */
function opaque(findings: Findings, reason: OpaqueReason): void {
  if (findings.opaque === false) findings.opaque = reason;
}

function toPrimary(findings: Findings, reason: PrimaryReason): void {
  if (findings.route === "any") findings.route = reason;
}
