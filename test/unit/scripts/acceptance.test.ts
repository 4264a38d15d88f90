/** How the acceptance list is read from names and results of tests. */
import { describe, expect, test } from "vitest";
import {
  acceptanceNumbers,
  asMarkdown,
  asText,
  judge,
  type TestReport,
} from "../../../scripts/acceptance.ts";
import { acceptanceItems } from "../../../scripts/acceptance-items.ts";

// Written apart, so that the titles of these tests do not count as proofs themselves.
const word = "acceptance";

test("the list has 106 items, each with a title of its own", () => {
  expect(acceptanceItems).toHaveLength(106);
  expect(new Set(acceptanceItems).size).toBe(106);
  for (const title of acceptanceItems) expect(title).toMatch(/^\S.{10,120}\S$/);
});

describe("numbers in the name of a test", () => {
  const cases: [string, number[]][] = [
    [`${word} 72: never hits another client`, [72]],
    [`cancel ${word} 72 never hits another client`, [72]],
    [`${word} 28, 32: startup`, [28, 32]],
    [`${word} 52-56: reuse`, [52, 53, 54, 55, 56]],
    [`${word} 28, 30-32 and 35: startup`, [28, 30, 31, 32, 35]],
    [`${word} 28, 30–32, and 35: startup`, [28, 30, 31, 32, 35]],
    [`${word} 4 ${word} 5`, [4, 5]],
    [`${word} 4: within 5 s`, [4]],
    [`${word.toUpperCase()} 4`, [4]],
    [`no number here: ${word}`, []],
    [`un${word} 4`, []],
    ["12 monkeys", []],
  ];
  test.each(cases)("case %#", (name, numbers) => {
    expect(acceptanceNumbers(name)).toEqual(numbers);
  });
});

function report(tests: Record<string, string>): TestReport {
  const assertionResults = Object.entries(tests).map(([fullName, status]) => ({ fullName, status }));
  return { testResults: [{ name: "/project/test/unit/some.test.ts", assertionResults }] };
}

describe("an item", () => {
  const titles = ["signals", "listeners", "counters"];
  const states = (tests: Record<string, string>): boolean[] =>
    judge(report(tests), titles, "/project").map((item) => item.done);

  test("is done when every test that names it passed", () => {
    expect(states({ [`${word} 1, 3: a`]: "passed", [`${word} 1: b`]: "passed" })).toEqual([
      true,
      false,
      true,
    ]);
  });

  test("is open when one that names it failed, or did not run", () => {
    expect(states({ [`${word} 1-2: a`]: "passed", [`${word} 1: b`]: "failed" })).toEqual([
      false,
      true,
      false,
    ]);
    expect(states({ [`${word} 1-2: a`]: "passed", [`${word} 1: b`]: "skipped" })).toEqual([
      false,
      true,
      false,
    ]);
  });

  test("is open when nothing names it", () => {
    expect(states({ "all is well": "passed" })).toEqual([false, false, false]);
  });

  test("that does not exist is a mistake", () => {
    expect(() => states({ [`${word} 4: a`]: "passed" })).toThrow(`names acceptance 4, which does not exist`);
  });

  test("is printed with its proofs, and the last line counts", () => {
    const items = judge(
      report({ [`${word} 2: a`]: "passed", [`${word} 3: b`]: "failed" }),
      titles,
      "/project",
    );
    expect(asText(items).split("\n")).toEqual([
      "  1  not yet  signals",
      "  2  done     listeners",
      `              test/unit/some.test.ts: ${word} 2: a`,
      "  3  not yet  counters",
      `              failed: test/unit/some.test.ts: ${word} 3: b`,
      "acceptance: 1 of 3",
    ]);
    const markdown = asMarkdown(items);
    expect(markdown).toContain("| 2 | listeners | done | [unit/some.test.ts](../test/unit/some.test.ts) |");
    expect(markdown.trimEnd().endsWith("acceptance: 1 of 3")).toBe(true);
  });
});
