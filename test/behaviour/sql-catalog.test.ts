/** What a server says of its functions and relations, and what becomes of statements that name them. */
import { describe, expect, test } from "vitest";
import { builtinNamesQuery, builtinTraits } from "../../src/sql/builtin-functions.ts";
import { immutableNames, stableNames, volatileNames } from "../../src/sql/builtin-names.ts";
import {
  type Catalog,
  CatalogReading,
  type CatalogRow,
  Classifier,
  changesKind,
  changesQuery,
  Parser,
} from "../../src/sql/index.ts";
import { useLab } from "../kit/lab.ts";
import { CliProgram } from "./cli-program.ts";

const place = useLab();

test("the table of built-in functions is the server's pg_proc", async () => {
  const { rows } = await place.lab.primary.query(builtinNamesQuery);
  expect(new Map(rows.map(([volatility, names]) => [volatility, names]))).toEqual(
    new Map([
      ["immutable", immutableNames],
      ["stable", stableNames],
      ["volatile", volatileNames],
    ]),
  );
});

test("what is listed by hand exists, and no volatile function that SQL can use is left out", () => {
  const names = new Set(`${immutableNames} ${stableNames} ${volatileNames}`.split(" "));
  expect([...builtinTraits().keys()].filter((name) => !names.has(name))).toEqual([]);
  const unlisted = [...builtinTraits()].flatMap(([name, trait]) =>
    trait === "unknown_volatile" ? [name] : [],
  );
  // For pg_upgrade, for initdb and for the server itself.
  const internal =
    /^binary_upgrade_|^pg_extension_config_dump$|^pg_nextoid$|^pg_stop_making_pinned_objects$|^plpgsql_validator$/;
  expect(unlisted.filter((name) => !internal.test(name))).toEqual([]);
});

/** Things that may hide a function, and things that do not. */
const objects = `
CREATE SCHEMA s;
CREATE FUNCTION s.says_stable(int) RETURNS int LANGUAGE plpgsql STABLE
  AS $$ BEGIN PERFORM set_config('a.b', 'x', false); RETURN $1; END $$;
CREATE FUNCTION says_immutable(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
CREATE FUNCTION does_anything() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION s.step(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $2';
CREATE FUNCTION on_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE AGGREGATE own_sum(int) (SFUNC = s.step, STYPE = int);
CREATE AGGREGATE plain_sum(int) (SFUNC = int4pl, STYPE = int);
CREATE OPERATOR === (FUNCTION = s.says_stable, RIGHTARG = int);
CREATE TABLE plain (id int PRIMARY KEY, a text DEFAULT upper('x'), b int CHECK (b > 0));
CREATE TABLE numbered (id serial);
CREATE TABLE identified (id int GENERATED ALWAYS AS IDENTITY);
CREATE VIEW plain_view AS SELECT id, upper(a) FROM plain;
CREATE VIEW calling_view AS SELECT s.says_stable(id) FROM plain;
CREATE VIEW view_of_view AS SELECT * FROM calling_view;
CREATE VIEW operator_view AS SELECT === id FROM plain;
CREATE VIEW setting_view AS SELECT set_config('a.b', 'x', false);
CREATE VIEW next_view AS SELECT nextval('numbered_id_seq');
CREATE VIEW pid_view AS SELECT pg_backend_pid();
CREATE VIEW locks_view AS SELECT * FROM pg_locks;
CREATE MATERIALIZED VIEW kept_view AS SELECT s.says_stable(id) FROM plain;
CREATE DOMAIN plain_domain AS int CHECK (value > 0);
CREATE DOMAIN calling_domain AS int CHECK (s.says_stable(value) > 0);
CREATE TYPE composite AS (a calling_domain);
CREATE TABLE of_domain (a calling_domain);
CREATE TABLE triggered (id int PRIMARY KEY);
CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION on_change();
CREATE TABLE referenced (id int PRIMARY KEY);
CREATE TABLE referring (id int REFERENCES referenced ON DELETE CASCADE);
CREATE TRIGGER t AFTER DELETE ON referring FOR EACH ROW EXECUTE FUNCTION on_change();
CREATE TABLE defaulted (a int DEFAULT does_anything());
CREATE TABLE setting_default (a text DEFAULT set_config('a.b', 'x', false));
CREATE TABLE checked (a int CHECK (s.says_stable(a) > 0));
CREATE TABLE indexed (a int);
CREATE INDEX ON indexed (says_immutable(a));
CREATE TABLE ruled (a int);
CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT 1;
CREATE TABLE secured (a int);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secured USING (s.says_stable(a) > 0);
CREATE TABLE secured_plainly (a text);
ALTER TABLE secured_plainly ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secured_plainly USING (a = current_user);
CREATE TABLE parted (a int) PARTITION BY LIST (a);
CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);
CREATE TRIGGER t BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION on_change();
`;

