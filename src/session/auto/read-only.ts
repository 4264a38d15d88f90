/**
 * Whether a transaction that begins is read-only, and which isolation it has: what its BEGIN says, else what its client
 * has set, else what the client's sessions begin with (xact.c StartTransaction).
 */
import type { ParameterVector } from "../../pool/parameters.ts";
import type { TransactionModes } from "../../sql/statement-class.ts";
import type { LoginDefaults } from "./login-defaults.ts";

interface Beginner {
  readonly parameters: ParameterVector;
  readonly defaults: LoginDefaults;
}

/** A standby can run it as a whole: it says that it only reads, and is not serializable (variable.c check_transaction_isolation). */
export function mayRunOnStandby(modes: TransactionModes, client: Beginner): boolean {
  const { readOnly = valueOf("default_transaction_read_only", client) === "on" } = modes;
  return readOnly && isolationOf(modes, client) !== "serializable";
}

/** Each of its statements sees what is there when it begins. What is not known is taken for the contrary. */
export function seesAnew(modes: TransactionModes, client: Beginner): boolean {
  const isolation = isolationOf(modes, client);
  return isolation === "read committed" || isolation === "read uncommitted";
}

function isolationOf({ isolation }: TransactionModes, client: Beginner): string | undefined {
  return isolation ?? valueOf("default_transaction_isolation", client);
}

function valueOf(name: string, { parameters, defaults }: Beginner): string | undefined {
  return parameters.get(name) ?? defaults.value(name);
}
