/**
 * SHOW RESERVATIONS: clients in auto mode that keep their server beyond a transaction, one row for each, with what they keep it for and
 * the statement that has begun it, without its literals.
 */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(
  ["int8", "client"],
  ["text", "database", "user", "reservations"],
  ["int8", "seconds"],
  ["text", "statement"],
);

export const showReservations: Command<undefined> = showCommand("RESERVATIONS", columns, (context) => {
  const nowMs = context.clock.now();
  const rows = [];
  for (const { heldFor, identity } of context.sessions()) {
    const [first] = heldFor;
    if (first === undefined) continue;
    const names = heldFor.map(({ reservation }) => reservation).join(", ");
    const seconds = Math.floor((nowMs - first.sinceMs) / 1000);
    rows.push([identity.id, identity.database, identity.user, names, seconds, first.statement]);
  }
  return rows;
});