const trigger = (table: string, calls: string): string =>
  `CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON ${table} FOR EACH ROW EXECUTE FUNCTION ${calls}();`;

/** Functions that leave nothing behind, and such as do. */
const quietObjects = `
CREATE SCHEMA quiet; SET search_path = quiet;
CREATE TABLE log (id bigserial, at timestamptz DEFAULT now(), what jsonb);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.a := new.a + 1; RETURN new; END $$;
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = quiet AS $$
  BEGIN
    IF TG_OP = 'DELETE' THEN INSERT INTO log (what) VALUES (to_jsonb(old)); RETURN old; END IF;
    INSERT INTO log (what) VALUES (to_jsonb(new)) ON CONFLICT DO NOTHING;
    UPDATE log SET what = what - 'x' WHERE id < 0;
    RETURN new;
  END $$;
CREATE FUNCTION chain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE audited SET a = 1; RETURN NULL; END $$;
CREATE FUNCTION plus_one(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
CREATE FUNCTION make_noise() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN PERFORM set_config('a.b', 'x', false); RETURN NULL; END $$;
CREATE FUNCTION go_round() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE circular SET a = 1; RETURN NULL; END $$;
CREATE FUNCTION reach() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM noisy; RETURN NULL; END $$;
CREATE TABLE touched (a int); ${trigger("touched", "touch")}
CREATE TABLE audited (a int); ${trigger("audited", "audit")}
CREATE TABLE chained (a int); ${trigger("chained", "chain")}
CREATE TABLE computed (a int DEFAULT plus_one(1), b int GENERATED ALWAYS AS (1) STORED, CHECK (plus_one(a) > 0));
CREATE TABLE noisy (a int); ${trigger("noisy", "make_noise")}
CREATE TABLE circular (a int); ${trigger("circular", "go_round")}
CREATE TABLE behind_noisy (a int); ${trigger("behind_noisy", "reach")}
CREATE VIEW quiet_view AS SELECT plus_one(a) FROM touched;
`;

const harmless = [
  "SELECT id, upper(a) FROM plain WHERE b = 1 AND a LIKE 'x'",
  "SELECT * FROM plain_view",
  "SELECT * FROM kept_view",
  "SELECT plain_sum(id) FROM plain",
  "SELECT 1::plain_domain",
  "SELECT * FROM secured_plainly",
  "SELECT * FROM triggered",
  "SELECT * FROM defaulted JOIN checked USING (a)",
  "SELECT p.a FROM plain AS p",
];

const notHarmless: readonly (readonly [string, string])[] = [
  ["SELECT s.says_stable(1)", "user_function"],
  ["SELECT says_stable(1)", "user_function"],
  ["SELECT says_immutable(id) FROM plain", "user_function"],
  ["SELECT does_anything()", "user_function"],
  ["SELECT own_sum(id) FROM plain", "user_function"],
  ["SELECT step(1, 2)", "user_function"],
  ["SELECT missing()", "unknown_function"],
  ["SELECT public.upper('x')", "unknown_function"],
  ["SELECT plain.does_anything FROM plain", "user_function"],
  ["SELECT (plain).does_anything FROM plain", "user_function"],
  ["SELECT === 1", "user_operator"],
  ["SELECT OPERATOR(public.===) 1", "user_operator"],
  ["SELECT * FROM plain ORDER BY id USING OPERATOR(public.===)", "user_operator"],
  ["SELECT 1::calling_domain", "user_type"],
  ["SELECT CAST('(1)' AS composite)", "user_type"],
  ["SELECT '{1}'::calling_domain[]", "user_type"],
  ["SELECT * FROM json_to_record('{}') AS x(a calling_domain)", "user_type"],
  ["SELECT json_populate_record(NULL, '{}')", "user_type"],
  ["SELECT * FROM calling_view", "relation_read"],
  ["SELECT * FROM public.view_of_view", "relation_read"],
  ["SELECT 1 WHERE EXISTS (TABLE operator_view)", "relation_read"],
  ["SELECT * FROM setting_view", "relation_read"],
  ["SELECT * FROM next_view", "relation_read"],
  ["SELECT * FROM pid_view, locks_view", "relation_read"],
  ["SELECT * FROM secured", "relation_read"],
  ["INSERT INTO plain_view VALUES (1)", "relation_write"],
  ["INSERT INTO triggered VALUES (1)", "relation_write"],
  ["DELETE FROM referenced", "relation_write"],
  ["INSERT INTO defaulted DEFAULT VALUES", "relation_write"],
  ["INSERT INTO setting_default DEFAULT VALUES", "relation_write"],
  ["INSERT INTO checked VALUES (1)", "relation_write"],
  ["WITH x AS (UPDATE indexed SET a = 1 RETURNING 1) TABLE x", "relation_write"],
  ["COPY ruled FROM STDIN", "relation_write"],
  ["MERGE INTO parted USING plain ON a = id WHEN MATCHED THEN DELETE", "relation_write"],
  ["INSERT INTO of_domain VALUES (1)", "relation_write"],
  ["TRUNCATE triggered", "relation_write"],
];

