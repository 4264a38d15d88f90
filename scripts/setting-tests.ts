/**
 * Which settings have a test that names them: `npm run setting-tests` lists those that have none yet.
 *
 * A test names a setting if the setting's name is a word of its title, or of the title of its group. That its effect
 * is shown cannot be seen from here; a test whose title names a setting and shows nothing is the reviewer's to find.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { tableKinds } from "../src/config/schema.ts";

/** `[databases.NAME] pool_size`, by table and in the order of docs/config.md: those that no title names. */
export function settingsWithoutTest(sources: readonly string[]): string[] {
  const words = new Set(sources.flatMap(titlesOf).flatMap((title) => title.match(/\w+/g) ?? []));
  return tableKinds.flatMap(({ name, named, declarations }) =>
    Object.keys(declarations)
      .filter((setting) => !words.has(setting))
      .map((setting) => `[${named ? `${name}.NAME` : name}] ${setting}`),
  );
}

/** The titles of the tests and groups in a source file; of tests that come from a table, the first column too. */
export function titlesOf(source: string): string[] {
  const titles =
    /\b(?:test|describe)(?:\.\w+)*\(\s*(["`])((?:(?!\1)[^\\]|\\.)*)\1|\)\(\s*(["`])((?:(?!\3)[^\\]|\\.)*)\3\s*,/g;
  const plain = [...source.matchAll(titles)].map(([, , own, , ofTable]) => own ?? ofTable ?? "");
  if (!plain.some((title) => title.startsWith("%s"))) return plain;
  return [...plain, ...[...source.matchAll(/\[\s*"([^"]*)",/g)].map(([, first = ""]) => first)];
}

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** The sources of all tests. */
export function testSources(): string[] {
  const folder = path.join(root, "test");
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .map((file) => readFileSync(path.join(folder, file), "utf8"));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const missing = settingsWithoutTest(testSources());
  console.log(missing.length === 0 ? "every setting has a test that names it" : missing.join("\n"));
}
