import fc from "fast-check";
import { expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { Roster } from "../../../src/base/roster.ts";

class Guest {
  readonly kind = "guest";
}

test("those who have come and not left are there", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9)), (moves) => {
      const guests = Array.from({ length: 10 }, () => new Guest());
      const roster = new Roster<Guest>();
      const there = new Set<Guest>();
      for (const move of moves) {
        const guest = guests[move] as Guest;
        if (there.delete(guest)) roster.delete(guest);
        else {
          roster.add(guest);
          there.add(guest);
        }
        expect(roster.size).toBe(there.size);
        expect(new Set(roster)).toEqual(there);
      }
    }),
  );
});

test("who leaves while all are asked is asked still, and nobody is left out", () => {
  const guests = Array.from({ length: 5 }, () => new Guest());
  const roster = new Roster<Guest>();
  for (const guest of guests) roster.add(guest);
  const asked: Guest[] = [];
  for (const guest of roster) {
    asked.push(guest);
    for (const other of guests) roster.delete(other);
  }
  expect(asked).toEqual(guests);
  expect(roster.size).toBe(0);
});

test("nobody is there twice, and who is not there can leave", () => {
  const roster = new Roster<Guest>();
  const guest = new Guest();
  roster.delete(guest);
  roster.add(guest);
  expect(() => roster.add(guest)).toThrow(AssertionError);
});
