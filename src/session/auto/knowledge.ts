/**
 * What a statement's class means for the session that runs it: which parts of its state may be different
 * afterwards, and what has to be known before it runs. Made once for each class; a class with nothing special is
 * `plain`, and costs one comparison.
 */

import { hintOf, needOf, type RouteHint, type TransactionStart } from "../../cluster/need.ts";
import { Pace } from "../../pool/pace.ts";
import type { SessionEffect, StatementClass, TransactionControl } from "../../sql/statement-class.ts";
import { asksPids, signals } from "./pid-statements.ts";
import { Reservation, Touch, touchesAll } from "./reservations.ts";
import { leavesSomething, opensOnStandby, staysOnStandby } from "./standby-statements.ts";

/** A setting goes back to what a new session has. */
export interface Reset {
  /** Lower case; undefined: all. */
  readonly name: string | undefined;
  /** To the end of the transaction. */
  readonly local: boolean;
}

/** What one statement makes of the unit that it belongs to, whatever else is in that; any number of these. */
export const Mark = {
  /** It needs a server for itself. */
  exclusive: 1,
  /** It may not run on a standby; nor in a read-only transaction that is open there; nor begin one. */
  keepsFromStandby: 2,
  leavesStandby: 4,
  opensNothing: 8,
  /** It leaves something in such a transaction. */
  leaves: 16,
  /** It says more of the route than these marks. */
  says: 32,
  /** It may end the transaction that is open. */
  mayEnd: 64,
} as const;

/** The members that are looked at for each statement come first, side by side. */
export interface Knowledge {
  readonly marks: number;
  /** Plain, and may run between statements of others: how long that takes. */
  readonly pace: Pace | undefined;
  /** Nothing below is of interest. */
  readonly plain: boolean;
  /** Something else than `transaction` is of interest: the session, or what is known of it, may not be as before. */
  readonly special: boolean;
  /** COPY FROM STDIN: the server answers although nothing ends the batch. */
  readonly copiesIn: boolean;
  /** COPY from or to the client. */
  readonly copies: boolean;
  /** BEGIN among several statements. */
  readonly begins: boolean;
  /** Parts of the state that may be different afterwards. */
  readonly touches: number;
  /** Those of which the text itself says so. */
  readonly toldTouches: number;
  /** Parts where something may have ended: of interest if something is there. */
  readonly releases: number;
  /** Reservations that begin and whose end no look-up can tell. */
  readonly reserves: number;
  /** Reservations whose cause is over when it was executed, which no look-up can tell. */
  readonly ends: number;
  /** Code has run that is not in the text: it may have set anything. */
  readonly opaque: boolean;
  /** Sets a parameter whose name is no constant. */
  readonly hidesNames: boolean;
  /** The functions that it names, if it is opaque. */
  readonly calledNames: readonly string[];
  /** CREATE FUNCTION or PROCEDURE and nothing else: what its text holds is not run. */
  readonly definesOnly: boolean;
  /** The settings that are set or reset by name, if that is all there is to `Touch.settings`. */
  readonly settingNames: readonly string[] | undefined;
  /** Undeclared parameters of extensions that are named. */
  readonly customNames: readonly string[];
  readonly resets: readonly Reset[];
  /** RESET ALL, if nothing else in the text sets anything that nobody knows of, and its transaction ends with it if it was not open before. */
  readonly resetsAll: boolean;
  /** nextval(), setval(), or a default that calls them. */
  readonly usesSequence: boolean;
  /** currval(), lastval(). */
  readonly asksSequence: boolean;
  /** New sessions will begin with other settings. */
  readonly altersDefaults: boolean;
  /** Names prepared statements in SQL. */
  readonly namesPrepared: boolean;
  /** Asks which there are. */
  readonly listsPrepared: boolean;
  /** DEALLOCATE or DISCARD ALL, or code that may contain it. */
  readonly dropsPrepared: boolean;
  /** DISCARD ALL. What is behind it in its batch cannot wait for its answer: only the server knows what names mean there. */
  readonly discardsAll: boolean;
  /** Its answer tells of processes of the server. */
  readonly asksPids: boolean;
  /** Ends or cancels what processes do. */
  readonly signals: boolean;
  /** Functions, views or triggers may be others than before: those of this session alone, or of all. */
  readonly changesCatalog: "own" | "all" | undefined;
  readonly transaction: TransactionControl | undefined;
  /** May run on a standby, as far as its text tells. */
  readonly reads: boolean;
  /** The same in a read-only transaction that is open there; whether it leaves something in that. */
  readonly stays: boolean;
  readonly leaves: boolean;
  /** It may begin such a transaction, although it reads nothing. */
  readonly opens: boolean;
  /** May change what others read. */
  readonly writes: boolean;
  /** SHOW pgsluice.lsn, alone or among others. */
  readonly showsLsn: "alone" | "among_others" | undefined;
  /** Where a comment in it wants it to run. */
  readonly routeHint: RouteHint | undefined;
}

