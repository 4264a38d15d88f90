/**
 * SHOW RESERVATIONS: for what clients in auto mode keep their server, one row for each reason, with the statement that has begun it, without
 * its literals. A replication connection has a server of its own from its first command on.
 */
import type { HeldFor } from "../../session/auto/causes.ts";
import type { Session } from "../../session/session.ts";
import { type Command, showCommand } from "../command.ts";
import type { AdminContext } from "../context.ts";
import { columnsOf, type Row } from "../result.ts";

const columns = columnsOf(
  ["int8", "client"],
  ["text", "database", "user", "reservation"],
  ["int8", "seconds"],
  ["text", "statement"],
);

export const showReservations: Command<undefined> = showCommand("RESERVATIONS", columns, (context) => {
  const nowMs = context.clock.now();
  const replicating = replicationPools(context);
  const rows: Row[] = [];
  for (const session of context.sessions()) {
    const { identity, heldFor, pool } = session;
    const { id, database, user } = identity;
    const replicates = replicating.has(pool) && session.server !== undefined;
    const held = replicates ? [replication(session)] : heldFor;
    for (const { reservation, sinceMs, statement } of held) {
      const seconds = Math.max(0, Math.floor((nowMs - sinceMs) / 1000));
      rows.push([id, database, user, reservation, seconds, statement]);
    }
  }
  return rows;
});

function replicationPools(context: AdminContext): ReadonlySet<unknown> {
  return new Set(context.pools().flatMap(({ pool, replication: kind }) => (kind === "none" ? [] : [pool])));
}

function replication({ identity }: Session): Omit<HeldFor, "reservation"> & { reservation: "replication" } {
  return { reservation: "replication", sinceMs: identity.connectedAtMs, statement: "" };
}
