/** That the tables speak of the same things as PostgreSQL's grammar. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test } from "vitest";
import { reservationOf, reservationReasons, unknownClass } from "../../../src/sql/index.ts";
import { knownTags } from "../../../src/sql/statement-table.ts";
import { classified } from "./classifier-kit.ts";

test("every statement of the grammar is in the table", () => {
  const requireFrom = createRequire(import.meta.url);
  const fromParser = createRequire(requireFrom.resolve("libpg-query"));
  const types = readFileSync(
    fromParser.resolve("@pgsql/types").replace(/\.js$/, ".d.ts").replace("index", "types"),
    "utf8",
  );
  const tags = [...types.matchAll(/^export interface (\w+Stmt)\b/gm)].map(([, tag]) => tag ?? "");
  // Parts of other statements, and PL/pgSQL's own.
  const parts = new Set(["RawStmt", "SetOperationStmt", "ReturnStmt", "PLAssignStmt", "ReplicaIdentityStmt"]);
  expect(tags.filter((tag) => !parts.has(tag)).sort()).toEqual(knownTags().sort());
});

test("what was not looked at is exclusive, opaque and for the primary", () => {
  const unknown = unknownClass("over_budget");
  expect(unknown).toMatchObject({
    kind: "unknown",
    shareable: "over_budget",
    opaque: "over_budget",
    route: "unknown",
    changesCatalog: true,
  });
  expect(Object.isFrozen(unknown)).toBe(true);
});

test("reservations are named for what outlives the transaction", () => {
  expect(reservationReasons(classified("BEGIN; CREATE TEMP TABLE x ()"))).toEqual([
    "transaction",
    "temp_object",
  ]);
  expect(reservationReasons(classified("SELECT pg_advisory_xact_lock(1), nextval('s')"))).toEqual([]);
  expect(reservationOf({ kind: "set_seed" })).toBe("seed");
});
