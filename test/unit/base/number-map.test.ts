import fc from "fast-check";
import { expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { NumberMap } from "../../../src/base/number-map.ts";

test("it holds what a Map would", () => {
  // Few numbers, so that many meet; and such as process ids and keys are.
  const key = fc.oneof(
    fc.nat(40),
    fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    fc.constantFrom(2 ** 31, 2 ** 40),
  );
  const step = fc.tuple(fc.constantFrom("set", "set", "get", "delete"), key);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const map = new NumberMap<string>();
      const model = new Map<number, string>();
      for (const [index, [kind, number]] of steps.entries()) {
        if (kind === "delete") expect(map.delete(number)).toBe(model.delete(number));
        if (kind === "set") {
          map.set(number, `value ${index}`);
          model.set(number, `value ${index}`);
        }
        expect(map.get(number)).toBe(model.get(number));
        expect(map.size).toBe(model.size);
      }
      for (const [number, value] of model) expect(map.get(number)).toBe(value);
    }),
  );
});

test("nothing is lost when a number leaves from among others that stand one behind the other", () => {
  const map = new NumberMap<number>();
  for (let number = 0; number < 2000; number++) map.set(number * 4096, number);
  for (let number = 0; number < 2000; number += 2) expect(map.delete(number * 4096)).toBe(true);
  for (let number = 0; number < 2000; number++)
    expect(map.get(number * 4096)).toBe(number % 2 === 0 ? undefined : number);
});

test("nothing cannot be kept", () => {
  expect(() => new NumberMap<undefined>().set(1, undefined)).toThrow(AssertionError);
});
