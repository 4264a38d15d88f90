/**
 * Read your writes: how far a node must have replayed before it may answer a client's read.
 *
 * A write costs nothing for this. Its time is noted, and the client reads from the primary until a probe that was begun
 * after it has told where the primary is: that position is at or past the write, and from then on standbys that
 * were seen to have replayed as much will do. Positions only rise.
 *
 * - `session`: a client sees what it has written itself, the default.
 * - `global`: every client sees what any client of this pooler has written before; where somebody always writes that is
 *   the primary most of the time.
 * - `none`: only what a client asks for with a causal token, a position that it got from elsewhere.
 *
 * A position is of one timeline, but is kept over a promotion: what was lost with the old primary nobody can show, and a
 * new primary that has not come as far sends the reads to itself, which is right.
 */
import type { TopologySnapshot } from "./topology.ts";

export type ReadYourWrites = "none" | "session" | "global";

/** What somebody has written: one client, or all of them. */
export class WriteFloor {
  #lsn: bigint | undefined;
  /** When the last write was answered whose position is not known yet. */
  #writtenAt: number | undefined;

  wrote(now: number): void {
    this.#writtenAt = now;
  }

  /** Everything up to there is known to have been written. */
  raise(lsn: bigint): void {
    if (this.#lsn === undefined || lsn > this.#lsn) this.#lsn = lsn;
  }

  /** As {@link at}, as far as it was found out; undefined: it was not, 0: there was no write. */
  get known(): bigint | undefined {
    return this.#writtenAt === undefined ? (this.#lsn ?? 0n) : undefined;
  }

  /** The position that is at or past the last write; `primary` while it is not known; undefined without any. */
  at({ position }: TopologySnapshot): bigint | "primary" | undefined {
    if (this.#writtenAt === undefined) return this.#lsn;
    if (position === undefined || position.askedAt <= this.#writtenAt) return "primary";
    this.#writtenAt = undefined;
    this.raise(position.lsn);
    return this.#lsn;
  }
}

/** What one client's reads need. `own` is the client's, `all` that of everybody; `token` what it asked for. */
export function requiredFloor(
  level: ReadYourWrites,
  own: WriteFloor,
  all: WriteFloor,
  token: bigint | undefined,
  snapshot: TopologySnapshot,
): bigint | "primary" | undefined {
  if (level === "none") return token;
  const floor = (level === "global" ? all : own).at(snapshot);
  if (floor === undefined || floor === "primary" || token === undefined) return floor ?? token;
  return token > floor ? token : floor;
}
