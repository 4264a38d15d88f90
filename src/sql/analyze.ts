/** From a parse tree to what the text says by itself. */
import { statementEffects, transactionControl } from "./effects.ts";
import { hintsIn } from "./hints.ts";
import { creation, optionIsOn, refusesTransaction } from "./objects.ts";
import type { Json, JsonObject } from "./parser.ts";
import type {
  OpaqueReason,
  PrimaryReason,
  SessionEffect,
  Statement,
  StatementKind,
  TextRange,
} from "./statement-class.ts";
import { type StatementTraits, statementTraits, unknownTraits } from "./statement-table.ts";
import { kindRank, type Syntax } from "./syntax.ts";
import { constantText, listAt, names, numberAt, objectAt, tagged, textAt, unwrap } from "./tree.ts";
import { Walk } from "./walk.ts";

/** Where the statement that a PREPARE is about stands in the text. */
export type InnerStatement = (prepare: TextRange) => TextRange;

interface Found {
  readonly statement: Statement;
  readonly walk: Walk;
  readonly traits: StatementTraits;
}

export function analyze(
  tree: readonly JsonObject[],
  textBytes: number,
  hintComments: readonly string[],
  innerStatement: InnerStatement,
): Syntax {
  const found = tree.map((raw) => analyzeStatement(raw, textBytes, innerStatement));
  const [only, second] = found;
  // The place of a text's only statement would make texts differ that are alike.
  if (only === undefined || second !== undefined) return combine(found, hintComments);
  return combine([{ ...only, statement: { ...only.statement, range: undefined } }], hintComments);
}

/** The same answer for a text that was not parsed. */
export function unparsed(
  kind: "empty" | "unknown",
  opaque: false | OpaqueReason,
  hints: readonly string[],
): Syntax {
  return {
    ...combine([], hints),
    opaque,
    route: kind === "empty" ? "any" : "unknown",
    changesCatalog: kind === "unknown",
  };
}

function combine(found: readonly Found[], hintComments: readonly string[]): Syntax {
  return {
    statements: found.map(({ statement }) => statement),
    calls: found.flatMap(({ walk }) => walk.calls),
    relations: found.flatMap(({ walk }) => walk.relations),
    operators: found.flatMap(({ walk }) => walk.operators),
    types: found.flatMap(({ walk }) => walk.types),
    fields: found.flatMap(({ walk }) => walk.fields),
    unsteady: found.some(({ walk }) => walk.unsteady),
    opaque: found.find(({ traits }) => traits.opaque !== false)?.traits.opaque ?? false,
    route: strongestRoute(found),
    changesCatalog: found.some(({ traits }) => traits.kind === "ddl" || traits.kind === "unknown"),
    hints: hintsIn(hintComments),
  };
}

function strongestRoute(found: readonly Found[]): "any" | PrimaryReason {
  let strongest: Found | undefined;
  for (const one of found) {
    if (one.traits.route === "any") continue;
    if (strongest === undefined || kindRank[one.traits.kind] > kindRank[strongest.traits.kind])
      strongest = one;
  }
  return strongest?.traits.route ?? "any";
}

function analyzeStatement(raw: JsonObject, textBytes: number, innerStatement: InnerStatement): Found {
  const start = numberAt(raw, "stmt_location");
  const length = numberAt(raw, "stmt_len");
  const range: TextRange = { start, end: length === 0 ? textBytes : start + length };
  const [tag, fields] = unwrap(raw["stmt"]) ?? ["", {}];
  const known = statementTraits(tag);
  const walk = new Walk();
  if (known.runs) walk.run({ [tag]: fields }, callsOnce(tag, fields));
  const traits = refine(tag, fields, known, walk);
  const transaction = tag === "TransactionStmt" ? transactionControl(fields) : undefined;
  return {
    walk,
    traits,
    statement: {
      tag,
      kind: traits.kind,
      range,
      transaction,
      effects: effectsOf(tag, fields, walk, () => innerStatement(range)),
      shows: tag === "VariableShowStmt" ? textAt(fields, "name") : undefined,
      locking: walk.locking,
      returnsRows: returnsRows(fields, traits),
      outsideTransactionOnly:
        traits.outsideTransactionOnly ||
        refusesTransaction(tag, fields) ||
        transaction?.kind === "commit_prepared" ||
        transaction?.kind === "rollback_prepared",
    },
  };
}

function effectsOf(tag: string, fields: JsonObject, walk: Walk, inner: () => TextRange): SessionEffect[] {
  const effects = statementEffects(tag, fields, inner);
  const executed = executedWithin(fields);
  if (executed !== undefined) effects.push(...statementEffects("ExecuteStmt", executed, inner));
  if (walk.into !== undefined) effects.push(...creation("table", objectAt(walk.into, "rel")));
  return effects;
}

/** The EXECUTE in EXPLAIN and CREATE TABLE AS, or in one within the other. */
function executedWithin(fields: JsonObject): JsonObject | undefined {
  const [tag, inner] = unwrap(fields["query"]) ?? [""];
  if (tag === "ExecuteStmt") return inner;
  return tag === "CreateTableAsStmt" && inner !== undefined ? executedWithin(inner) : undefined;
}