const nothing: Knowledge = {
  marks: Mark.exclusive | Mark.keepsFromStandby | Mark.leavesStandby | Mark.opensNothing,
  pace: undefined,
  plain: true,
  special: false,
  copiesIn: false,
  copies: false,
  begins: false,
  touches: 0,
  toldTouches: 0,
  releases: 0,
  reserves: 0,
  ends: 0,
  opaque: false,
  hidesNames: false,
  calledNames: [],
  definesOnly: false,
  settingNames: undefined,
  customNames: [],
  resets: [],
  resetsAll: false,
  usesSequence: false,
  asksSequence: false,
  altersDefaults: false,
  namesPrepared: false,
  listsPrepared: false,
  dropsPrepared: false,
  discardsAll: false,
  asksPids: false,
  signals: false,
  changesCatalog: undefined,
  transaction: undefined,
  reads: false,
  stays: false,
  leaves: false,
  opens: false,
  writes: false,
  showsLsn: undefined,
  routeHint: undefined,
};

/** Of what was not looked at. */
export const unknownStatement: Knowledge = {
  ...nothing,
  marks: nothing.marks | Mark.says | Mark.mayEnd,
  plain: false,
  special: true,
  touches: touchesAll,
  releases: Touch.origin | Touch.slots,
  opaque: true,
  usesSequence: true,
  writes: true,
};

export function knowledgeOf(statement: StatementClass): Knowledge {
  const { derived } = statement;
  derived.value ??= derive(statement);
  // Nobody else derives anything from a class.
  return derived.value as Knowledge;
}

/** The same of a text that also sets a parameter whose name is no constant. */
export function hiding(knowledge: Knowledge): Knowledge {
  let variant = variants.get(knowledge);
  if (variant === undefined) {
    variant = { ...knowledge, hidesNames: true };
    variants.set(knowledge, variant);
  }
  return variant;
}

const variants = new WeakMap<Knowledge, Knowledge>();

/** Statements that change what new sessions begin with. */
const defaultsTags: ReadonlySet<string> = new Set([
  "AlterRoleSetStmt",
  "AlterDatabaseSetStmt",
  "AlterSystemStmt",
]);

const fillingTags: ReadonlySet<string> = new Set(["AlterTableStmt", "RefreshMatViewStmt"]);

type Draft = { -readonly [key in keyof Knowledge]: Knowledge[key] } & {
  customNames: string[];
  resets: Reset[];
};

function derive(statement: StatementClass): Knowledge {
  const draft: Draft = { ...nothing, customNames: [], resets: [] };
  for (const effect of statement.effects) apply(draft, effect);
  draft.toldTouches = draft.touches;
  // The server may know it as something else than the parser does not know it as.
  if (statement.opaque !== false) {
    draft.touches |= touchesAll;
    draft.releases |= Touch.origin | Touch.slots;
    draft.opaque = true;
    draft.calledNames = statement.functions.map(({ name }) => name);
    draft.dropsPrepared = true;
    draft.usesSequence = true;
    draft.settingNames = undefined;
  }
  if ((draft.touches & Touch.settings) === 0) draft.settingNames = undefined;
  // ALTER TABLE fills a column with its default, which may be a sequence's; REFRESH runs a query.
  if (statement.statements.some(({ tag }) => fillingTags.has(tag))) draft.usesSequence = true;
  // An UPDATE of it calls set_config() by a rule.
  if (statement.kind === "write" && statement.relations.some(({ name }) => name === "pg_settings")) {
    draft.touches |= Touch.settings;
    draft.settingNames = undefined;
  }
  if (statement.multiStatement) {
    draft.ends = 0;
    draft.begins = statement.statements.some(({ transaction }) => transaction?.kind === "begin");
  }
  const { statements, opaque } = statement;
  const controls = statements.some(({ transaction }) => transaction !== undefined);
  draft.resetsAll =
    !controls && opaque === false && statement.effects.some(({ kind }) => kind === "reset_all");
  draft.definesOnly = statements.length > 0 && statements.every(({ tag }) => tag === "CreateFunctionStmt");
  draft.altersDefaults = statement.statements.some(({ tag }) => defaultsTags.has(tag));
  if (statement.changesCatalog) draft.changesCatalog = changesOwnCatalog(statement) ? "own" : "all";
  draft.transaction = statement.transaction;
  draft.listsPrepared =
    statement.relations.some(({ name }) => name === "pg_prepared_statements") ||
    statement.functions.some(({ name }) => name === "pg_prepared_statement");
  draft.showsLsn = showsLsn(statement);
  draft.asksPids = asksPids(statement);
  draft.signals = signals(statement);
  draft.special = isSpecial(draft);
  draft.plain = !draft.special && draft.transaction === undefined;
  if (draft.plain && statement.shareable === true && !isExclusive(statement)) draft.pace = new Pace();
  draft.routeHint = hintOf(statement.hints);
  draft.reads = needOf(statement, ownTransaction, draft.routeHint) === "read";
  draft.stays = staysOnStandby(statement) && staysInTransaction(draft);
  draft.leaves = leavesSomething(statement);
  draft.opens = draft.stays && draft.resets.length === 0 && opensOnStandby(statement);
  draft.writes = mayWrite(statement);
  draft.marks = marksOf(draft) | (mayEnd(statement) ? Mark.mayEnd : 0);
  return draft;
}

