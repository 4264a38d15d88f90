/** Which bodies of functions are believed to leave nothing behind. */
import { expect, test } from "vitest";
import { isQuiet, readBody } from "../../../src/sql/function-body.ts";
import { Catalog } from "../../../src/sql/index.ts";

const catalog = Catalog.loaded([
  ["relation_write", "public", "triggered"],
  ["relation_read", "public", "secret_view"],
  ["function", "public", "noise"],
  ["function_stable", "s", "says_stable"],
  ["function_quiet", "public", "silence"],
  ["function_plain", "public", "hstore"],
]);

function quiet(language: "sql" | "plpgsql", source: string): boolean {
  const body = readBody(language, source);
  return body !== undefined && isQuiet(body, catalog);
}

test.each([
  ["plpgsql", "BEGIN NEW.updated_at = now(); RETURN NEW; END"],
  ["plpgsql", "BEGIN UPDATE t SET a = CASE WHEN b THEN 1 ELSE 2 END WHERE id = NEW.id; RETURN NULL; END;"],
  ["plpgsql", "begin insert into t values (1) on conflict (a) do update set a = 2; return new; end"],
  ["plpgsql", "BEGIN MERGE INTO t USING u ON a = b WHEN MATCHED THEN UPDATE SET a = 1; RETURN NULL; END"],
  [
    "plpgsql",
    "DECLARE x int; BEGIN SELECT a INTO STRICT x FROM triggered; RAISE NOTICE 'set x'; RETURN x; END",
  ],
  ["plpgsql", "BEGIN FOR i IN 1..10 LOOP PERFORM silence(i); END LOOP; END"],
  [
    "plpgsql",
    "BEGIN RAISE 'execute set_config %', $$ SET a = b $$ -- EXECUTE x\n; /* EXECUTE /* y */ */ END",
  ],
  ["plpgsql", "BEGIN PERFORM pg_notify('c', E'it\\'s'); PERFORM pg_advisory_xact_lock(1); END"],
  ["sql", "SELECT hstore($1) || 'x'"],
  ["sql", "INSERT INTO t VALUES ($1) RETURNING id; DELETE FROM t WHERE a = $2"],
] as const)("%s: %s is quiet", (language, source) => {
  expect(quiet(language, source)).toBe(true);
});

test.each([
  ["plpgsql", "BEGIN EXECUTE 'SET a = b'; END"],
  ["plpgsql", "BEGIN RETURN QUERY EXECUTE $1; END"],
  ["plpgsql", "BEGIN FOR r IN execute q LOOP NULL; END LOOP; END"],
  ["plpgsql", "BEGIN SET work_mem = '1MB'; END"],
  ["plpgsql", "BEGIN UPDATE t SET a = 1; SET work_mem = 1; END"],
  ["plpgsql", "BEGIN IF EXISTS (SELECT 1 FROM t FOR UPDATE) THEN SET ROLE x; END IF; END"],
  ["plpgsql", "BEGIN FOR r IN SELECT 1 FOR UPDATE LOOP SET a = 1; END LOOP; END"],
  ["plpgsql", "BEGIN RESET ALL; END"],
  ["plpgsql", "BEGIN UPDATE pg_settings SET setting = 1; END"],
  ["plpgsql", "BEGIN UPDATE pg_catalog.pg_settings SET setting = 1; END"],
  ["plpgsql", 'BEGIN UPDATE "pg_settings" SET setting = 1; END'],
  ["plpgsql", "BEGIN PERFORM set_config('a', 'b', false); END"],
  ["plpgsql", "BEGIN PERFORM \"set_config\"('a', 'b', false); END"],
  ["plpgsql", "BEGIN PERFORM pg_catalog . /**/ SET_CONFIG('a', 'b', false); END"],
  ["plpgsql", "BEGIN PERFORM pg_advisory_lock(1); END"],
  ["plpgsql", "BEGIN PERFORM query_to_xml('SELECT noise()', true, true, ''); END"],
  ["plpgsql", "BEGIN x := nextval('s'); END"],
  ["plpgsql", "BEGIN x := NEW.noise; END"],
  ["plpgsql", "BEGIN PERFORM public.noise(); END"],
  ["plpgsql", "BEGIN PERFORM says_stable(1); END"],
  ["plpgsql", "BEGIN PERFORM * FROM secret_view; END"],
  ["plpgsql", "BEGIN INSERT INTO triggered VALUES (1); END"],
  ["plpgsql", 'BEGIN INSERT INTO "triggered" VALUES (1); END'],
  ["plpgsql", "BEGIN UPDATE ONLY public . triggered SET a = 1; END"],
  ["plpgsql", "BEGIN UPDATE ONLY (triggered) SET a = 1; END"],
  ["plpgsql", "BEGIN DELETE /* FROM x */ FROM triggered; END"],
  ["plpgsql", "BEGIN CREATE TEMP TABLE x (a int); END"],
  ["plpgsql", "BEGIN IF a THEN LISTEN c; END IF; END"],
  ["plpgsql", "BEGIN <<l>> LOOP PREPARE p AS SELECT 1; END LOOP; END"],
  ["plpgsql", "BEGIN CALL p(); END"],
  ["plpgsql", "BEGIN COMMIT; END"],
  ["plpgsql", "BEGIN DO 'BEGIN END'; END"],
  ["plpgsql", "BEGIN PERFORM 'a\\'; EXECUTE 'b'; END"],
  ["plpgsql", "BEGIN PERFORM U&\"\\0073et_config\"('a', 'b', false); END"],
  ["plpgsql", "BEGIN PERFORM pg_temp.f(); END"],
  ["plpgsql", "BEGIN PERFORM 'unclosed; END"],
  ["plpgsql", "BEGIN FOR i IN 1..10LOOP SET a = 1; END LOOP; END"],
  ["sql", "SELECT 1 INTO t"],
  ["sql", "SELECT 1; SET a = 1"],
  ["sql", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"],
  ["sql", "DISCARD ALL"],
  ["sql", ""],
  ["sql", " -- in SQL's standard form \n"],
] as const)("%s: %s is not", (language, source) => {
  expect(quiet(language, source)).toBe(false);
});

test("where casts, types or operators run functions that are not harmless, no body is quiet", () => {
  const body = readBody("sql", "SELECT 1");
  if (body === undefined) throw new Error("it is read");
  expect(isQuiet(body, Catalog.loaded([]))).toBe(true);
  for (const kind of ["cast", "type", "operator"]) {
    expect(isQuiet(body, Catalog.loaded([[kind, "public", "x"]])), kind).toBe(false);
  }
});
