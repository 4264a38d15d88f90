/** SHOW RESERVATION_STATS: for each pool in auto mode and each reason, how many clients keep their server for it now, and how often any did. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(["text", "database", "user", "reservation"], ["int8", "now", "total"]);

export const showReservationStats: Command<undefined> = showCommand("RESERVATION_STATS", columns, (context) =>
  context
    .pools()
    .flatMap(({ pool, database, user }) =>
      [...(context.reservationsOf(pool) ?? [])].map(([name, { now, total }]) => [
        database,
        user,
        name,
        now,
        total,
      ]),
    ),
);
