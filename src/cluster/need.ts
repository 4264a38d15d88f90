/**
 * What a unit needs of its node, from the classes of its statements. A read may go anywhere; what writes, what may
 * write, and what nobody understood goes to the primary.
 *
 * A transaction is one unit here, decided by how it begins: a read-only one may go to a standby as a whole, any other
 * may yet write, and cannot change its node then.
 */
import type {
  Hint,
  IsolationLevel,
  PrimaryReason,
  StatementClass,
  TransactionModes,
} from "../sql/statement-class.ts";

/** Why a unit needs the primary, for counters and for those who ask; `read` if it does not. */
export type Need = "read" | PrimaryReason | "read_write_transaction" | "serializable" | "hint";

export type RouteHint =
  | { readonly kind: "primary" }
  | { readonly kind: "standby" }
  | { readonly kind: "node"; readonly name: string };

/** The transaction that a unit begins or would run in. */
export interface TransactionStart {
  /** Of BEGIN or START TRANSACTION; undefined for a unit that is its own transaction. */
  readonly modes: TransactionModes | undefined;
  /** default_transaction_read_only and default_transaction_isolation of the session. */
  readonly readOnly: boolean;
  readonly isolation: IsolationLevel;
}

export function needOf(
  statement: StatementClass,
  start: TransactionStart,
  hint: RouteHint | undefined,
): Need {
  const { modes } = start;
  if (hint?.kind === "primary") return "hint";
  // A standby refuses serializable transactions, even read-only ones (manual, "Hot Standby").
  if ((modes?.isolation ?? start.isolation) === "serializable") return "serializable";
  if (modes !== undefined && !(modes.readOnly ?? start.readOnly)) return "read_write_transaction";
  if (statement.route !== "any") {
    // Whoever names a standby vouches for the functions that it calls; for a write nobody can.
    return hint?.kind === "standby" && isReadByForm(statement) ? "read" : statement.route;
  }
  if (statement.kind !== "read") return statement.kind === "unknown" ? "unknown" : "writes";
  if (statement.locking) return "locks";
  return "read";
}

/** All its statements are reads, apart from what the functions they call may do. */
function isReadByForm({ statements, locking, effects, route }: StatementClass): boolean {
  const vouched = route === "user_function" || route === "volatile_function" || route === "unknown";
  return vouched && !locking && effects.length === 0 && statements.length > 0 && statements.every(isRead);
}

function isRead({ kind }: { readonly kind: string }): boolean {
  return kind === "read";
}

/** What a comment or SET pgsluice.route says: `primary`, `standby`, `node=x`; undefined if it is none of these. */
export function routeHint(name: string, value: string | undefined): RouteHint | undefined {
  if (name === "node") return value === undefined || value === "" ? undefined : { kind: "node", name: value };
  if (value !== undefined) return undefined;
  if (name === "primary" || name === "standby") return { kind: name };
  return undefined;
}

/** The first that is about routes. */
export function hintOf(hints: readonly Hint[]): RouteHint | undefined {
  for (const { name, value } of hints) {
    const hint = routeHint(name, value);
    if (hint !== undefined) return hint;
  }
  return undefined;
}
