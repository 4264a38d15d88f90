/** The places of one pool for its servers: within all the limits that it shares with others at once. */
import { assert } from "../base/assert.ts";
import type { BudgetMember, ServerBudget } from "./budget.ts";
import type { Permits } from "./permits.ts";

export class Places {
  /** The budget of `pool_size`. */
  readonly group: ServerBudget;
  readonly #budgets: readonly ServerBudget[];
  readonly #member: BudgetMember;
  readonly #permits: Permits | undefined;

  /** `budgets`: that of `pool_size` first. */
  constructor(budgets: readonly ServerBudget[], member: BudgetMember, permits?: Permits) {
    const [group] = budgets;
    assert(group !== undefined, "every pool has a size");
    this.group = group;
    this.#budgets = budgets;
    this.#member = member;
    this.#permits = permits;
    for (const budget of budgets) budget.join(member);
  }

  leave(): void {
    for (const budget of this.#budgets) budget.leave(this.#member);
  }

  /** A server is being opened. */
  take(): void {
    for (const budget of this.#budgets) budget.take();
  }

  /** It is closed, or was not opened. */
  give(): void {
    for (const budget of this.#budgets) budget.give();
  }

  /** Whether a connection beside the pool's servers may be opened: `pool_size` does not count it. */
  hasRoomBeside(nowMs: number): boolean {
    return this.#budgets.every((budget) => budget === this.group || budget.hasRoomFor(this.#member, nowMs));
  }

  takeBeside(): void {
    for (const budget of this.#budgets) if (budget !== this.group) budget.take();
  }

  giveBeside(): void {
    for (const budget of this.#budgets) if (budget !== this.group) budget.give();
  }

  /** Whether a server may be opened; if not, the pool is remembered as one that waits for a place. */
  hasRoom(nowMs: number): boolean {
    let room = true;
    for (const budget of this.#budgets) {
      if (budget.hasRoomFor(this.#member, nowMs)) continue;
      room = false;
      budget.noteHunger(this.#member);
    }
    return room;
  }

  /** A server may be opened that nobody is in need of. */
  get vacant(): boolean {
    return this.#budgets.every((budget) => !budget.full);
  }

  /** Closes idle servers of others, where that makes room under every limit. Returns whether it did. */
  makeRoom(nowMs: number): boolean {
    const full = this.#budgets.filter((budget) => !budget.hasRoomFor(this.#member, nowMs));
    if (full.some((budget) => budget.evictable(this.#member, nowMs) === undefined)) return false;
    for (const budget of full) {
      // One that was closed for another limit may have made room here too.
      if (budget.hasRoomFor(this.#member, nowMs)) continue;
      budget.evictable(this.#member, nowMs)?.closeOldestIdle(`evicted for ${budget.name}`);
    }
    return this.hasRoom(nowMs);
  }

  /** The limit that a reload has put below what is open; undefined: none. */
  get exceeded(): string | undefined {
    for (const budget of this.#budgets) if (budget.exceeded) return budget.name;
    return undefined;
  }

  /** The limit under which another pool starves, so that a server should make room for it; undefined: none. */
  starved(sinceMs: number, nowMs: number): string | undefined {
    for (const budget of this.#budgets) {
      if (budget.othersStarve(this.#member, sinceMs, nowMs)) return budget.name;
    }
    return this.#permits?.starved(sinceMs);
  }

  mayReplace(other: BudgetMember, nowMs: number): boolean {
    return this.#budgets.every((budget) => budget.has(other) || budget.hasRoomFor(this.#member, nowMs));
  }

  /** A server was closed: groups with fewer servers first, and in them who waits longest, may open one. */
  onPlaceFree(): void {
    const hungry = new Set<BudgetMember>();
    for (const budget of this.#budgets) {
      if (budget.memberCount < 2) continue;
      for (const member of budget.hungry) if (member.waitingSinceMs !== undefined) hungry.add(member);
    }
    const ordered = [...hungry].sort(
      (a, b) => a.group.size - b.group.size || (a.waitingSinceMs ?? 0) - (b.waitingSinceMs ?? 0),
    );
    for (const member of ordered) member.openServers();
  }
}
