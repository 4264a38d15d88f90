/**
 * SHOW RESERVATION_STATS: for each pool in auto mode and each reason, how many clients keep their server for it now, and how often any did.
 * Of transactions, COPY and open batches it is seen now who has one; they are counted only as they begin.
 */
import type { Pool } from "../../pool/pool.ts";
import { type PassingName, passingNames } from "../../session/auto/passing.ts";
import { type Command, showCommand } from "../command.ts";
import type { AdminContext } from "../context.ts";
import { columnsOf, type Row } from "../result.ts";

const columns = columnsOf(["text", "database", "user", "reservation"], ["int8", "now", "total"]);

export const showReservationStats: Command<undefined> = showCommand(
  "RESERVATION_STATS",
  columns,
  (context) => {
    const now = passingNow(context);
    return context.pools().flatMap(({ pool, database, user }): Row[] => {
      const counts = context.reservationsOf(pool);
      if (counts === undefined) return [];
      const row = (name: string, count: number, total: number): Row => [database, user, name, count, total];
      const passing = now.get(pool);
      return [
        ...passingNames.map((name) => row(name, passing?.[name] ?? 0, counts.passed[name])),
        ...[...counts.lasting].map(([name, { now: count, total }]) => row(name, count, total)),
      ];
    });
  },
);

function passingNow(context: AdminContext): ReadonlyMap<Pool, Record<PassingName, number>> {
  const counts = new Map<Pool, Record<PassingName, number>>();
  for (const { pool, heldFor } of context.sessions()) {
    for (const { reservation } of heldFor) {
      const passing = passingNames.find((name) => name === reservation);
      if (passing === undefined) continue;
      const count = counts.get(pool) ?? { transaction: 0, copy: 0, portal: 0 };
      count[passing]++;
      counts.set(pool, count);
    }
  }
  return counts;
}