function marksOf({ pace, reads, stays, opens, leaves, writes, transaction, routeHint }: Draft): number {
  let marks = 0;
  if (pace === undefined) marks |= Mark.exclusive;
  if (!reads) marks |= Mark.keepsFromStandby;
  if (!stays) marks |= Mark.leavesStandby;
  if (!opens) marks |= Mark.opensNothing;
  if (leaves) marks |= Mark.leaves;
  if (writes || transaction !== undefined || routeHint !== undefined) marks |= Mark.says;
  return marks;
}

/** One statement does not, unless it is about transactions: code in it may not, within a transaction (spi.c, 2D000). */
function mayEnd({ statements, multiStatement, transaction, kind }: StatementClass): boolean {
  return multiStatement || transaction !== undefined || kind === "unknown" || statements.length !== 1;
}

const ownTransaction: TransactionStart = { modes: undefined, readOnly: false, isolation: "read committed" };

/** It makes something temporary, and nothing else. */
function changesOwnCatalog({ statements, effects }: StatementClass): boolean {
  const makes = effects.some((effect) => effect.kind === "temp_object" && effect.action === "create");
  return makes && statements.length === 1;
}

function showsLsn({ statements }: StatementClass): Knowledge["showsLsn"] {
  if (!statements.some(({ shows }) => shows?.toLowerCase() === "pgsluice.lsn")) return undefined;
  return statements.length === 1 ? "alone" : "among_others";
}

/** Reasons to need the primary that are no reason to think that anything was written. */
const writelessRoutes: ReadonlySet<StatementClass["route"]> = new Set([
  "any",
  "session_state",
  "node_local",
  "locks",
  "utility",
]);

function mayWrite({ kind, opaque, route, transaction }: StatementClass): boolean {
  if (opaque !== false || kind === "write" || kind === "ddl" || kind === "unknown") return true;
  // Others see from then on what was prepared before.
  if (kind === "transaction") return transaction?.kind === "commit_prepared";
  return !writelessRoutes.has(route);
}

/** Nothing that is looked for after the transaction, and nothing that is of one server. */
function staysInTransaction(draft: Draft): boolean {
  if (draft.touches !== 0 || draft.reserves !== 0 || draft.hidesNames || draft.changesCatalog !== undefined)
    return false;
  if (draft.usesSequence || draft.asksSequence || draft.asksPids || draft.signals) return false;
  return draft.showsLsn === undefined && !draft.namesPrepared && !draft.listsPrepared;
}

/** A comment asks for a server that nobody shares. */
function isExclusive({ hints }: StatementClass): boolean {
  return hints.some(({ name }) => name === "exclusive");
}

function isSpecial(draft: Draft): boolean {
  return (
    draft.touches !== 0 ||
    draft.releases !== 0 ||
    draft.reserves !== 0 ||
    draft.ends !== 0 ||
    draft.customNames.length > 0 ||
    draft.resets.length > 0 ||
    draft.usesSequence ||
    draft.asksSequence ||
    draft.altersDefaults ||
    draft.namesPrepared ||
    draft.listsPrepared ||
    draft.copies ||
    draft.begins ||
    draft.asksPids ||
    draft.signals ||
    draft.changesCatalog !== undefined ||
    draft.showsLsn !== undefined
  );
}

