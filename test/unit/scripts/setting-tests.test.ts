/** Every setting has a test whose title names it. */
import { expect, test } from "vitest";
import { settingsWithoutTest, testSources, titlesOf } from "../../../scripts/setting-tests.ts";

test("every setting has a test that names it; `npm run setting-tests` lists those without", () => {
  const sources = testSources();
  expect(sources.length).toBeGreaterThan(100);
  expect(settingsWithoutTest(sources)).toEqual([]);
});

test("titles are those of tests, groups, and rows of tables", () => {
  const source = `
    test("one: a", async () => {});
    describe.each(modes)("two", (mode) => {});
    test.each([["three", 1], ["four", 2]])("%s: rows", (name) => {});
    const other = call("five");
    test(\`six (\${mode})\`, () => {});
  `;
  expect(titlesOf(source)).toEqual(["one: a", "two", "%s: rows", "six (${mode})", "three", "four"]);
});

test("what no title names is listed with its table", () => {
  const missing = settingsWithoutTest(['test("pool_mode does something", () => {})']);
  expect(missing).toContain("[pgsluice] listen_port");
  expect(missing).toContain("[databases.NAME] dbname");
  expect(missing).not.toContain("[pgsluice] pool_mode");
});
