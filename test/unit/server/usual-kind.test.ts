import { expect, test } from "vitest";
import { UsualKind } from "../../../src/server/usual-kind.ts";

test("the kind that most users have, of the last thousand; each counts once", () => {
  const usual = new UsualKind();
  expect(usual.kind).toBe("scram");
  for (let time = 0; time < 5; time++) usual.see("a", "md5");
  expect(usual.kind).toBe("md5");
  usual.see("b", "scram");
  expect(usual.kind).toBe("scram");
  usual.see("b", "plain");
  usual.see("a", "plain");
  expect(usual.kind).toBe("plain");
  for (let user = 0; user < 1000; user++) usual.see(`user ${user}`, "md5");
  for (let user = 1000; user < 1501; user++) usual.see(`user ${user}`, "scram");
  expect(usual.kind).toBe("scram");
});
