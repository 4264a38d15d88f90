/**
 * The worker's side of limits on servers: its pools ask the primary for leave before they open a connection, tell it when one is gone, and close one where the
 * primary says that another pool has more need of it: an idle one at once, or the next that comes free.
 *
 * What a pool wants is told as it stands (so many, since when), again and again while it wants it; so nothing that is lost or late does lasting harm. Leave that
 * nobody needs any more goes back.
 */
import { systemClock } from "../../base/clock.ts";
import { handoverMs } from "../../pool/budget.ts";
import type { Permits, PoolPermits } from "../../pool/permits.ts";
import type { Pool } from "../../pool/pool.ts";
import { budgetKeys } from "../budgets.ts";
import type { Link } from "./link.ts";
import type { EvictAsk, HungryPool, PoolSubject, ToPrimary, ToWorker } from "./protocol.ts";

/** How often what is wanted is told again, and what is held is compared with what is there. */
const reviewMs = 100;
/** What was said of hungry pools is said again before this. */
const hungryMs = 300;

/** What a pool needs, and has to tell. */
export interface PermitsOfPool extends PoolPermits {
  onServerGone(): void;
  onPoolForgotten(): void;
}

export class PermitDesks {
  readonly #link: Link<ToPrimary, ToWorker>;
  readonly #desks = new Map<number, Desk>();
  #lastId = 0;
  /** Pools, here or elsewhere, that starve, and until when that is believed. */
  #hungry: readonly Starving[] = [];
  #hungryUntilMs = 0;