function apply(draft: Draft, effect: SessionEffect): void {
  const simple = simpleEffects[effect.kind];
  if (simple !== undefined) {
    simple(draft);
    return;
  }
  switch (effect.kind) {
    case "set_parameter":
    case "set_config":
    case "reset":
    case "set_role":
    case "set_session_authorization":
      applySetting(draft, effect);
      break;
    case "discard":
      applyDiscard(draft, effect.target);
      break;
    case "set_session_characteristics": {
      const { readOnly, ...others } = effect.modes;
      const alone = readOnly !== undefined && Object.keys(others).length === 0;
      touchSetting(draft, alone ? "default_transaction_read_only" : undefined);
      break;
    }
    case "declare_cursor":
      if (effect.withHold) draft.touches |= Touch.cursors;
      break;
    case "temp_object":
      if (effect.action === "create") draft.touches |= Touch.temporary;
      else draft.releases |= Touch.temporary;
      break;
    case "advisory_lock":
      if (effect.scope === "transaction") break;
      if (effect.action === "lock") draft.touches |= Touch.locks;
      else draft.releases |= Touch.locks;
      break;
    case "copy":
      if (effect.with !== "client") break;
      draft.copies = true;
      draft.copiesIn ||= effect.direction === "from";
      break;
    case "replication_origin":
      if (effect.action === "setup") draft.reserves |= Reservation.replication_origin;
      else if (effect.action === "reset") draft.releases |= Touch.origin;
      break;
    case "replication_slot":
      if (effect.action === "create") draft.touches |= Touch.slots;
      else draft.releases |= Touch.slots;
      break;
    case "backup":
      if (effect.action === "start") draft.reserves |= Reservation.backup;
      else if (effect.certain) draft.ends |= Reservation.backup;
      break;
    case "sequence":
      if (effect.operation === "nextval" || effect.operation === "setval") draft.usesSequence = true;
      else draft.asksSequence = true;
      break;
    // What ends with the transaction, and what `opaque` says.
    default:
  }
}

/** Effects that mean the same whatever is in them. */
const simpleEffects: { readonly [kind in SessionEffect["kind"]]?: (draft: Draft) => void } = {
  reset_all: (draft) => {
    draft.resets.push({ name: undefined, local: false });
    touchSetting(draft, undefined);
  },
  prepare: touchPrepared,
  deallocate: (draft) => {
    touchPrepared(draft);
    draft.dropsPrepared = true;
  },
  execute: (draft) => {
    draft.namesPrepared = true;
  },
  listen: (draft) => {
    draft.touches |= Touch.channels;
  },
  unlisten: (draft) => {
    draft.releases |= Touch.channels;
  },
  close_cursor: (draft) => {
    draft.releases |= Touch.cursors;
  },
  drop_object: (draft) => {
    draft.releases |= Touch.temporary;
  },
  set_seed: (draft) => {
    draft.reserves |= Reservation.seed;
  },
  load: (draft) => {
    draft.reserves |= Reservation.load;
  },
};

function touchPrepared(draft: Draft): void {
  draft.touches |= Touch.prepared;
  draft.namesPrepared = true;
}

type SettingKind = "set_parameter" | "set_config" | "reset" | "set_role" | "set_session_authorization";

function applySetting(draft: Draft, effect: Extract<SessionEffect, { kind: SettingKind }>): void {
  const named = effect.kind === "set_parameter" || effect.kind === "set_config" || effect.kind === "reset";
  const name = named ? effect.name : undefined;
  if (name === null) return;
  if (name?.includes(".") === true) draft.customNames.push(name);
  if (effect.kind === "reset" || (effect.kind === "set_config" && effect.value === null)) {
    draft.resets.push({ name, local: effect.scope === "local" });
  }
  if (effect.scope === "session") touchSetting(draft, name);
}

function applyDiscard(draft: Draft, target: "all" | "plans" | "sequences" | "temp"): void {
  if (target === "temp") draft.releases |= Touch.temporary;
  if (target !== "all") return;
  touchSetting(draft, undefined);
  draft.touches = touchesAll;
  draft.dropsPrepared = true;
  draft.discardsAll = true;
  draft.resets.push({ name: undefined, local: false });
}

/** Without a name: any of them. */
function touchSetting(draft: Draft, name: string | undefined): void {
  const first = (draft.touches & Touch.settings) === 0;
  draft.touches |= Touch.settings;
  if (name === undefined) draft.settingNames = undefined;
  else if (first) draft.settingNames = [name];
  else if (draft.settingNames !== undefined) draft.settingNames = [...draft.settingNames, name];
}
