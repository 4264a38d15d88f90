/**
 * The limits on servers over all workers. Every connection that a worker opens has been given leave here, one by one, and is counted until the worker has closed it, so that
 * no limit is exceeded at any time; a place that nobody uses is nobody's. Pools of the same database and user, in different workers, are one under `pool_size`.
 *
 * Who gets a place: the pool of a database and user with the fewest servers, within it the worker with the fewest, then whoever has waited longest. If there is none, idle servers of
 * others are closed, those of the worker that has most of them first; if none is idle, all workers are told who starves, and give up a server as it comes free, by the rules that pools of one
 * process have among themselves (pool/budget.ts). Whom a server was closed for gets its place, whoever has come to need one since.
 */
import { systemClock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import type { Config } from "../../config/schema.ts";
import { type BudgetMember, handoverMs, type ServerBudget } from "../../pool/budget.ts";
import { Budgets, budgetKeys } from "../budgets.ts";
import type { Member } from "./member.ts";
import type { HungryPool, LimitName, SpareAsk, WantAsk } from "./protocol.ts";

/** How often those that starve are looked at. */
const roundMs = 100;
/** What a worker does not say again for so long it wants no more. */
const wantMsMax = 1000;
/** What was promised to a pool and has not come by then is anybody's. */
const promiseMsMax = 1000;
/** PostgreSQL needs a moment to notice that the connections of a worker that was killed are gone. */
const deadMs = 1000;
/** So many pools that starve are told of in one round. */
const hungryMax = 16;

export class ServerPlaces {
  readonly #members: () => Iterable<Member>;
  readonly #logger: Logger;
  readonly #budgets: Budgets;
  #config: Config;
  #primary: string | undefined;
  readonly #pools = new Map<Member, Map<number, RemotePool>>();
  readonly #timer: NodeJS.Timeout;
  #evicting = false;
  /** What the workers were told last of pools that starve was not that there are none. */
  #toldOfHunger = false;

  constructor(config: Config, members: () => Iterable<Member>, logger: Logger) {
    this.#config = config;
    this.#members = members;
    this.#logger = logger;
    this.#budgets = new Budgets(config);
    this.#timer = setInterval(() => this.#round(), roundMs);
    this.#timer.unref();
  }

  reconfigure(config: Config): void {
    this.#config = config;
    this.#budgets.reconfigure(config, this.#primary);
    this.#serve();
  }

  /** Which node is the primary now. */
  follow(nodeName: string | undefined): void {
    this.#primary = nodeName;
    this.reconfigure(this.#config);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  want(member: Member, ask: WantAsk): void {
    const pool = this.#poolOf(member, { ...ask, beside: false });
    const nowMs = systemClock.now();
    if (pool.count === 0) pool.hungrySinceMs = nowMs;
    pool.count = ask.count;
    pool.coming = ask.coming;
    pool.waitingSinceMs = nowMs - ask.waitedMs;
    pool.toldAtMs = nowMs;
    this.#serve();
  }

  /** Leave for a connection that nobody waits for. */
  spare(member: Member, ask: SpareAsk): boolean {
    const pool = this.#poolOf(member, ask);
    // Whoever waits comes first.
    const free = pool.budgets.every((budget) => !budget.full);
    if (free) pool.take();
    return free;
  }

  /** A server is about to be closed for the pool of this number, which had told that it starves. */
  yields(number: number): void {
    for (const pool of this.#all()) if (pool.number === number) pool.promisedAtMs = systemClock.now();
  }

  gone(member: Member, { id, count }: Pick<WantAsk, "id" | "count">): void {
    const pool = this.#pools.get(member)?.get(id);
    if (pool === undefined) return;
    for (let i = 0; i < count && pool.size > 0; i++) pool.give();
    this.#serve();
  }

  /** The worker has died. Its connections are closed by the system, which PostgreSQL has yet to notice. */
  onExit(member: Member): void {
    const pools = this.#pools.get(member);
    for (const pool of pools?.values() ?? []) pool.count = 0;
    const timer = setTimeout(() => {
      for (const pool of pools?.values() ?? []) pool.end();
      this.#pools.delete(member);
      this.#serve();
    }, deadMs);
    timer.unref();
  }

  #poolOf(member: Member, { id, database, user, nodeName, beside }: SpareAsk): RemotePool {
    const own = this.#pools.get(member) ?? new Map<number, RemotePool>();
    this.#pools.set(member, own);
    const known = own.get(id);
    if (known !== undefined) return known;
    const all = this.#budgets.of(database, user, nodeName);
    const keys = budgetKeys(database, user, nodeName);
    const pool = new RemotePool(member, id, `${database}/${user}`, {
      group: all[0] as ServerBudget, // that of pool_size
      groupKey: keys[0],
      budgets: beside ? all.slice(1) : all,
      keys: beside ? keys.slice(1) : keys,
    });
    own.set(id, pool);
    return pool;
  }

  *#all(): Iterable<RemotePool> {
    for (const own of this.#pools.values()) yield* own.values();
  }

  /** Those that want places and may wait for them, the neediest first. */
  #wanting(): RemotePool[] {
    return [...this.#all()].filter(({ count }) => count > 0).sort(compareNeed);
  }

  /** Gives what there is. */
  #serve(): void {
    const nowMs = systemClock.now();
    for (;;) {
      const able = this.#wanting().filter((pool) => pool.fullLimits(nowMs).length === 0);
      const next = able.find(({ promisedAtMs }) => promisedAtMs !== undefined) ?? able[0];
      if (next === undefined) return;
      // In PgBouncer's words.
      if (next.group.full) this.#logger.warn({ pool: next.name }, "taking connection from reserve_pool");
      next.take();
      next.promisedAtMs = undefined;
      next.count--;
      next.coming++;
      next.hungrySinceMs = nowMs;
      next.member.link.tell("grant", next.id);
    }
  }

  #round(): void {
    const nowMs = systemClock.now();
    for (const pool of this.#all()) {
      if (nowMs - pool.toldAtMs > wantMsMax) pool.count = 0;
      if (nowMs - (pool.promisedAtMs ?? nowMs) > promiseMsMax) pool.promisedAtMs = undefined;
    }
    this.#forgetUnused();
    this.#serve();
    const starving = this.#wanting().slice(0, hungryMax);
    const tooMany = [...this.#budgets].filter(([, budget]) => budget.exceeded);
    if ((starving.length > 0 || tooMany.length > 0) && !this.#evicting) {
      this.#evicting = true;
      void this.#makeRoom(starving, tooMany, nowMs).finally(() => {
        this.#evicting = false;
      });
    } else if (this.#toldOfHunger && !this.#evicting) {
      // At once: whoever still believes it closes a server that nobody needs.
      this.#tellOfHunger([], [], nowMs);
    }
  }

  /** For the neediest, and where a reload has left too many. */
  async #makeRoom(
    starving: readonly RemotePool[],
    tooMany: readonly (readonly [string, ServerBudget])[],
    nowMs: number,
  ): Promise<void> {
    for (const [key, budget] of tooMany) await this.#evict([{ key, name: budget.name }], true, undefined);
    const [first] = starving;
    if (first !== undefined) {
      const urgent = nowMs - (first.waitingSinceMs ?? nowMs) >= handoverMs;
      if (await this.#evict(first.fullLimits(nowMs), urgent, first)) return;
    }
    const excess = tooMany.map(([key, budget]) => excessOf({ key, name: budget.name }));
    this.#tellOfHunger(excess, starving, nowMs);
  }

  #tellOfHunger(excess: readonly HungryPool[], starving: readonly RemotePool[], nowMs: number): void {
    this.#toldOfHunger = excess.length + starving.length > 0;
    for (const member of this.#members()) {
      if (!member.answers) continue;
      member.link.tell("hungry", [...excess, ...starving.map((pool) => hungerOf(pool, member, nowMs))]);
    }
  }

  /** Has an idle server closed, by the worker that has most servers under these limits and an idle one. */
  async #evict(
    limits: readonly LimitName[],
    urgent: boolean,
    wanted: RemotePool | undefined,
  ): Promise<boolean> {
    if (limits.length === 0) return false;
    const held = (member: Member): number => {
      let count = 0;
      for (const pool of this.#pools.get(member)?.values() ?? [])
        if (limits.some(({ key }) => pool.keys.includes(key))) count += pool.size;
      return count;
    };
    const members = [...this.#members()].filter((member) => member.answers && held(member) > 0);
    const promisedAtMs = systemClock.now();
    if (wanted !== undefined) wanted.promisedAtMs = promisedAtMs;
    for (const member of members.sort((a, b) => held(b) - held(a))) {
      const except = wanted?.member === member ? wanted.id : undefined;
      const closed = await member.ask("evict", { limits, urgent, except }).catch(() => 0);
      if (closed > 0) return true;
    }
    // Somebody may have given up a server for it meanwhile.
    if (wanted?.promisedAtMs === promisedAtMs) wanted.promisedAtMs = undefined;
    return false;
  }

  #forgetUnused(): void {
    const nowMs = systemClock.now();
    for (const own of this.#pools.values()) {
      for (const [id, pool] of own) {
        if (pool.size > 0 || pool.count > 0 || nowMs - pool.toldAtMs < wantMsMax) continue;
        pool.end();
        own.delete(id);
      }
    }
    this.#budgets.forgetUnused();
  }
}

