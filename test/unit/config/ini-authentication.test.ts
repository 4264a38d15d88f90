/** PgBouncer's settings about logging in. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { loadIni } from "../../../src/config/ini/load.ts";
import type { Config } from "../../../src/config/schema.ts";
import { tempFolder } from "../../kit/temp-folder.ts";

async function configOf(text: string): Promise<Config> {
  await using folder = await tempFolder();
  const file = path.join(folder.path, "pgbouncer.ini");
  await writeFile(file, text);
  return (await loadIni(file)).config;
}

test("auth_user, auth_query and auth_dbname, for all and for a database", async () => {
  const { pgsluice, databases } = await configOf(
    "[pgbouncer]\nauth_user = a\nauth_query = select u, p from x($1)\nauth_dbname = d\nauth_query_cache_age = 5\n" +
      "[databases]\nd = host=h auth_user=b auth_query='select ''1'', $1' auth_dbname=e\n",
  );
  expect(pgsluice).toMatchObject({
    auth_user: "a",
    auth_query: "select u, p from x($1)",
    auth_dbname: "d",
    auth_query_cache_age: 5,
  });
  expect(databases["d"]).toMatchObject({ auth_user: "b", auth_query: "select '1', $1", auth_dbname: "e" });
});

test("auth_type ldap with auth_ldap_options; without them it is refused", async () => {
  const options = 'ldapserver=x ldapprefix="uid=" ldapsuffix=",dc=y"';
  const { pgsluice } = await configOf(`[pgbouncer]\nauth_type = ldap\nauth_ldap_options = ${options}\n`);
  expect(pgsluice).toMatchObject({ auth_type: "ldap", auth_ldap_options: options });
  await expect(configOf("[pgbouncer]\nauth_type = ldap\n")).rejects.toThrow(
    'auth_ldap_options: auth_type "ldap" needs it',
  );
});