/** Changes of what {@link objects} made, and then such as make no other catalog. */
const alterations = `
ALTER TABLE triggered RENAME TO renamed;
ALTER TABLE renamed DISABLE TRIGGER t;
ALTER TABLE renamed ENABLE ALWAYS TRIGGER t;
ALTER TABLE secured DISABLE ROW LEVEL SECURITY;
ALTER SCHEMA s RENAME TO renamed_schema;
ALTER VIEW calling_view RENAME TO renamed_view;
CREATE OR REPLACE VIEW pid_view AS SELECT 1 AS pg_backend_pid;
CREATE OR REPLACE FUNCTION does_anything() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION does_anything() VOLATILE;
ALTER DOMAIN calling_domain RENAME TO renamed_domain;
ALTER TABLE plain ALTER b SET DEFAULT does_anything();
ALTER TABLE numbered ADD ident int GENERATED BY DEFAULT AS IDENTITY;
ALTER TABLE parted DETACH PARTITION part;
DROP OPERATOR === (NONE, int) CASCADE;
DROP POLICY p ON secured_plainly;
DROP RULE r ON ruled;
DROP VIEW setting_view;
DROP TRIGGER t ON referring;
DROP FUNCTION does_anything() CASCADE;
CREATE EXTENSION postgres_fdw;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
CREATE FOREIGN TABLE far (a int) SERVER elsewhere;
`;
const plainWork = `
INSERT INTO plain VALUES (1, 'x', 1);
UPDATE plain SET a = 'y';
COMMENT ON TABLE plain IS 'changed';
ANALYZE plain;
VACUUM plain;
`;

interface Loaded {
  readonly classifier: Classifier;
  readonly catalog: Catalog;
  /** Those of the last query. */
  readonly rows: readonly CatalogRow[];
  readonly queries: number;
}

/** `session`: statements that run in the session first. */
async function load(session = "", database = "postgres"): Promise<Loaded> {
  const reading = new CatalogReading();
  let rows: readonly CatalogRow[] = [];
  let queries = 0;
  while (reading.query !== undefined) {
    rows = (await place.lab.primary.query(`${session}${reading.query}`, database)).rows;
    queries += 1;
    reading.take(rows);
  }
  const classifier = new Classifier(await Parser.load(), { now: () => 0 });
  return { classifier, catalog: reading.catalog, rows, queries };
}

