/** docs/errors.md names every failure code of the sources and no other, with the texts and SQLSTATEs that they have. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const page = readFileSync(path.join(root, "docs", "errors.md"), "utf8");
const sources = readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
  // The keys of a trace are OpenTelemetry's names, and look like codes.
  .filter((file) => file.endsWith(".ts") && file !== path.join("client", "tracing.ts"))
  .map((file) => readFileSync(path.join(root, "src", file), "utf8"))
  .join("\n");

/** What failure codes begin with: `peer` of `peer.startup_length`. The lab's are arguments of a function. */
const families = [...sources.matchAll(/\bcode: "([a-z]+)\.[a-z_]+"/g)].map(([, family]) => family);
const code = `(?:${[...new Set([...families, "lab"])].join("|")})\\.[a-z0-9_]+`;
/** Names of files look the same. */
const fileName = /\.(?:conf|json|lock|toml|txt)$/;

/** Every literal that is a code, also where it stands in a type or is an argument. The beginning of a code is none. */
const used = unique(sources, new RegExp(`(?<!startsWith\\()"(${code})"`, "g")).filter(
  (text) => !fileName.test(text),
);
const known = unique(page, new RegExp(`\`(${code})\``, "g"));
/** The rows of all tables of the page, by the headings of their columns. */
const rows = page.split("\n\n").flatMap(tableRows);

test("every failure code is on the page", () => {
  expect(used.length).toBeGreaterThan(50);
  expect(used.filter((text) => !known.includes(text))).toEqual([]);
});

test("no code on the page is dead", () => {
  expect(known.filter((text) => !used.includes(text))).toEqual([]);
});

test("every text on the page is in the sources", () => {
  const texts = rows.flatMap((row) => quoted(row.get("Text")));
  expect(texts.length).toBeGreaterThan(40);
  expect(texts.filter((text) => !text.split("…").every((piece) => sources.includes(piece)))).toEqual([]);
});

test("SQLSTATEs on the page are those of the sources", () => {
  const pairs = [...sources.matchAll(new RegExp(`code: "(${code})",\\s*sqlstate: "(\\w{5})"`, "g"))];
  expect(pairs.length).toBeGreaterThan(20);
  const wrong = pairs.filter(([, name = "", sqlstate = ""]) => {
    const entries = rows.filter((row) => row.has("SQLSTATE") && quoted(row.get("Code")).includes(name));
    return entries.length > 0 && !entries.some((row) => row.get("SQLSTATE")?.includes(sqlstate));
  });
  expect(wrong.map(([text]) => text)).toEqual([]);
});

function unique(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map(([, found = ""]) => found))].sort();
}

function tableRows(paragraph: string): Map<string, string>[] {
  const [head = [], , ...body] = paragraph
    .trim()
    .split("\n")
    .map((line) => line.split("|").map((cell) => cell.trim()));
  return body.map((cells) => new Map(cells.map((cell, index) => [head[index] ?? "", cell])));
}

function quoted(cell: string | undefined): string[] {
  return [...(cell ?? "").matchAll(/`([^`]+)`/g)].map(([, text = ""]) => text);
}
