/** docs/pgsluice.schema.json: what an editor allows is what loading allows. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv } from "ajv";
import { parse } from "smol-toml";
import { describe, expect, test, vi } from "vitest";
import { configJsonSchema } from "../../../scripts/config-json-schema.ts";
import type { Declaration } from "../../../src/config/declare.ts";
import { parseConfig } from "../../../src/config/load.ts";
import { tableKinds } from "../../../src/config/schema.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const schema = JSON.parse(configJsonSchema()) as object;
const validate = new Ajv({ strict: true, allErrors: true, allowUnionTypes: true }).compile(schema);

test("docs/pgsluice.schema.json is what `npm run docs` writes", () => {
  expect(readFileSync(path.join(root, "docs/pgsluice.schema.json"), "utf8")).toBe(configJsonSchema());
});

test("the package ships it", () => {
  const { files } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { files: string[] };
  expect(files).toContain("docs");
});

const exampleFiles = readdirSync(path.join(root, "examples"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".toml"))
  .map((file) => path.join("examples", file));

describe.each(exampleFiles)("%s", (file) => {
  const toml = readFileSync(path.join(root, file), "utf8");

  test("names the schema and keeps to it", () => {
    const [, named = ""] = /^#:schema (\S+)\n/.exec(toml) ?? [];
    expect(path.join(path.dirname(file), named)).toBe("docs/pgsluice.schema.json");
    validate(parse(toml));
    expect(validate.errors).toBeNull();
  });

  test("loads", () => {
    for (const [, name = ""] of toml.matchAll(/\{ env = "(\w+)" \}/g)) vi.stubEnv(name, "secret");
    expect(Object.keys(parseConfig(toml, "/").nodes)).not.toEqual([]);
    vi.unstubAllEnvs();
  });
});

/** Values of every kind, with what each declaration makes of them: both must agree on each one. */
const values: readonly unknown[] = [
  ...["", "x", "session", "plain", "any", "auto", "a, b", [], ["a"], ["a", 1], [["a"]], {}, { env: 1 }],
  ...[
    { env: "A", file: "b" },
    { env: "A" },
    { file: "b" },
    { file: "" },
    true,
    false,
    -1,
    0,
    1,
    0.5,
    1.5,
    65_535,
    65_536,
    3_000_000_000,
  ],
];

describe.each(tableKinds)("[$name]", ({ name, named, declarations, schema: zod }) => {
  test.each(Object.entries(declarations))(
    "%s allows what loading allows",
    (key, declaration: Declaration) => {
      const own = declaration.type === "choice" ? declaration.values : [];
      for (const value of [...values, ...own]) {
        const table = { [key]: value };
        const loads = zod.safeParse(table).success;
        expect(validate({ [name]: named ? { a: table } : table }), `${key} = ${JSON.stringify(value)}`).toBe(
          loads,
        );
      }
    },
  );

  test("knows no other setting", () => {
    const table = { no_such_setting: 1 };
    expect(validate({ [name]: named ? { a: table } : table })).toBe(false);
  });
});

test("there is no other table", () => {
  expect(validate({ pgbouncer: {} })).toBe(false);
});
