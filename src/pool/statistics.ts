/**
 * What is counted, in PgBouncer's terms and by its rules: plain numbers on one object per database, which pools
 * and sessions add to as they go. Nothing is computed here but the sums; rates are made where they are shown.
 *
 * A *query* is counted when a client that has nothing unanswered sends something, so what is pipelined behind it
 * belongs to it. A *transaction* is counted at its first query. Both end at a ReadyForQuery behind which nothing
 * is owed; the transaction only if that says idle.
 */

export class Statistics {
  /** Servers handed to clients. */
  serverAssignmentCount = 0;
  xactCount = 0;
  queryCount = 0;
  /** Bytes that clients sent and that were handed on, or answered here. */
  receivedBytes = 0;
  /** Bytes that servers sent, to clients or to the pool itself. */
  sentBytes = 0;
  /** Milliseconds, with fractions. */
  xactMs = 0;
  queryMs = 0;
  /** Of clients that had to wait for a server, and got one. */
  waitMs = 0;
  /** Parse messages that name a statement: what clients sent, and what servers were sent. */
  clientParseCount = 0;
  serverParseCount = 0;
  /** Bind messages that name a statement. */
  bindCount = 0;
  clientLoginCount = 0;

  add(other: Statistics): void {
    this.serverAssignmentCount += other.serverAssignmentCount;
    this.xactCount += other.xactCount;
    this.queryCount += other.queryCount;
    this.receivedBytes += other.receivedBytes;
    this.sentBytes += other.sentBytes;
    this.xactMs += other.xactMs;
    this.queryMs += other.queryMs;
    this.waitMs += other.waitMs;
    this.clientParseCount += other.clientParseCount;
    this.serverParseCount += other.serverParseCount;
    this.bindCount += other.bindCount;
    this.clientLoginCount += other.clientLoginCount;
  }

  copy(): Statistics {
    const copy = new Statistics();
    copy.add(this);
    return copy;
  }
}
