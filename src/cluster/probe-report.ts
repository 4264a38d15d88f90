/**
 * What a probe asks of a node, and what its answer says. The sending is not done here.
 *
 * One statement of one row, for PostgreSQL 13 and newer, that every user may run:
 * - The timeline of a primary is that of the file it writes to, right from the first moment after a promotion; the
 *   control file tells the old one until the first checkpoint. A standby's is the greater one of its receiver's
 *   (NULL for those who may not see it) and of its control file's.
 * - The position of a primary is where the next record will begin, not what is written out, because a commit may be
 *   answered before that (synchronous_commit = off).
 * - CASE keeps PostgreSQL from calling functions that are refused during recovery.
 */
import { parseLsn } from "./lsn.ts";

export interface ProbeReport {
  readonly inRecovery: boolean;
  readonly timeline: number;
  /** Of pg_control_system(): the same for all nodes of a database cluster. */
  readonly systemIdentifier: string;
  /** The end of the log of a primary, what a standby has replayed; undefined if it has replayed nothing. */
  readonly lsn: bigint | undefined;
  /** What a standby has received; undefined for a primary and for one that replays from an archive. */
  readonly receivedLsn: bigint | undefined;
  /** How long ago the last transaction that a standby has replayed was committed, if the clocks agree. */
  readonly replayAgeMs: number | undefined;
  /** Whether a standby's receiver is streaming; undefined for those who may not see it. */
  readonly streaming: boolean | undefined;
}

export const probeQuery = `select pg_catalog.pg_is_in_recovery(),
  case when pg_catalog.pg_is_in_recovery()
    then greatest((select received_tli from pg_catalog.pg_stat_wal_receiver), (select timeline_id from pg_catalog.pg_control_checkpoint()))::text
    else pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) end,
  (select system_identifier from pg_catalog.pg_control_system()),
  case when pg_catalog.pg_is_in_recovery()
    then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_insert_lsn() end,
  case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_receive_lsn() end,
  (extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()) * 1000)::pg_catalog.int8,
  (select status from pg_catalog.pg_stat_wal_receiver)`;

/** The row as PostgreSQL writes it in text; undefined if it is not the answer to {@link probeQuery}. */
export function probeReport(row: readonly (string | null)[]): ProbeReport | undefined {
  const [recovery, timeline, systemIdentifier, lsn, received, replayAge, status] = row;
  if ((recovery !== "t" && recovery !== "f") || typeof systemIdentifier !== "string") return undefined;
  const inRecovery = recovery === "t";
  const number = Number.parseInt(timeline ?? "", inRecovery ? 10 : 16);
  if (!(number > 0)) return undefined;
  return {
    inRecovery,
    timeline: number,
    systemIdentifier,
    lsn: typeof lsn === "string" ? endOfRecord(parseLsn(lsn)) : undefined,
    receivedLsn: typeof received === "string" ? parseLsn(received) : undefined,
    replayAgeMs: typeof replayAge === "string" ? Number(replayAge) : undefined,
    streaming: inRecovery && typeof status === "string" ? status === "streaming" : undefined,
  };
}

/**
 * Behind the header of a page, where the next record of an idle primary begins if the last one ended with the page
 * before: nothing is ever replayed up to there before that record comes (xlog_internal.h: short and long header).
 */
function endOfRecord(lsn: bigint | undefined): bigint | undefined {
  const offset = (lsn ?? 0n) % pageBytes;
  return lsn !== undefined && (offset === 24n || offset === 40n) ? lsn - offset : lsn;
}

const pageBytes = 8192n;

/** How one probe ended. */
export type ProbeResult =
  | { readonly kind: "answer"; readonly report: ProbeReport; readonly latencyMs: number }
  /** Nobody listens there. */
  | { readonly kind: "refused" }
  /** No way to it, or the connection was lost without a word. */
  | { readonly kind: "unreachable"; readonly detail: string }
  /** Nothing was heard before the deadline. */
  | { readonly kind: "timeout" }
  /** PostgreSQL, or something before it, said an error. */
  | { readonly kind: "error"; readonly sqlstate: string; readonly message: string };