/** What a statement's parts make of it. */
function refine(tag: string, fields: JsonObject, traits: StatementTraits, walk: Walk): StatementTraits {
  switch (tag) {
    case "":
      return unknownTraits;
    case "ExplainStmt":
      return explained(fields, traits, walk);
    case "CopyStmt":
      return copied(fields, traits, walk);
    case "TransactionStmt":
      return transactionControl(fields) === undefined ? unknownTraits : transactionTraits(fields, traits);
    case "VariableSetStmt":
      return settingTraits(fields, traits);
    case "TruncateStmt":
      for (const relation of [...walk.relations]) walk.relations.push({ ...relation, access: "write" });
      return traits;
    default:
      return written(traits, walk);
  }
}

/** SELECT with FOR UPDATE, INTO, or a data-modifying WITH. */
function written(traits: StatementTraits, walk: Walk): StatementTraits {
  if (walk.into !== undefined)
    return { ...traits, kind: "ddl", route: "ddl", opaque: "ddl", returnsRows: false };
  if (walk.writes) return { ...traits, kind: "write", route: "writes" };
  if (walk.locking) return { ...traits, kind: "write", route: "locks" };
  return traits;
}

function explained(fields: JsonObject, traits: StatementTraits, walk: Walk): StatementTraits {
  const [tag] = unwrap(fields["query"]) ?? [""];
  const inner = statementTraits(tag);
  if (optionIsOn(listAt(fields, "options"), "analyze")) {
    return { ...written({ ...inner, returnsRows: true }, walk), returnsRows: true };
  }
  // Planning runs functions that are not volatile, to know how many rows there will be.
  walk.writes = false;
  walk.locking = false;
  walk.into = undefined;
  return { ...traits, opaque: inner.opaque === "ddl" ? false : inner.opaque };
}

function copied(fields: JsonObject, traits: StatementTraits, walk: Walk): StatementTraits {
  if (fields["is_from"] === true) {
    const [relation] = walk.relations;
    if (relation !== undefined) walk.relations.push({ ...relation, access: "write" });
    return { ...traits, kind: "write", route: "writes" };
  }
  if (textAt(fields, "filename") !== undefined) return { ...traits, kind: "write", route: "writes" };
  return written(traits, walk);
}

function transactionTraits(fields: JsonObject, traits: StatementTraits): StatementTraits {
  return /PREPARE/.test(textAt(fields, "kind") ?? "") ? { ...traits, route: "writes" } : traits;
}

/** SET of a value that the grammar knows and we do not: an interval as a time zone. */
function settingTraits(fields: JsonObject, traits: StatementTraits): StatementTraits {
  const [effect] = statementEffects("VariableSetStmt", fields, () => ({ start: 0, end: 0 }));
  const unknown = effect?.kind === "set_parameter" && effect.values === null && effect.scope === "session";
  return unknown ? { ...traits, opaque: "setting_not_constant" } : traits;
}

function returnsRows(fields: JsonObject, traits: StatementTraits): boolean | "unknown" {
  if (fields["returningClause"] !== undefined) return true;
  return fields["ismove"] === true ? false : traits.returnsRows;
}

/** The calls of a SELECT that run exactly once if it succeeds, whatever the database holds. */
function callsOnce(tag: string, fields: JsonObject): ReadonlySet<Json> {
  if (tag !== "SelectStmt" || !Object.keys(fields).every((key) => oneRow.has(key))) return noCalls;
  const targets = listAt(fields, "targetList");
  const from = listAt(fields, "fromClause");
  const calls = from.length === 0 ? ofOneRow(targets) : [soleFunction(from)];
  return new Set(calls.flatMap((call) => (call === undefined ? [] : [call])));
}

/** Calls and constants alone, because a function that returns a set could make it no row. */
function ofOneRow(targets: readonly Json[]): readonly (JsonObject | undefined)[] {
  const values = targets.map((target) => tagged(target, "ResTarget")?.["val"]);
  const plain = values.every((value) => {
    const name = functionName(tagged(value, "FuncCall"));
    return (name !== undefined && returnOneRow.has(name)) || constantText(value) !== undefined;
  });
  return plain ? values.map((value) => tagged(value, "FuncCall")) : [];
}

/** FROM pg_backup_stop(): what it returns is a row. */
function soleFunction(from: readonly Json[]): JsonObject | undefined {
  const functions = from.length === 1 ? listAt(tagged(from[0], "RangeFunction"), "functions") : [];
  const call = tagged(listAt(tagged(functions[0], "List"), "items")[0], "FuncCall");
  return functions.length === 1 && functionName(call) === "pg_backup_stop" ? call : undefined;
}

function functionName(call: JsonObject | undefined): string | undefined {
  return names(listAt(call, "funcname")).at(-1);
}

const noCalls: ReadonlySet<Json> = new Set();
const returnOneRow: ReadonlySet<string> = new Set(["set_config", "pg_backup_stop"]);

/** The fields of a SELECT that has targets, and perhaps what they are taken from, and nothing else. */
const oneRow: ReadonlySet<string> = new Set(["targetList", "fromClause", "limitOption", "op"]);

export function strongestKind(statements: readonly Statement[]): StatementKind {
  let strongest: StatementKind = "empty";
  for (const { kind } of statements) if (kindRank[kind] > kindRank[strongest]) strongest = kind;
  return strongest;
}
