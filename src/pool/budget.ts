/**
 * How many servers several pools may open together: one budget for each limit that they share.
 *
 * The first one is `pool_size`: clients with different startup options have pools of their own, because their
 * servers differ; but ten applications with ten sets of options must not open ten times `pool_size` connections.
 * Such pools are a *group*. Others are wider: `max_db_connections`, `max_user_connections`, `max_server_connections`.
 *
 * A pool that may not open a server takes the place of an idle one of another member, the longest unused first. If
 * none is idle, places change hands when a server is given back: within a group to whoever has waited longest;
 * between groups from one that has more servers to one that has fewer, so that a long queue takes nothing from a
 * short one. Since that costs a disconnect and a login, it happens only if the server was left alone for a moment,
 * or the client has waited for one: else two busy pools would do little else than take places from each other.
 */
import { assert } from "../base/assert.ts";

/** That moment. */
export const handoverMs = 100;

/** A pool, as the others see it. */
export interface BudgetMember {
  /** The budget of its `pool_size`. */
  readonly group: ServerBudget;
  /** Servers that it will hand out soon: being opened, reset or checked. */
  readonly coming: number;
  /** Since when its first client waits for want of a place; undefined if none does. */
  readonly waitingSinceMs: number | undefined;
  /** When its longest unused idle server was used; undefined if none is idle. */
  readonly idleSinceMs: number | undefined;
  /** Whether it could open a server in the place of one of `other`. */
  mayReplace(other: BudgetMember): boolean;
  closeOldestIdle(reason: string): void;
  /** A place may have come free. */
  openServers(): void;
}

export class ServerBudget {
  /** The setting that it stands for. */
  readonly name: string;
  /** 0: no limit. */
  max: number;
  /** So many more may be opened for a client that has waited for `reserveAfterMs`; 0: none. */
  reserve = 0;
  reserveAfterMs = 0;
  readonly #members = new Set<BudgetMember>();
  /** Members that lately found no place. */
  readonly #hungry = new Set<BudgetMember>();
  #size = 0;

  constructor(name: string, max: number) {
    this.name = name;
    this.max = max;
  }

  get memberCount(): number {
    return this.#members.size;
  }

  /** Servers open or being opened. */
  get size(): number {
    return this.#size;
  }

  /** Members that wait for a place; others may be among them that do not any more. */
  get hungry(): Iterable<BudgetMember> {
    return this.#hungry;
  }

  has(member: BudgetMember): boolean {
    return this.#members.has(member);
  }

  join(member: BudgetMember): void {
    this.#members.add(member);
  }

  leave(member: BudgetMember): void {
    const known = this.#members.delete(member);
    assert(known, "a pool leaves its budget once");
    this.#hungry.delete(member);
  }

  take(): void {
    this.#size++;
  }

  give(): void {
    assert(this.#size > 0, "what is given back was taken");
    this.#size--;
  }

  get full(): boolean {
    return this.max > 0 && this.#size >= this.max;
  }

  /** More servers are open than there may be, because there may be fewer now than before. */
  get exceeded(): boolean {
    return this.max > 0 && this.#size > this.max + this.reserve;
  }

  /** Whether `member` may open another server, perhaps from the reserve: one at a time. */
  hasRoomFor(member: BudgetMember, nowMs: number): boolean {
    if (!this.full) return true;
    if (this.reserve === 0 || this.reserveAfterMs === 0 || this.#size >= this.max + this.reserve)
      return false;
    const sinceMs = member.waitingSinceMs;
    return sinceMs !== undefined && member.coming === 0 && nowMs - sinceMs >= this.reserveAfterMs;
  }

  /** `member` has found no place. */
  noteHunger(member: BudgetMember): void {
    this.#hungry.add(member);
  }

  /** The other member whose idle server may make room for `asking`; undefined: there is none. */
  evictable(asking: BudgetMember, nowMs: number): BudgetMember | undefined {
    const urgent = nowMs - (asking.waitingSinceMs ?? nowMs) >= handoverMs;
    let oldest: BudgetMember | undefined;
    for (const member of this.#members) {
      if (member === asking || member.idleSinceMs === undefined) continue;
      if (oldest?.idleSinceMs === undefined || member.idleSinceMs < oldest.idleSinceMs) oldest = member;
    }
    return urgent || nowMs - (oldest?.idleSinceMs ?? nowMs) >= handoverMs ? oldest : undefined;
  }

  /**
   * Whether a server that `asking` could hand on should make room for another member. `sinceMs`: how long its own
   * first client has waited; infinite: nobody waits.
   */
  othersStarve(asking: BudgetMember, sinceMs: number, nowMs: number): boolean {
    if (this.#members.size < 2 || !this.full) return false;
    for (const member of this.#hungry) {
      const waitsSinceMs = member.waitingSinceMs;
      if (waitsSinceMs === undefined) this.#hungry.delete(member);
      // One place at a time: what is coming may be enough.
      else if (member === asking || member.coming > 0 || nowMs - waitsSinceMs < handoverMs) continue;
      else if (deserves(member, asking, waitsSinceMs < sinceMs, sinceMs) && member.mayReplace(asking))
        return true;
    }
    return false;
  }
}

/** `longer`: its client has waited longer than the first of `owner`, who waits since `ownerSinceMs`. */
function deserves(member: BudgetMember, owner: BudgetMember, longer: boolean, ownerSinceMs: number): boolean {
  if (member.group === owner.group) return longer;
  // After the change it has no more servers than the one that gave it up; where that is the same, time decides.
  const lead = owner.group.size - member.group.size;
  return ownerSinceMs === Number.POSITIVE_INFINITY || lead > 1 || (lead === 1 && longer);
}
