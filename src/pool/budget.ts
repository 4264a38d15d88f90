/**
 * How many servers the pools of one (node, database, user) may open together.
 *
 * Clients with different startup options have pools of their own, because their servers differ; but ten
 * applications with ten sets of options must not open ten times `pool_size` connections. So they share one
 * budget. A pool that may not open a server takes the place of an idle one of its siblings, the longest
 * unused first; and a sibling whose clients have waited longer is served before a pool's own. Since a place
 * changes hands by a disconnect and a login, it does so only if the server was left alone for a moment, or the
 * client has waited for one: else two busy pools would do little else than take places from each other.
 */
import { assert } from "../base/assert.ts";

/** That moment. */
export const handoverMs = 100;

/** A pool, as its siblings see it. */
export interface BudgetMember {
  /** Servers open or being opened. */
  readonly size: number;
  /** Servers that it will hand out soon: being opened, reset or checked. */
  readonly coming: number;
  /** Since when its first client waits; undefined if none waits. */
  readonly waitingSinceMs: number | undefined;
  /** When its longest unused idle server was used; undefined if none is idle. */
  readonly idleSinceMs: number | undefined;
  /** Closes that server. */
  closeOldestIdle(): void;
  /** A place may have come free. */
  openServers(): void;
}

export class ServerBudget {
  /** 0: no limit. */
  max: number;
  readonly #members = new Set<BudgetMember>();

  constructor(max: number) {
    this.max = max;
  }

  get memberCount(): number {
    return this.#members.size;
  }

  join(member: BudgetMember): void {
    this.#members.add(member);
  }

  leave(member: BudgetMember): void {
    const known = this.#members.delete(member);
    assert(known, "a pool leaves its budget once");
  }

  /** How many servers may still be opened. */
  free(): number {
    return this.max === 0 ? Number.POSITIVE_INFINITY : Math.max(0, this.max - this.#size);
  }

  /** More servers are open than there may be, because there may be fewer now than before. */
  get exceeded(): boolean {
    return this.max > 0 && this.#size > this.max;
  }

  get #size(): number {
    let size = 0;
    for (const member of this.#members) size += member.size;
    return size;
  }

  /** Makes room for `asking` by closing an idle server of a sibling. Returns whether there was one. */
  evictFor(asking: BudgetMember, nowMs: number): boolean {
    const urgent = nowMs - (asking.waitingSinceMs ?? nowMs) >= handoverMs;
    let oldest: BudgetMember | undefined;
    for (const member of this.#members) {
      if (member === asking || member.idleSinceMs === undefined) continue;
      if (oldest?.idleSinceMs === undefined || member.idleSinceMs < oldest.idleSinceMs) oldest = member;
    }
    if (oldest === undefined || (!urgent && nowMs - (oldest.idleSinceMs ?? nowMs) < handoverMs)) return false;
    oldest.closeOldestIdle();
    return true;
  }

  /** Whether a sibling can open nothing and its client has waited for long, and longer than since `sinceMs`. */
  siblingStarves(asking: BudgetMember, sinceMs: number, nowMs: number): boolean {
    if (this.#members.size < 2 || this.free() > 0) return false;
    for (const member of this.#members) {
      // One place at a time: what is coming may be enough.
      if (member === asking || member.waitingSinceMs === undefined || member.coming > 0) continue;
      if (member.waitingSinceMs < sinceMs && nowMs - member.waitingSinceMs >= handoverMs) return true;
    }
    return false;
  }

  /** A server was closed: whoever waits longest may open one. */
  onPlaceFree(): void {
    if (this.#members.size < 2) return;
    const waiting = [...this.#members].filter((member) => member.waitingSinceMs !== undefined);
    waiting.sort((a, b) => (a.waitingSinceMs ?? 0) - (b.waitingSinceMs ?? 0));
    for (const member of waiting) member.openServers();
  }
}
