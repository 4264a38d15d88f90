/**
 * Read your writes: how far a node must have replayed before it may answer a client's read.
 *
 * After a client's write the primary's position is noted (asked for behind the write, so at or past its commit). From
 * then on that client reads from standbys that were seen to have replayed as much, else from the primary. Positions only rise.
 *
 * - `session`: a client sees what it has written itself, the default.
 * - `global`: every client sees what any client of this pooler has written before.
 * - `none`: only what a client asks for with a causal token (SET pgsluice.min_lsn).
 *
 * A position is of one timeline, but is kept over a promotion: what was lost with the old primary nobody can show, and a
 * new primary that has not come as far sends the reads to itself, which is right.
 */
export type ReadYourWrites = "none" | "session" | "global";

/** Of all clients; one per cluster. */
export class GlobalFloor {
  lsn: bigint | undefined;

  raise(lsn: bigint): void {
    if (this.lsn === undefined || lsn > this.lsn) this.lsn = lsn;
  }
}

/** Of one client. */
export class SessionFloor {
  #written: bigint | undefined;
  /** What the client asked for by itself; stays until it is unset. */
  token: bigint | undefined;
  /**
   * A write was sent whose position is not known, be it that it is under way or that asking failed: until it is known
   * this client reads from the primary alone.
   */
  unknown = false;

  /** The position after the client's last write, as its causal token. */
  get written(): bigint | undefined {
    return this.#written;
  }

  /** A write of the client was done, and the primary was at `lsn` after it. */
  raise(lsn: bigint): void {
    if (this.#written === undefined || lsn > this.#written) this.#written = lsn;
    this.unknown = false;
  }

  /** What reads need; undefined for nothing, `primary` if no position is enough. */
  required(level: ReadYourWrites, global: GlobalFloor): bigint | "primary" | undefined {
    let { token: floor } = this;
    if (level === "none") return floor;
    if (this.unknown) return "primary";
    if (this.#written !== undefined && (floor === undefined || this.#written > floor)) floor = this.#written;
    if (level === "global" && global.lsn !== undefined && (floor === undefined || global.lsn > floor)) {
      floor = global.lsn;
    }
    return floor;
  }
}
