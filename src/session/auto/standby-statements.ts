/**
 * Which statements may run in a read-only transaction that is open on a standby: what means the same there as on the
 * primary, and what the standby refuses in the same words. Behind the first read, which has a snapshot, PostgreSQL refuses
 * SET TRANSACTION READ WRITE and a change of the isolation on any node (variable.c check_transaction_read_only,
 * check_transaction_isolation), so these may be sent as well; before it they take the transaction to the primary.
 */
import type { SessionEffect, Statement, StatementClass } from "../../sql/statement-class.ts";

/** What they say is of the session, and the session is the client's: its settings, its cursors. */
const ownTags: ReadonlySet<string> = new Set(["VariableShowStmt", "FetchStmt", "ClosePortalStmt"]);

/** Functions that tell of the node, but not if it is a standby (xlogfuncs.c). */
const refusedByStandbys = /^(?:pg_current_wal_|pg_logical_slot_|pg_current_xact_id$|txid_current$)/;

export function staysOnStandby(statement: StatementClass): boolean {
  const { statements, effects, opaque, route, locking, functions, hints } = statement;
  if (opaque !== false || locking || hints.some(({ name }) => name === "primary")) return false;
  if (functions.some(({ name }) => refusedByStandbys.test(name)) || !effects.every(endsWithTransaction))
    return false;
  const own = route === "session_state" && statements.every(({ tag }) => ownTags.has(tag));
  if (route !== "any" && route !== "node_local" && !own) return false;
  // Of several one may end the transaction, and the others go on outside of it.
  if (statements.length > 1) return statements.every(({ kind }) => kind === "read");
  return statements.every((one) => controls(one) ?? staysKind(one));
}

/**
 * May come before the first read of a transaction on a standby: it reads no data, so that all of it can be done again on the primary.
 * PostgreSQL still takes SET TRANSACTION READ WRITE behind it, which a standby refuses.
 */
export function opensOnStandby({ statements, effects, relations, functions }: StatementClass): boolean {
  const [one] = statements;
  if (one === undefined || statements.length > 1) return false;
  if (one.transaction !== undefined) return savepointKinds.has(one.transaction.kind);
  if (one.tag === "VariableShowStmt") return true;
  if (relations.length > 0 || functions.some(({ name }) => name !== "set_config")) return false;
  return effects.length > 0 && effects.every(setsLocally);
}

const savepointKinds: ReadonlySet<string> = new Set(["savepoint", "release", "rollback_to"]);

/** The same value wherever it is done, and nothing that says where the transaction runs or what it may do. */
function setsLocally(effect: SessionEffect): boolean {
  switch (effect.kind) {
    case "set_parameter":
      return effect.scope === "local" && effect.values !== null && !decidesNode(effect.name);
    case "set_config":
      return (
        effect.scope === "local" && effect.name !== null && effect.value !== null && !decidesNode(effect.name)
      );
    case "set_role":
    case "set_session_authorization":
      return effect.scope === "local";
    default:
      return false;
  }
}

function decidesNode(setting: string): boolean {
  return /^(?:transaction_|pgsluice\.)/i.test(setting);
}

/** Something of it is there until the transaction ends. */
export function leavesSomething({ statements, effects }: StatementClass): boolean {
  return (
    effects.some(({ kind }) => kind !== "copy") ||
    statements.some(({ transaction }) => transaction?.kind === "savepoint")
  );
}

function staysKind({ kind, effects }: Statement): boolean {
  return kind === "read" || kind === "empty" || (kind === "utility" && effects.length > 0);
}

/** Undefined: it is no control of transactions. */
function controls({ transaction }: Statement): boolean | undefined {
  switch (transaction?.kind) {
    case undefined:
      return undefined;
    case "commit":
    case "rollback":
    case "savepoint":
    case "release":
    case "rollback_to":
      return true;
    default:
      return false;
  }
}

function endsWithTransaction(effect: SessionEffect): boolean {
  switch (effect.kind) {
    case "set_parameter":
    case "reset":
    case "set_config":
    case "set_role":
    case "set_session_authorization":
      return effect.scope === "local";
    case "set_transaction":
    case "fetch":
    case "close_cursor":
      return true;
    case "declare_cursor":
      return !effect.withHold;
    case "copy":
      return effect.direction === "to" && effect.with === "client";
    default:
      return false;
  }
}