let lastNumber = 0;

/** A pool of a worker. */
class RemotePool implements BudgetMember {
  /** By which workers know it that are told of it. */
  readonly number: number = ++lastNumber;
  readonly member: Member;
  /** The worker's number of it. */
  readonly id: number;
  readonly name: string;
  readonly group: ServerBudget;
  readonly groupKey: string;
  readonly budgets: readonly ServerBudget[];
  readonly keys: readonly string[];
  /** Places that it has. */
  size = 0;
  /** Places that it wants. */
  count = 0;
  coming = 0;
  waitingSinceMs: number | undefined;
  /** Since when it has wanted a place and got none. */
  hungrySinceMs = 0;
  toldAtMs: number = systemClock.now();
  /** When a server was closed for it whose place it has not got; undefined: none was. */
  promisedAtMs: number | undefined;
  /** The worker knows. */
  readonly idleSinceMs = undefined;

  constructor(
    member: Member,
    id: number,
    name: string,
    limits: Pick<RemotePool, "group" | "groupKey" | "budgets" | "keys">,
  ) {
    this.member = member;
    this.id = id;
    this.name = name;
    this.group = limits.group;
    this.groupKey = limits.groupKey;
    this.budgets = limits.budgets;
    this.keys = limits.keys;
    for (const budget of this.budgets) budget.join(this);
  }

