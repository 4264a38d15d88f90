/**
 * What a client's session needs once it has sent a statement that is more than plain. It is made then: most of ten thousand
 * idle clients have none of it.
 */
import type { ClientStatements } from "../statements.ts";
import type { AutoClient } from "./client.ts";
import type { AutoDatabase } from "./database.ts";
import { Executions } from "./executions.ts";
import { Holdings } from "./holdings.ts";
import type { Home } from "./homes.ts";
import type { ClientListening } from "./listening/client-listening.ts";
import { SequenceUse } from "./sequences.ts";
import { Signals } from "./signals.ts";

export interface SpecialParts {
  readonly holdings: Holdings;
  readonly sequences: SequenceUse;
  readonly signals: Signals;
  readonly executions: Executions;
}

export function specialParts(
  client: AutoClient,
  database: AutoDatabase,
  statements: ClientStatements,
  { listening, home }: { readonly listening: ClientListening; readonly home: Home },
): SpecialParts {
  const holdings = new Holdings(client, database, statements, listening);
  return {
    holdings,
    sequences: new SequenceUse(client.id, database),
    signals: new Signals(home, database.pool, database.pids, statements),
    executions: new Executions(holdings, database.passed),
  };
}
