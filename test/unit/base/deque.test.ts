/** The deque does what an array does, whatever is asked of it. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Deque } from "../../../src/base/deque.ts";

type Operation =
  | { kind: "push" | "unshift" | "remove"; value: number }
  | { kind: "at"; value: number }
  | { kind: "shift" | "pop" | "clear" };

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom("push", "unshift"), value: fc.nat(20) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom("shift", "pop") }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("remove"), value: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("at"), value: fc.integer({ min: -2, max: 40 }) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "clear" }) },
) as fc.Arbitrary<Operation>;

function apply(deque: Deque<number>, array: number[], step: Operation): [unknown, unknown] {
  switch (step.kind) {
    case "push":
      return [deque.push(step.value), void array.push(step.value)];
    case "unshift":
      return [deque.unshift(step.value), void array.unshift(step.value)];
    case "shift":
      return [deque.shift(), array.shift()];
    case "pop":
      return [deque.pop(), array.pop()];
    case "at":
      return [deque.at(step.value), step.value < 0 ? undefined : array[step.value]];
    case "clear":
      return [deque.clear(), void array.splice(0)];
    case "remove": {
      const index = array.indexOf(step.value);
      if (index >= 0) array.splice(index, 1);
      return [deque.remove(step.value), index >= 0];
    }
  }
}

test("every sequence of operations gives what an array gives", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (steps) => {
      const deque = new Deque<number>();
      const array: number[] = [];
      for (const step of steps) {
        const [actual, expected] = apply(deque, array, step);
        expect(actual).toBe(expected);
        expect(deque.length).toBe(array.length);
        expect(deque.peekFirst()).toBe(array[0]);
        expect(deque.peekLast()).toBe(array.at(-1));
      }
      expect([...deque]).toEqual(array);
    }),
  );
});

test("an element that has left is no longer held", () => {
  const deque = new Deque<object>();
  const leave = [() => deque.shift(), () => deque.pop(), () => deque.remove(deque.peekFirst() as object)];
  for (const take of leave) {
    deque.push({});
    take();
    expect(deque.length).toBe(0);
    expect(deque.at(0)).toBeUndefined();
    expect(deque.peekFirst()).toBeUndefined();
  }
});