  /** The limits that leave it no place. */
  fullLimits(nowMs: number): LimitName[] {
    return this.budgets.flatMap((budget, index) =>
      budget.hasRoomFor(this, nowMs) ? [] : [{ key: this.keys[index] ?? "", name: budget.name }],
    );
  }

  take(): void {
    this.size++;
    for (const budget of this.budgets) budget.take();
  }

  give(): void {
    this.size--;
    for (const budget of this.budgets) budget.give();
  }

  end(): void {
    while (this.size > 0) this.give();
    for (const budget of this.budgets) budget.leave(this);
  }

  mayReplace(): boolean {
    return false;
  }

  closeOldestIdle(): void {
    // Asked of members with an idle server, which is never this.
  }

  openServers(): void {
    // It asks again.
  }
}

function compareNeed(a: RemotePool, b: RemotePool): number {
  return a.group.size - b.group.size || a.size - b.size || (a.waitingSinceMs ?? 0) - (b.waitingSinceMs ?? 0);
}

function hungerOf(pool: RemotePool, told: Member, nowMs: number): HungryPool {
  return {
    number: pool.number,
    limits: pool.fullLimits(nowMs),
    group: pool.groupKey,
    groupSize: pool.group.size,
    size: pool.size,
    waitedMs: nowMs - (pool.waitingSinceMs ?? nowMs),
    hungryMs: nowMs - pool.hungrySinceMs,
    own: pool.member === told ? pool.id : undefined,
    tooMany: false,
  };
}

function excessOf(limit: LimitName): HungryPool {
  const nothing = { number: 0, groupSize: 0, size: 0, waitedMs: 0, hungryMs: 0, own: undefined };
  return { limits: [limit], group: "", ...nothing, tooMany: true };
}