  constructor(link: Link<ToPrimary, ToWorker>) {
    this.#link = link;
    setInterval(() => this.#review(), reviewMs).unref();
  }

  /** `pool` is asked later. */
  forPool(of: PoolSubject, pool: () => Pool): PermitsOfPool {
    const keys = budgetKeys(of.database, of.user, of.nodeName);
    const servers = this.#open({ ...of, beside: false }, keys, pool, () => pool().size);
    const beside = this.#open({ ...of, beside: true }, keys.slice(1), pool, () => pool().listening.size);
    return {
      servers,
      beside,
      onServerGone: () => servers.reviewSoon(),
      onPoolForgotten: () => {
        servers.forgotten = true;
        beside.forgotten = true;
      },
    };
  }

  /** The primary gives leave. */
  grant(id: number): void {
    const desk = this.#desks.get(id);
    if (desk === undefined) this.#link.tell("gone", { id, count: 1 });
    else desk.grant();
  }

  /** Closes idle servers that hold places under these limits. Returns how many. */
  evict({ limits, urgent, except }: EvictAsk): number {
    let closed = 0;
    const nowMs = systemClock.now();
    for (const { key, name } of limits) {
      let oldest: Pool | undefined;
      for (const desk of this.#desks.values()) {
        if (desk.id === except || desk.about.beside || !desk.keys.has(key)) continue;
        const { pool } = desk;
        if (pool.idleSinceMs === undefined) continue;
        if (oldest?.idleSinceMs === undefined || pool.idleSinceMs < oldest.idleSinceMs) oldest = pool;
      }
      if (oldest?.idleSinceMs === undefined) continue;
      if (!urgent && nowMs - oldest.idleSinceMs < handoverMs) continue;
      oldest.closeOldestIdle(`evicted for ${name}`);
      closed++;
    }
    return closed;
  }

  hear(hungry: readonly HungryPool[]): void {
    const nowMs = systemClock.now();
    this.#hungryUntilMs = nowMs + hungryMs;
    this.#hungry = hungry.map((pool) => ({ ...pool, sinceMs: nowMs - pool.waitedMs }));
  }

  /** As {@link Permits.starved}. Each is given one place: then it is heard of again, if it still starves. */
  starved(desk: Desk, sinceMs: number): string | undefined {
    if (this.#hungry.length === 0) return undefined;
    const nowMs = systemClock.now();
    if (nowMs >= this.#hungryUntilMs) {
      this.#hungry = [];
      return undefined;
    }
    const next = this.#hungry.find((hungry) => deserves(hungry, desk, sinceMs, nowMs));
    if (next === undefined) return undefined;
    this.#hungry = this.#hungry.filter((hungry) => hungry !== next);
    if (!next.tooMany) this.#link.tell("yields", next.number);
    return next.limits[0]?.name;
  }

  #open(about: DeskSubject, keys: readonly string[], pool: () => Pool, size: () => number): Desk {
    const id = ++this.#lastId;
    const desk = new Desk(id, about, keys, { pool, size, desks: this, link: this.#link });
    this.#desks.set(id, desk);
    return desk;
  }

  #review(): void {
    for (const desk of this.#desks.values()) {
      desk.review();
      if (desk.over) this.#desks.delete(desk.id);
    }
  }
}

interface Starving extends HungryPool {
  readonly sinceMs: number;
}

/** Whether the pool of `desk`, whose own first client waits since `sinceMs`, should give up a server that comes free. */
function deserves(hungry: Starving, desk: Desk, sinceMs: number, nowMs: number): boolean {
  if (hungry.own === desk.id || !hungry.limits.every(({ key }) => desk.keys.has(key))) return false;
  if (hungry.tooMany) return true;
  const { size } = desk.pool;
  const waits = nowMs - hungry.sinceMs >= handoverMs;
  const longer = hungry.sinceMs < sinceMs;
  if (desk.keys.has(hungry.group)) {
    // The same pool in another process: who waits longer, or has long had less.
    return (waits && longer) || (hungry.hungryMs >= handoverMs && size - hungry.size > 1);
  }
  if (!waits) return false;
  const lead = size - hungry.groupSize;
  return sinceMs === Number.POSITIVE_INFINITY || lead > 1 || (lead === 1 && longer);
}

interface DeskSubject extends PoolSubject {
  /** Connections beside the pool's servers. */
  readonly beside: boolean;
}

/** Where one pool asks. */
class Desk implements Permits {
  readonly id: number;
  readonly about: DeskSubject;
  readonly keys: ReadonlySet<string>;
  /** Its pool is no more. */
  forgotten = false;
  readonly #pool: () => Pool;
  readonly #size: () => number;
  readonly #desks: PermitDesks;
  readonly #link: Link<ToPrimary, ToWorker>;
  readonly #pending: ((acquired: boolean) => void)[] = [];
  #held = 0;
  #tells = false;
  #reviews = false;

  constructor(
    id: number,
    about: DeskSubject,
    keys: readonly string[],
    within: {
      readonly pool: () => Pool;
      readonly size: () => number;
      readonly desks: PermitDesks;
      readonly link: Link<ToPrimary, ToWorker>;
    },
  ) {
    this.id = id;
    this.about = about;
    this.keys = new Set(keys);
    this.#pool = within.pool;
    this.#size = within.size;
    this.#desks = within.desks;
    this.#link = within.link;
  }

  get pool(): Pool {
    return this.#pool();
  }

  /** Nothing will come of it any more. */
  get over(): boolean {
    return this.forgotten && this.#held === 0 && this.#pending.length === 0;
  }

  async acquire(signal: AbortSignal): Promise<boolean> {
    // Nobody waits for it: only if there is a place anyway.
    if (this.about.beside || this.pool.queue.size === 0) {
      const given = await this.#link.call("spare", { id: this.id, ...this.about }).catch(() => false);
      if (!given) return false;
      this.#held++;
      this.reviewSoon();
      return !signal.aborted;
    }
    return new Promise((resolve) => {
      const settle = (acquired: boolean): void => {
        signal.removeEventListener("abort", onAbort);
        resolve(acquired);
      };
      const onAbort = (): void => {
        const index = this.#pending.indexOf(settle);
        if (index >= 0) this.#pending.splice(index, 1);
        settle(false);
        this.#tellSoon();
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#pending.push(settle);
      this.#tellSoon();
    });
  }

  starved(sinceMs: number): string | undefined {
    return this.#desks.starved(this, sinceMs);
  }

  grant(): void {
    this.#held++;
    this.#pending.shift()?.(true);
    this.reviewSoon();
  }

  review(): void {
    const surplus = this.#held - this.#size();
    if (surplus > 0) {
      this.#held -= surplus;
      this.#link.tell("gone", { id: this.id, count: surplus });
    }
    if (this.#pending.length === 0) return;
    if (this.pool.queue.size === 0) for (const settle of this.#pending.splice(0)) settle(false);
    this.#tell();
  }

  /** When what is under way now has been done: a connection is counted by nobody for a moment while it becomes a server. */
  reviewSoon(): void {
    if (this.#reviews) return;
    this.#reviews = true;
    setImmediate(() => {
      this.#reviews = false;
      this.review();
    });
  }

  #tellSoon(): void {
    if (this.#tells) return;
    this.#tells = true;
    queueMicrotask(() => {
      this.#tells = false;
      this.#tell();
    });
  }

  #tell(): void {
    const { pool, id, about } = this;
    const sinceMs = pool.queue.firstSinceMs;
    const waitedMs = sinceMs === undefined ? 0 : systemClock.now() - sinceMs;
    const { database, user, nodeName } = about;
    const coming = pool.coming - this.#pending.length;
    this.#link.tell("want", { id, database, user, nodeName, count: this.#pending.length, waitedMs, coming });
  }
}
