import { describe, expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { type BudgetMember, handoverMs, ServerBudget } from "../../../src/pool/budget.ts";

const laterMs = 10_000;

class Member implements BudgetMember {
  size = 0;
  coming = 0;
  waitingSinceMs: number | undefined;
  idleSinceMs: number | undefined;
  readonly name: string;
  readonly #heard: string[];
  readonly #opens: (member: Member) => void;

  constructor(name: string, heard: string[], opens: (member: Member) => void = () => {}) {
    this.name = name;
    this.#heard = heard;
    this.#opens = opens;
  }

  closeOldestIdle(): void {
    this.#heard.push(`${this.name} closes`);
    this.size--;
    this.idleSinceMs = undefined;
  }

  openServers(): void {
    this.#heard.push(`${this.name} opens`);
    this.#opens(this);
  }
}

function budgetOf(
  max: number,
  ...names: string[]
): { budget: ServerBudget; members: Member[]; heard: string[] } {
  const budget = new ServerBudget(max);
  const heard: string[] = [];
  const members = names.map((name) => new Member(name, heard));
  for (const member of members) budget.join(member);
  return { budget, members, heard };
}

test("the places that are free are those that no member has", () => {
  const { budget, members } = budgetOf(5, "a", "b");
  expect(budget.free()).toBe(5);
  (members[0] as Member).size = 2;
  (members[1] as Member).size = 1;
  expect(budget.free()).toBe(2);
  (members[1] as Member).size = 4;
  expect(budget.free(), "after a reload with less").toBe(0);
  budget.max = 0;
  expect(budget.free()).toBe(Number.POSITIVE_INFINITY);
});

test("a pool leaves once, and its places with it", () => {
  const { budget, members } = budgetOf(2, "a", "b");
  (members[0] as Member).size = 2;
  budget.leave(members[0] as Member);
  expect(budget.memberCount).toBe(1);
  expect(budget.free()).toBe(2);
  expect(() => budget.leave(members[0] as Member)).toThrow(AssertionError);
});

describe("evictFor", () => {
  test("closes the server that was unused longest, of a sibling", () => {
    const { budget, members, heard } = budgetOf(3, "a", "b", "c");
    const [a, b, c] = members as [Member, Member, Member];
    a.idleSinceMs = 1;
    b.idleSinceMs = 20;
    c.idleSinceMs = 10;
    expect(budget.evictFor(a, laterMs)).toBe(true);
    expect(heard).toEqual(["c closes"]);
    expect(budget.evictFor(a, laterMs)).toBe(true);
    expect(heard).toEqual(["c closes", "b closes"]);
    expect(budget.evictFor(a, laterMs), "its own idle servers do not count").toBe(false);
  });

  test("a server idle since time 0 counts as idle", () => {
    const { budget, members, heard } = budgetOf(3, "a", "b");
    (members[1] as Member).idleSinceMs = 0;
    expect(budget.evictFor(members[0] as Member, laterMs)).toBe(true);
    expect(heard).toEqual(["b closes"]);
  });

  test("a server that was used just now is left alone, unless a client has waited for a while", () => {
    const { budget, members, heard } = budgetOf(3, "a", "b");
    const [a, b] = members as [Member, Member];
    b.idleSinceMs = 1000;
    a.waitingSinceMs = 1000;
    expect(budget.evictFor(a, 1000 + handoverMs - 1)).toBe(false);
    a.waitingSinceMs = 999;
    expect(budget.evictFor(a, 999 + handoverMs)).toBe(true);
    expect(heard).toEqual(["b closes"]);
  });
});

test("a sibling starves if nothing is free and it has waited longer", () => {
  const { budget, members } = budgetOf(1, "a", "b");
  const [a, b] = members as [Member, Member];
  a.size = 1;
  b.waitingSinceMs = 10;
  expect(budget.siblingStarves(a, 20, laterMs)).toBe(true);
  expect(budget.siblingStarves(a, 10, laterMs)).toBe(false);
  expect(budget.siblingStarves(a, 5, laterMs)).toBe(false);
  expect(budget.siblingStarves(a, Number.POSITIVE_INFINITY, laterMs)).toBe(true);
  expect(budget.siblingStarves(a, 20, 10 + handoverMs - 1), "not for a moment").toBe(false);
  expect(budget.siblingStarves(b, 20, laterMs)).toBe(false);
  b.coming = 1;
  expect(budget.siblingStarves(a, 20, laterMs), "a server is coming already").toBe(false);
  b.coming = 0;
  budget.max = 2;
  expect(budget.siblingStarves(a, 20, laterMs)).toBe(false);
});

test("a place that came free goes to who waits longest", () => {
  const { budget, members, heard } = budgetOf(1, "a", "b", "c");
  const [a, , c] = members as [Member, Member, Member];
  a.waitingSinceMs = 20;
  c.waitingSinceMs = 10;
  budget.onPlaceFree();
  expect(heard).toEqual(["c opens", "a opens"]);
  const alone = budgetOf(1, "a");
  (alone.members[0] as Member).waitingSinceMs = 1;
  alone.budget.onPlaceFree();
  expect(alone.heard, "a pool without siblings sees to itself").toEqual([]);
});
