/** Which statement is said to have made a reservation. */
import { expect, test } from "vitest";
import { Causes } from "../../../src/session/auto/causes.ts";
import { Touch, touchesAll } from "../../../src/session/auto/reservations.ts";

const lockedBy = (causes: Causes): string => causes.begin("advisory_lock", 0).statement;

test("the first that may have, unless another one says so", () => {
  const causes = new Causes();
  causes.notice({ touches: Touch.settings, toldTouches: Touch.settings, reserves: 0, text: "set a.b = 1" });
  causes.notice({ touches: touchesAll, toldTouches: 0, reserves: 0, text: "call one()" });
  causes.notice({ touches: touchesAll, toldTouches: 0, reserves: 0, text: "call two()" });
  expect(lockedBy(causes)).toBe("call one()");
  causes.notice({
    touches: Touch.locks,
    toldTouches: Touch.locks,
    reserves: 0,
    text: "select pg_advisory_lock(a)",
  });
  causes.notice({
    touches: Touch.locks,
    toldTouches: Touch.locks,
    reserves: 0,
    text: "select pg_advisory_lock(b)",
  });
  expect(lockedBy(causes)).toBe("select pg_advisory_lock(a)");
});

test("none that was there when the ledger was asked before", () => {
  const causes = new Causes();
  causes.notice({ touches: touchesAll, toldTouches: 0, reserves: 0, text: "call one()" });
  causes.asked();
  causes.notice({ touches: touchesAll, toldTouches: 0, reserves: 0, text: "call two()" });
  expect(lockedBy(causes)).toBe("call one()");
  causes.answered();
  expect(lockedBy(causes)).toBe("call two()");
  causes.asked();
  causes.forget();
  causes.notice({ touches: touchesAll, toldTouches: 0, reserves: 0, text: "call three()" });
  causes.answered();
  expect(lockedBy(causes)).toBe("call three()");
});
