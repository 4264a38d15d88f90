/** What follows from the prepared statements that the ledger has found on a client's server, and from those that it has not. */
import type { ForeignNames } from "../pool/server.ts";
import type { FoundStatements } from "./auto/ledger.ts";
import type { ClientNames } from "./client-names.ts";
import type { RawNames } from "./raw-names.ts";
import { SqlStatements } from "./sql-statements.ts";

/** What was known when the ledger was asked. */
export interface AskedStatements {
  readonly rawChanges: number;
  readonly foreignNames: ForeignNames | undefined;
}

/** What the client has: by the protocol, in SQL, and on its server under its own names. */
interface Notes {
  readonly names: ClientNames;
  readonly sql: SqlStatements | undefined;
  readonly rawNames: RawNames | undefined;
}

/** Takes over what was found. Returns what is prepared in SQL now; `whole`: nothing was on its way, and what SQL has dropped is forgotten. */
export function takeFound(
  { names, sql: before, rawNames }: Notes,
  found: FoundStatements,
  { rawChanges, foreignNames: had }: AskedStatements,
  preparesOne: (text: string) => boolean,
): { readonly sql: SqlStatements | undefined; readonly whole: boolean } {
  let sql = before;
  const raw = rawNames?.active === true;
  const unchanged = rawChanges === (rawNames?.changes ?? 0);
  const whole = raw && unchanged && !names.changing;
  const there = raw || !unchanged ? undefined : had;
  // The server had all that the client has now: what is missing, unseen code has dropped.
  const left = there !== undefined && !names.changing && rawNames?.left(there) === true;
  if (left || there === rawNames?.found) sql?.forgetUnless(found, there?.names ?? []);
  rawNames?.change();
  if (whole || left) {
    const isGone = (name: string): boolean => !found.has(name) && !rawNames.mayLack(name);
    for (const name of names.known.keys()) if (isGone(name)) names.set(name, undefined);
    if (whole) sql?.forget((name) => found.has(name) || isGone(name));
    if (sql?.size === 0) sql = undefined;
  }
  for (const text of found.values()) if (text !== undefined) sql ??= new SqlStatements();
  sql?.addFound(found, preparesOne);
  return { sql, whole };
}
