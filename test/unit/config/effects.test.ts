/** A setting does something: a test has its name in its title, or in the label of its row, and shows what. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { encryption } from "../../../src/config/settings/encryption.ts";
import { listening } from "../../../src/config/settings/listening.ts";
import { logging } from "../../../src/config/settings/logging.ts";

const folder = fileURLToPath(new URL("../../", import.meta.url));
/** Titles and labels stand behind `test(`, behind the `])(` of a table, or first in a row or a line. */
const titles = readdirSync(folder, { recursive: true, encoding: "utf8" })
  // What is said about the configuration itself shows no effect.
  .filter((file) => file.endsWith(".test.ts") && !file.startsWith(path.join("unit", "config")))
  .flatMap((file) => readFileSync(path.join(folder, file), "utf8").split("\n"))
  .filter((line) => /\b(?:test|describe)[.(]|\]\)\(|^\s*\[?["'`]/.test(line));

test.each(Object.keys({ ...listening, ...encryption, ...logging }))("%s has one", (name) => {
  const named = new RegExp(`["'\`][^"'\`]*\\b${name}\\b`);
  expect(titles.some((line) => named.test(line))).toBe(true);
});
