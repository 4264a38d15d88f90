import fc from "fast-check";
import { expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { LruMap } from "../../../src/base/lru.ts";

test("the least recently used entry leaves", () => {
  const map = new LruMap<string, number>(2);
  expect(map.set("a", 1)).toBeUndefined();
  expect(map.set("b", 2)).toBeUndefined();
  expect(map.get("a")).toBe(1);
  expect(map.set("c", 3)).toEqual(["b", 2]);
  expect([...map.keys()]).toEqual(["a", "c"]);
});

test("peek and has leave the age alone, set renews it", () => {
  const map = new LruMap<string, number>(2);
  map.set("a", 1);
  map.set("b", 2);
  expect(map.peek("a")).toBe(1);
  expect(map.has("a")).toBe(true);
  expect(map.set("c", 3)).toEqual(["a", 1]);
  map.set("b", 20);
  expect(map.set("d", 4)).toEqual(["c", 3]);
  expect(map.peek("b")).toBe(20);
});

test("delete and clear", () => {
  const map = new LruMap<string, number>(2);
  map.set("a", 1);
  expect(map.delete("a")).toBe(true);
  expect(map.delete("a")).toBe(false);
  expect(map.get("a")).toBeUndefined();
  map.set("b", 2);
  map.clear();
  expect(map.size).toBe(0);
});

test("it never holds more than its limit, and what leaves is what was used longest ago", () => {
  const step = fc.tuple(fc.constantFrom("set", "get", "delete"), fc.nat(12));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.array(step), (entriesMax, steps) => {
      const map = new LruMap<number, number>(entriesMax);
      let byAge: number[] = [];
      for (const [kind, key] of steps) {
        const known = byAge.includes(key);
        if (kind === "get") expect(map.get(key)).toBe(known ? key : undefined);
        if (kind === "delete") expect(map.delete(key)).toBe(known);
        if (kind !== "get" || known) byAge = byAge.filter((other) => other !== key);
        if (kind === "set" || (kind === "get" && known)) byAge.push(key);
        if (kind === "set") {
          const left = byAge.length > entriesMax ? byAge.shift() : undefined;
          expect(map.set(key, key)).toEqual(left === undefined ? undefined : [left, left]);
        }
        expect([...map.keys()]).toEqual(byAge);
        expect(map.size).toBe(byAge.length);
      }
    }),
  );
});

test("a limit below one is a mistake", () => {
  expect(() => new LruMap(0)).toThrow(AssertionError);
});
