/** The loop of whoever polls, as PostgreSQL's manual describes it, for tests of libpq's calls. */
import * as libpq from "../../src/client/libpq/index.ts";

/** Neither environment nor files of the account that runs the tests. */
export const alone: libpq.Surroundings = { sources: { environment: {}, files: false } };

/** A connection without TLS to a port of this machine. */
export function start(port: number, more = "", surroundings: libpq.Surroundings = {}): libpq.Conn {
  return libpq.connectStart(conninfoFor(port, more), { ...alone, ...surroundings });
}

export function conninfoFor(port: number, more = ""): string {
  return `host=127.0.0.1 port=${port} user=ada sslmode=disable ${more}`;
}

/** What has been seen on the way. */
export interface Trail {
  /** What the last poll has said. */
  readonly end: libpq.PollingStatus;
  /** Status after the start and after each poll. */
  readonly statuses: libpq.ConnectionStatus[];
  readonly polls: libpq.PollingStatus[];
}

/** Polls to the end. Gives up, with the last poll's answer as `end`, when `ready` has waited until `endTimeMs`. */
export async function follow(conn: libpq.Conn, endTimeMs?: number): Promise<Trail> {
  return await loop(
    () => libpq.connectPoll(conn),
    () => libpq.status(conn),
    () => libpq.ready(conn, { endTimeMs }),
  );
}

export async function followCancel(cancel: libpq.CancelConn, endTimeMs?: number): Promise<Trail> {
  return await loop(
    () => libpq.cancelPoll(cancel),
    () => libpq.cancelStatus(cancel),
    () => libpq.ready(cancel, { endTimeMs }),
  );
}

async function loop(
  poll: () => libpq.PollingStatus,
  status: () => libpq.ConnectionStatus,
  ready: () => Promise<boolean>,
): Promise<Trail> {
  const statuses = [status()];
  const polls: libpq.PollingStatus[] = [];
  // As if the last poll had asked to write.
  let end: libpq.PollingStatus = statuses[0] === "BAD" ? "failed" : "writing";
  while ((end === "reading" || end === "writing") && (await ready())) {
    end = poll();
    polls.push(end);
    statuses.push(status());
  }
  return { end, statuses, polls };
}