describe("a catalog that was loaded from a database", () => {
  test("holds nothing of a database without objects of its own", async () => {
    expect(await load()).toMatchObject({ rows: [], queries: 2 });
  });

  test("believes functions whose bodies show that they leave nothing behind", async () => {
    await place.lab.primary.query(quietObjects);
    const { classifier, catalog, queries } = await load();
    expect(queries).toBeGreaterThan(2);
    const opaque = (text: string): unknown => classifier.classify(text, catalog).opaque;
    const quiet = [
      "INSERT INTO touched VALUES (1)",
      "UPDATE audited SET a = 1",
      "DELETE FROM chained",
      "INSERT INTO computed VALUES (1)",
      "SELECT plus_one(1)",
    ];
    expect(quiet.map((text) => [text, opaque(text)])).toEqual(quiet.map((text) => [text, false]));
    const noisy = [
      "INSERT INTO noisy VALUES (1)",
      "UPDATE behind_noisy SET a = 1",
      "INSERT INTO circular VALUES (1)",
    ];
    expect(noisy.map((text) => [text, opaque(text)])).toEqual(noisy.map((text) => [text, "relation_write"]));
    // It may write, so it is for no stranger's pipeline and for no standby; neither is a view that calls it.
    expect(classifier.classify("SELECT plus_one(1)", catalog)).toMatchObject({
      kind: "write",
      shareable: "user_function",
      route: "user_function",
    });
    expect(classifier.classify("SELECT * FROM quiet_view", catalog).shareable).toBe("relation_read");
    await place.lab.primary.query("DROP SCHEMA quiet CASCADE");
  });

  test("tells what may be shared from what may hide a function", async () => {
    await place.lab.primary.query(objects);
    const { classifier, catalog } = await load();
    const found = (text: string): unknown => classifier.classify(text, catalog).opaque;
    expect(harmless.map((text) => [text, classifier.classify(text, catalog).shareable])).toEqual(
      harmless.map((text) => [text, true]),
    );
    expect(notHarmless.map(([text]) => [text, found(text)])).toEqual(notHarmless);
    for (const text of [
      "INSERT INTO plain VALUES (1)",
      "UPDATE secured_plainly SET a = ''",
      "DELETE FROM kept",
    ]) {
      expect(found(text), text).toBe(false);
    }
    const implicit = [{ kind: "sequence", operation: "nextval", sequence: null, implicit: true }];
    expect(classifier.classify("INSERT INTO numbered DEFAULT VALUES", catalog).effects).toEqual(implicit);
    expect(classifier.classify("INSERT INTO identified DEFAULT VALUES", catalog).effects).toEqual(implicit);
    // Declared stable, it cannot write: a standby may run it, though its session is looked at afterwards.
    expect(classifier.classify("SELECT s.says_stable(1)", catalog).route).toBe("any");
    expect(classifier.classify("SELECT does_anything()", catalog).route).toBe("user_function");
  });

  test("is what `pgsluice explain` asks for", async () => {
    const sql = "SELECT does_anything() FROM calling_view";
    const program = new CliProgram("explain", "--json", place.lab.primary.url(), sql);
    expect(await program.exit).toBe(0);
    expect(JSON.parse(program.stdout)).toMatchObject({
      kind: "write",
      route: "primary",
      shareable: false,
      opaque: true,
      opaqueReason: "user_function",
      relations: ["calling_view"],
    });
  });

  test("does not take a cast's function to be harmless", async () => {
    await place.lab.primary.query(`
      CREATE TYPE colour AS ENUM ('red');
      CREATE FUNCTION to_number_of(colour) RETURNS int LANGUAGE sql AS 'SELECT 1';
      CREATE CAST (colour AS int) WITH FUNCTION to_number_of(colour) AS IMPLICIT`);
    const { classifier, catalog } = await load();
    expect(classifier.classify("SELECT a + 1 FROM plain", catalog).opaque).toBe("user_type");
    expect(classifier.classify("SELECT 1", catalog).shareable).toBe(true);
  });

  test("sends operators of a hostile search path nowhere", async () => {
    await place.lab.primary.query(`
      CREATE SCHEMA hostile;
      CREATE FUNCTION hostile.never(oid, oid) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'called'; END $$;
      CREATE OPERATOR hostile.= (FUNCTION = hostile.never, LEFTARG = oid, RIGHTARG = oid)`);
    const session = "SET search_path = hostile, pg_catalog, public";
    const { rows, classifier, catalog } = await load(`${session}; `);
    expect(rows.length).toBeGreaterThan(20);
    expect(classifier.classify("SELECT 1 WHERE 1 = 2", catalog).opaque).toBe("user_operator");
  });
});

test("PostgreSQL counts whatever makes another catalog, and not what is done every day", async () => {
  const { primary } = place.lab;
  await primary.query("create database counted");
  const statements = (texts: string): string[] => texts.trim().split(";\n");
  const count = async (): Promise<unknown> => {
    // At the end of a session.
    const [row] = (await primary.query(changesQuery, "counted")).rows;
    expect(row).toEqual([changesKind, "", expect.stringMatching(/^\d+$/)]);
    return row?.[2];
  };
  let found = { rows: (await load("", "counted")).rows, count: await count() };
  let others = 0;
  for (const statement of statements(`${objects}${alterations}`)) {
    await primary.query(statement, "counted");
    const now = { rows: (await load("", "counted")).rows, count: await count() };
    const alike = JSON.stringify(now.rows) === JSON.stringify(found.rows);
    if (!alike) expect(now.count, statement).not.toBe(found.count);
    others += alike ? 0 : 1;
    found = now;
  }
  expect(others).toBeGreaterThan(40);
  for (const statement of statements(plainWork)) {
    await primary.query(statement, "counted");
    expect(await count(), statement).toBe(found.count);
  }
});

test("before a catalog is loaded, every name is in doubt", async () => {
  const classifier = new Classifier(await Parser.load(), { now: () => 0 });
  for (const text of [
    "SELECT upper('x')",
    "SELECT 1 + 1",
    "TABLE t",
    "SELECT 'x'::text",
    "INSERT INTO t VALUES (1)",
    "SELECT (ROW(1)).f",
  ]) {
    expect(classifier.classify(text).opaque, text).toBe("catalog_not_loaded");
  }
  for (const text of [
    "SELECT 1",
    "SELECT pg_catalog.upper('x')",
    "SELECT current_date",
    "SELECT 1 AS a, $1",
  ]) {
    expect(classifier.classify(text).shareable, text).toBe(true);
  }
});
