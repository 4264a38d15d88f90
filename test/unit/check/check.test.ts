/** What `pgsluice check` says of a file without asking any server. As a program, and with servers: test/behaviour/check.test.ts. */
import { chmod, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type CheckReport, checkFile } from "../../../src/check/check.ts";
import { type TempFolder, tempFolder } from "../../kit/temp-folder.ts";

let folder: TempFolder;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

async function write(name: string, content: string): Promise<string> {
  const file = path.join(folder.path, name);
  await writeFile(file, content);
  await chmod(file, 0o600);
  return file;
}

async function check(name: string, content: string): Promise<CheckReport & { readonly file: string }> {
  const file = await write(name, content);
  return { file, ...(await checkFile(file, { offline: true, nowMs: Date.now() })) };
}

test("TOML's grammar, with line and column", async () => {
  const { file, ok, findings } = await check("grammar.toml", '[pgsluice]\nlisten_port = "6432\n');
  expect(ok).toBe(false);
  expect(findings).toEqual([
    {
      severity: "error",
      code: "config.invalid",
      place: file,
      problem: expect.stringMatching(/^line 2, column \d+: /) as string,
      cure: "Correct the line.",
    },
  ]);
});

test("mistakes in pgbouncer.ini, with file and line, and the nearest name", async () => {
  const { file, findings } = await check(
    "bouncer.ini",
    "[databases]\n[pgbouncer]\nlisten_prt = 6432\npool_mode = x\n",
  );
  expect(findings.map(({ place, cure }) => [place, cure])).toEqual([
    [`${file}:3: listen_prt`, "Write listen_port."],
    [`${file}:4: pool_mode`, "Correct pool_mode; docs/config.md says what it takes."],
  ]);
});

test("what a file names and is not there, each with its own cure", async () => {
  const { findings } = await check(
    "names.toml",
    "[pgsluice]\nno_such_setting_at_all = 1\n[nodes.a]\n[users.b]\npassword = { env = 'PGSLUICE_TEST_NOT_SET' }\n[users.c]\npassword = { file = 'nowhere' }",
  );
  expect(findings.map(({ cure }) => cure)).toEqual([
    "Remove it; docs/config.md lists what there is.",
    "Set it in the environment that the pooler is started in.",
    "Put the file there and let the pooler's user read it, or correct the path.",
  ]);
});

const node = "[nodes.main]\n";

test("settings that do nothing, and users without a secret, are warnings", async () => {
  await write("rules.conf", "host all all all md5\n");
  const { ok, findings } = await check(
    "ineffective.toml",
    `[pgsluice]\nauth_hba_file = "rules.conf"\nadmin_users = ["boss"]\nclient_tls_key_file = "rules.conf"\n${node}`,
  );
  expect(ok).toBe(true);
  expect(findings.map(({ code, place }) => `${code} ${place}`)).toEqual([
    "settings.ineffective pgsluice.auth_hba_file",
    "settings.ineffective pgsluice.client_tls_key_file",
    "settings.no_users pgsluice.auth_file",
    "settings.no_secret pgsluice.admin_users",
  ]);
});

test.each([
  ['listen_addr = "*"', ["settings.trust pgsluice.auth_type"]],
  ['listen_addr = "localhost, 127.0.0.2"', []],
])("trust with %s", async (listening, expected) => {
  const { findings } = await check("trust.toml", `[pgsluice]\n${listening}\nauth_type = "trust"\n${node}`);
  expect(findings.map(({ code, place }) => `${code} ${place}`)).toEqual(expected);
});

test("users who are looked up in PostgreSQL need not be known", async () => {
  const toml = `[pgsluice]\nauth_user = "finder"\nadmin_users = ["boss"]\n${node}`;
  expect((await check("lookup.toml", toml)).findings).toEqual([]);
});

test("settings of PgBouncer that have no effect here", async () => {
  const { file, findings } = await check(
    "inert.ini",
    "[databases]\n* = host=127.0.0.1\n[pgbouncer]\npkt_buf = 1\nauth_type = trust\nlisten_addr = 127.0.0.1\n",
  );
  expect(findings.map(({ code, place, problem }) => [code, place, problem])).toEqual([
    ["settings.ineffective", `${file}: pkt_buf`, "has no effect. Buffers have the size that fits."],
  ]);
});

test("rules for TLS that is not offered", async () => {
  const rules = await write("tls.conf", "hostssl all all all md5\nhost all all all md5\n");
  const { findings } = await check(
    "tls.toml",
    `[pgsluice]\nauth_type = "hba"\nauth_hba_file = "tls.conf"\n${node}`,
  );
  expect(findings.map(({ code, place }) => `${code} ${place}`)).toEqual([`files.useless_rule ${rules}:1`]);
});

test("nodes that cannot be found, because nobody answers", async () => {
  const toml = `[pgsluice]\nhealth_check_user = "m"\ndiscovery = "patroni"\npatroni_urls = ["http://127.0.0.1:1"]`;
  const file = await write("found.toml", toml);
  const { findings } = await checkFile(file, { offline: false, nowMs: Date.now() });
  expect(findings[0]).toMatchObject({
    ...{ severity: "error", code: "servers.discovery", place: "pgsluice.patroni_urls" },
    problem: "http://127.0.0.1:1: ECONNREFUSED",
  });
});
