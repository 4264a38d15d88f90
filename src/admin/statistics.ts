/** Statistics as PgBouncer's columns have them: names, order, and whole numbers; times in microseconds. */
import type { Statistics } from "../pool/statistics.ts";

/** As SHOW TOTALS calls them, which is as they are called inside PgBouncer. */
export const internalNames: readonly string[] = [
  ...["server_assignment_count", "xact_count", "query_count", "client_bytes", "server_bytes"],
  ...["xact_time", "query_time", "wait_time"],
  ...["ps_client_parse_count", "ps_server_parse_count", "ps_bind_count", "client_login_count"],
];

/** As SHOW STATS calls them behind `total_` and `avg_`. */
export const counterNames: readonly string[] = internalNames.map((name) =>
  name.replace("client_bytes", "received").replace("server_bytes", "sent").replace(/^ps_/, ""),
);

/** As SHOW STATS_TOTALS calls them. */
export const plainNames: readonly string[] = counterNames.map((name) =>
  name.replace(/^(received|sent)$/, "bytes_$1"),
);

/** In the order of the names. */
export function cellsOf(statistics: Statistics): number[] {
  return [
    statistics.serverAssignmentCount,
    statistics.xactCount,
    statistics.queryCount,
    statistics.receivedBytes,
    statistics.sentBytes,
    statistics.xactMs * 1000,
    statistics.queryMs * 1000,
    statistics.waitMs * 1000,
    statistics.clientParseCount,
    statistics.serverParseCount,
    statistics.bindCount,
    statistics.clientLoginCount,
  ].map(Math.floor);
}
