import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { clientDocs, configDocs } from "../../../scripts/generate-config-docs.ts";
import { compareConfigs, withoutRestartChanges } from "../../../src/config/changes.ts";
import type { Declaration } from "../../../src/config/declare.ts";
import { parseConfig } from "../../../src/config/load.ts";
import { nearestName } from "../../../src/config/nearest.ts";
import { defaultSettings, tableKinds } from "../../../src/config/schema.ts";
import { settingGroups, settings } from "../../../src/config/settings.ts";

test("docs/config.md is what `npm run docs` writes", () => {
  const file = new URL("../../../docs/config.md", import.meta.url);
  expect(readFileSync(file, "utf8")).toBe(configDocs());
});

test("docs/client.md has the table of parameters that `npm run docs` writes", () => {
  const page = readFileSync(new URL("../../../docs/client.md", import.meta.url), "utf8");
  expect(clientDocs(page)).toBe(page);
  expect(() => clientDocs("# Client\n")).toThrow(/markers/);
});

test("every setting is in one group", () => {
  const grouped = settingGroups.flatMap((group) => Object.keys(group.table));
  expect(grouped).toEqual(Object.keys(settings));
});

describe.each(tableKinds.map((kind) => [kind.name, Object.entries(kind.declarations)] as const))(
  "[%s]",
  (_name, declarations) => {
    test.each(declarations)("%s is well declared", (name: string, declaration: Declaration) => {
      expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
      expect(declaration.doc).toMatch(/[.)]$/);
      if (declaration.type === "choice") {
        for (const target of Object.values(declaration.aliases ?? {}))
          expect(declaration.values).toContain(target);
        for (const refused of Object.keys(declaration.refused ?? {}))
          expect(declaration.values).not.toContain(refused);
        for (const later of declaration.notYet ?? []) expect(declaration.values).not.toContain(later);
      }
    });
  },
);

test("the defaults are PgBouncer's, where nothing else is said (and auto mode)", () => {
  expect(defaultSettings()).toMatchObject({
    listen_port: 6432,
    pool_mode: "auto",
    max_client_conn: 100,
    default_pool_size: 20,
    min_pool_size: 0,
    server_lifetime: 3600,
    server_idle_timeout: 600,
    server_connect_timeout: 15,
    server_login_retry: 15,
    server_reset_query: "DISCARD ALL",
    server_reset_query_always: false,
    server_check_delay: 30,
    client_login_timeout: 60,
    client_idle_timeout: 0,
    idle_transaction_timeout: 0,
    query_wait_timeout: 120,
    query_wait_notify: 5,
    query_timeout: 0,
    cancel_wait_timeout: 10,
    max_prepared_statements: 200,
    client_tls_sslmode: "disable",
    server_tls_sslmode: "prefer",
    scram_iterations: 4096,
  });
});

test("compareConfigs tells what changes now from what needs a restart", () => {
  const before = parseConfig("[nodes.a]\n[users.x]\npassword = '1'", "/");
  const after = parseConfig(
    "[nodes.a]\nhost = 'other'\n[pgsluice]\nlisten_port = 7000\npool_mode = 'transaction'\n[users.y]",
    "/",
  );
  expect(compareConfigs(before, before)).toEqual({ changed: [], needRestart: [] });
  expect(compareConfigs(before, after)).toEqual({
    changed: ["pgsluice.pool_mode", "nodes.a", "users.x", "users.y"],
    needRestart: ["pgsluice.listen_port"],
  });
  const inForce = withoutRestartChanges(before, after);
  expect(inForce.pgsluice).toMatchObject({ listen_port: 6432, pool_mode: "transaction" });
  expect(compareConfigs(before, inForce).needRestart).toEqual([]);
  expect(inForce.nodes).toBe(after.nodes);
});

test.each([
  ["pool_mod", "pool_mode"],
  ["pool_moed", "pool_mode"],
  ["POOL_MODE", "pool_mode"],
  ["max_clients_conn", "max_client_conn"],
  ["maximum_of_clients", undefined],
  ["x", undefined],
])("nearestName(%j)", (name, nearest) => {
  expect(nearestName(name, Object.keys(settings))).toBe(nearest);
});
