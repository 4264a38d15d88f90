import { describe, expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { type BudgetMember, handoverMs, ServerBudget } from "../../../src/pool/budget.ts";
import { Places } from "../../../src/pool/places.ts";

const laterMs = 10_000;

class Member implements BudgetMember {
  readonly group: ServerBudget;
  /** What `mayReplace` answers. */
  replaces = true;
  coming = 0;
  waitingSinceMs: number | undefined;
  idleSinceMs: number | undefined;
  readonly name: string;
  readonly #heard: string[];

  constructor(name: string, heard: string[], group: ServerBudget) {
    this.name = name;
    this.#heard = heard;
    this.group = group;
  }

  mayReplace(): boolean {
    return this.replaces;
  }

  closeOldestIdle(reason: string): void {
    this.#heard.push(`${this.name} closes: ${reason}`);
    this.idleSinceMs = undefined;
  }

  openServers(): void {
    this.#heard.push(`${this.name} opens`);
  }
}

const names = ["a", "b", "c"];

/** One budget and its members, all of one group. */
function groupOf(max: number): { budget: ServerBudget; members: [Member, Member, Member]; heard: string[] } {
  const budget = new ServerBudget("pool_size", max);
  const heard: string[] = [];
  const members = names.map((name) => new Member(name, heard, budget)) as [Member, Member, Member];
  for (const member of members) budget.join(member);
  return { budget, members, heard };
}

/** One budget and its members, each of a group of its own. */
function wideOf(max: number): { budget: ServerBudget; members: [Member, Member, Member] } {
  const budget = new ServerBudget("max_db_connections", max);
  const members = names.map((name) => new Member(name, [], new ServerBudget("pool_size", 0))) as [
    Member,
    Member,
    Member,
  ];
  for (const member of members) budget.join(member);
  return { budget, members };
}

/** `member` has opened so many servers. */
function open(budget: ServerBudget, member: Member, count: number): void {
  for (let i = 0; i < count; i++) {
    budget.take();
    if (member.group !== budget) member.group.take();
  }
}

test("there is room until as many servers are open as may be; 0 is no limit", () => {
  const { budget, members } = groupOf(2);
  const [a] = members;
  open(budget, a, 1);
  expect(budget.hasRoomFor(a, 0)).toBe(true);
  open(budget, a, 1);
  expect([budget.hasRoomFor(a, 0), budget.full, budget.exceeded]).toEqual([false, true, false]);
  budget.give();
  expect(budget.hasRoomFor(a, 0)).toBe(true);
  open(budget, a, 1);
  budget.max = 1;
  expect(budget.exceeded, "after a reload with less").toBe(true);
  budget.max = 0;
  expect([budget.hasRoomFor(a, 0), budget.full, budget.exceeded]).toEqual([true, false, false]);
});

test("what is given back was taken, and a pool leaves once", () => {
  const { budget, members } = groupOf(2);
  expect(() => budget.give()).toThrow(AssertionError);
  budget.leave(members[0]);
  expect([budget.memberCount, budget.has(members[0]), budget.has(members[1])]).toEqual([2, false, true]);
  expect(() => budget.leave(members[0])).toThrow(AssertionError);
});

describe("the reserve (reserve_pool_size, reserve_pool_timeout)", () => {
  test("is for a client that has waited for its time, one server after the other", () => {
    const { budget, members } = groupOf(1);
    const [a] = members;
    budget.reserve = 2;
    budget.reserveAfterMs = 5000;
    open(budget, a, 1);
    expect(budget.hasRoomFor(a, 100_000), "nobody waits").toBe(false);
    a.waitingSinceMs = 1000;
    expect(budget.hasRoomFor(a, 5999)).toBe(false);
    expect(budget.hasRoomFor(a, 6000)).toBe(true);
    a.coming = 1;
    expect(budget.hasRoomFor(a, 6000), "one is coming").toBe(false);
    a.coming = 0;
    open(budget, a, 2);
    expect(budget.hasRoomFor(a, 6000), "all of it is in use").toBe(false);
    expect(budget.exceeded).toBe(false);
  });

  test("0 seconds, and 0 servers, mean that there is none", () => {
    const { budget, members } = groupOf(1);
    const [a] = members;
    open(budget, a, 1);
    a.waitingSinceMs = 0;
    budget.reserve = 5;
    expect(budget.hasRoomFor(a, 100_000)).toBe(false);
    budget.reserve = 0;
    budget.reserveAfterMs = 5000;
    expect(budget.hasRoomFor(a, 100_000)).toBe(false);
  });
});

describe("evictable", () => {
  test("is the member whose server was unused longest, and never the one that asks", () => {
    const { budget, members } = groupOf(3);
    const [a, b, c] = members;
    a.idleSinceMs = 1;
    b.idleSinceMs = 20;
    c.idleSinceMs = 10;
    expect(budget.evictable(a, laterMs)).toBe(c);
    c.idleSinceMs = undefined;
    expect(budget.evictable(a, laterMs)).toBe(b);
    b.idleSinceMs = undefined;
    expect(budget.evictable(a, laterMs)).toBeUndefined();
  });

  test("a server idle since time 0 counts as idle", () => {
    const { budget, members } = groupOf(3);
    members[1].idleSinceMs = 0;
    expect(budget.evictable(members[0], laterMs)).toBe(members[1]);
  });

  test("a server that was used just now is left alone, unless a client has waited for a while", () => {
    const { budget, members } = groupOf(3);
    const [a, b] = members;
    b.idleSinceMs = 1000;
    a.waitingSinceMs = 1000;
    expect(budget.evictable(a, 1000 + handoverMs - 1)).toBeUndefined();
    a.waitingSinceMs = 999;
    expect(budget.evictable(a, 999 + handoverMs)).toBe(b);
  });
});

describe("who starves", () => {
  test("in a group, whoever has waited longer", () => {
    const { budget, members } = groupOf(1);
    const [a, b] = members;
    open(budget, a, 1);
    b.waitingSinceMs = 10;
    budget.noteHunger(b);
    expect(budget.othersStarve(a, 20, laterMs)).toBe(true);
    expect(budget.othersStarve(a, 10, laterMs)).toBe(false);
    expect(budget.othersStarve(a, 5, laterMs)).toBe(false);
    expect(budget.othersStarve(a, Number.POSITIVE_INFINITY, laterMs)).toBe(true);
    expect(budget.othersStarve(a, 20, 10 + handoverMs - 1), "not for a moment").toBe(false);
    expect(budget.othersStarve(b, 20, laterMs), "not itself").toBe(false);
    b.coming = 1;
    expect(budget.othersStarve(a, 20, laterMs), "a server is coming already").toBe(false);
    b.coming = 0;
    b.replaces = false;
    expect(budget.othersStarve(a, 20, laterMs), "another limit would keep it from it").toBe(false);
    b.replaces = true;
    budget.max = 2;
    expect(budget.othersStarve(a, 20, laterMs), "there is room").toBe(false);
    budget.max = 1;
    b.waitingSinceMs = undefined;
    expect(budget.othersStarve(a, 20, laterMs), "it waits no more").toBe(false);
    expect([...budget.hungry]).toEqual([]);
  });

  test.each([
    // Servers of the owner and of the other, since when their clients wait, and whether a place changes hands.
    [5, 1, 20, 30, true],
    [5, 3, 20, 30, true],
    [5, 4, 20, 30, false],
    [5, 4, 20, 10, true],
    [5, 5, 20, 10, false],
    [4, 5, 20, 10, false],
    [1, 0, 20, 30, false],
    [1, 0, 20, 10, true],
    [4, 5, Number.POSITIVE_INFINITY, 10, true],
  ])(
    "between groups, who has fewer servers: %i and %i, waiting since %f and %i: %s",
    (owned: number, others: number, sinceMs: number, othersSinceMs: number, starves: boolean) => {
      const { budget, members } = wideOf(owned + others);
      const [a, b] = members;
      open(budget, a, owned);
      open(budget, b, others);
      b.waitingSinceMs = othersSinceMs;
      budget.noteHunger(b);
      expect(budget.othersStarve(a, sinceMs, laterMs)).toBe(starves);
    },
  );
});

describe("a pool under several limits", () => {
  /** Pools of one user: `a` and `b` of one database, `c` of another. */
  function several(): {
    pools: [Member, Member, Member];
    places: [Places, Places, Places];
    heard: string[];
    user: ServerBudget;
    database: ServerBudget;
  } {
    const heard: string[] = [];
    const user = new ServerBudget("max_user_connections", 0);
    const database = new ServerBudget("max_db_connections", 0);
    const pools = names.map((name) => new Member(name, heard, new ServerBudget("pool_size", 0)));
    const places = pools.map(
      (pool, index) => new Places(index < 2 ? [pool.group, database, user] : [pool.group, user], pool),
    );
    return {
      pools: pools as [Member, Member, Member],
      places: places as [Places, Places, Places],
      heard,
      user,
      database,
    };
  }

  test("opens a server if there is room under all of them", () => {
    const { places, user, database } = several();
    const [a, , c] = places;
    a.take();
    expect(a.hasRoom(0)).toBe(true);
    database.max = 1;
    expect([a.hasRoom(0), c.hasRoom(0)]).toEqual([false, true]);
    user.max = 1;
    expect(c.hasRoom(0)).toBe(false);
    expect(a.exceeded).toBeUndefined();
    c.take();
    expect(a.exceeded).toBe("max_user_connections");
    a.give();
    expect([database.size, user.size, a.group.size]).toEqual([0, 1, 0]);
  });

  test("closes an idle server of another pool for each limit that is reached, or none at all", () => {
    const { pools, places, heard, user, database } = several();
    const [a, b, c] = pools;
    const closing = (pool: Member, own: Places): void => {
      const close = pool.closeOldestIdle.bind(pool);
      pool.closeOldestIdle = (reason) => {
        close(reason);
        own.give();
      };
    };
    closing(b, places[1]);
    closing(c, places[2]);
    places[1].take();
    places[2].take();
    [user.max, database.max] = [2, 1];
    c.idleSinceMs = 0;
    expect(places[0].makeRoom(laterMs), "nothing is idle in the database").toBe(false);
    expect(heard).toEqual([]);
    b.idleSinceMs = 0;
    expect(places[0].makeRoom(laterMs)).toBe(true);
    expect(heard, "one makes room under both").toEqual(["b closes: evicted for max_db_connections"]);
    database.max = 0;
    places[0].take();
    a.waitingSinceMs = 0;
    expect(places[0].makeRoom(laterMs)).toBe(true);
    expect(heard[1]).toBe("c closes: evicted for max_user_connections");
  });

  test("takes the place of another only if that is what its limits want", () => {
    const { pools, places, user, database } = several();
    const [a, , c] = pools;
    places[0].take();
    [user.max, database.max] = [1, 1];
    expect(places[1].mayReplace(a, 0), "of its database").toBe(true);
    expect(places[1].mayReplace(c, 0), "the database is full all the same").toBe(false);
  });

  test("lets who has fewest servers open one first, and then who has waited longest", () => {
    const { pools, places, heard, user } = several();
    const [a, b, c] = pools;
    user.max = 3;
    places[0].take();
    places[0].take();
    places[1].take();
    a.waitingSinceMs = 1;
    b.waitingSinceMs = 30;
    c.waitingSinceMs = 20;
    for (const own of places) expect(own.hasRoom(100)).toBe(false);
    places[1].give();
    places[2].onPlaceFree();
    expect(heard).toEqual(["c opens", "b opens", "a opens"]);
    heard.length = 0;
    c.waitingSinceMs = undefined;
    places[2].onPlaceFree();
    expect(heard).toEqual(["b opens", "a opens"]);
  });
});
